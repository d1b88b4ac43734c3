//! balefire-stream
