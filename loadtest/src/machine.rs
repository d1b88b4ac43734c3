//! What the figures were taken on and of.

use std::path::Path;
use std::process::Command;

use balefire_loadtest_core::report::Machine;

use crate::process;

/// What a program says; empty where it cannot be asked.
fn said(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&text).trim().to_owned()
}

fn digest(bytes: &[u8]) -> String {
    let text = blake3::hash(bytes).to_hex();
    text.as_str().chars().take(16).collect()
}

/// Of this machine and the binary under test, where it is ours.
#[must_use]
pub fn describe(binary: Option<&Path>, nats_server: &Path) -> Machine {
    let product = binary.map(|binary| {
        let bytes = std::fs::read(binary).unwrap_or_default();
        let version = said(binary, &["--version"]);
        let kind = if binary
            .components()
            .any(|part| part.as_os_str() == "release")
        {
            "release"
        } else {
            "debug or unknown"
        };
        format!("{version}, {kind} build, bytes {}", digest(&bytes))
    });
    let configuration = binary.map(|binary| digest(said(binary, &["config", "show"]).as_bytes()));
    Machine {
        commit: said(
            Path::new("git"),
            &["describe", "--always", "--dirty", "--abbrev=12"],
        ),
        product: product.unwrap_or_else(|| "running already".to_owned()),
        configuration: configuration.unwrap_or_else(|| "unknown".to_owned()),
        cpu: process::cpu(),
        kernel: process::kernel(),
        filesystem: process::filesystem(&std::env::temp_dir()),
        nats: said(nats_server, &["--version"]),
        log: if binary.is_some() {
            "sync always, one replica, 2 partitions (what `up` makes)".to_owned()
        } else {
            "unknown".to_owned()
        },
        generator: if cfg!(debug_assertions) {
            "debug build".to_owned()
        } else {
            "release build".to_owned()
        },
    }
}
