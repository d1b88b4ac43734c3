//! balefire-correlator
fn main() {}
