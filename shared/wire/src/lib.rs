//! balefire-wire
