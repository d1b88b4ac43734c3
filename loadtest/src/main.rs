//! `balefire-loadtest`: wiring.

use std::process::ExitCode;

use balefire_loadtest::{command, print};
use clap::Parser as _;

#[tokio::main]
async fn main() -> ExitCode {
    balefire_kit::install_crypto();
    match command::run(command::Cli::parse()).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            print::note(&format!(
                "balefire-loadtest: {}",
                balefire_kit::process::chain(&error)
            ));
            ExitCode::from(2)
        }
    }
}
