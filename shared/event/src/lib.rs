//! balefire-event
