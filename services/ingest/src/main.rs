//! balefire-ingest
fn main() {}
