//! balefire
fn main() {}
