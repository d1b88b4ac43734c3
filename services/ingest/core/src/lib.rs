//! balefire-ingest-core
