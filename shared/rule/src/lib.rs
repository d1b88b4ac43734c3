//! balefire-rule
