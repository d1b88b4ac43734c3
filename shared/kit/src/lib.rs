//! balefire-kit
