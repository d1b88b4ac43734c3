//! balefire-notifier
fn main() {}
