//! balefire-bus
