//! balefire-store
