//! `balefire config show`: what `up` would run with, from flags, variables and defaults.

use crate::Failure;
use crate::print::Out;
use crate::up;

/// Shows the configuration.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Prints every setting of `up` as TOML; secrets are left out
    Show(Box<up::Args>),
}

/// Runs the command.
///
/// # Errors
/// Where the settings contradict each other.
pub fn run(args: &Args) -> Result<(), Failure> {
    let Command::Show(up) = &args.command;
    let mut out = Out::new();
    for line in up.shown()? {
        out.line(&line);
    }
    out.flush();
    Ok(())
}
