//! balefire-ingest
