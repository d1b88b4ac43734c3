//! balefire-rule-engine
fn main() {}
