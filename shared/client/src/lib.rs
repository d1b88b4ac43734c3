//! balefire-client
