//! `terraform-provider-balefire`: the control objects of Balefire as Terraform resources.
//!
//! Speaks plugin protocol 6.8 to Terraform and `balefire.control.v1` to Balefire. Keeps nothing.

mod answer;
mod dynamic;
mod patience;
mod plan;
mod platform;
mod preview;
mod provider;
mod schema;
mod serve;

/// The generated code of Terraform's protocol.
#[allow(
    dead_code,
    clippy::all,
    clippy::too_many_lines,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
mod tfplugin6 {
    tonic::include_proto!("tfplugin6");
}

/// The generated code of go-plugin's protocol.
#[allow(
    dead_code,
    clippy::all,
    clippy::too_many_lines,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
mod plugin {
    tonic::include_proto!("plugin");
}

use std::io::Write as _;
use std::process::ExitCode;

/// Terraform sets this, so that nobody starts a plugin by hand.
const COOKIE: (&str, &str) = (
    "TF_PLUGIN_MAGIC_COOKIE",
    "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2",
);

#[expect(
    clippy::disallowed_methods,
    reason = "Terraform tells its plugins by variables only"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn note(text: &str) {
    // Nothing sensible is left to do where even stderr is closed.
    let _closed = writeln!(std::io::stderr(), "{text}");
}

fn main() -> ExitCode {
    if variable(COOKIE.0).as_deref() != Some(COOKIE.1) {
        note(
            "this is a Terraform provider: Terraform starts it, from a dev_overrides or \
             filesystem_mirror entry of its CLI configuration",
        );
        return ExitCode::from(2);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let served = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(serve::serve(variable("PLUGIN_CLIENT_CERT"))));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("terraform-provider-balefire: {error}"));
            ExitCode::FAILURE
        }
    }
}
