//! Regenerates `shared/wire/src/generated` from `proto/`: `cargo run -p balefire-testkit --bin generate`.

use balefire_testkit::contract;

fn main() -> Result<(), contract::ContractError> {
    contract::generate(&contract::root().join("shared/wire/src/generated"))
}
