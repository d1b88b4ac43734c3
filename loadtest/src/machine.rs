//! What the figures were taken on and of.

use std::path::Path;
use std::process::Command;

use balefire_loadtest_core::report::Machine;

use crate::{process, standing};

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

/// Sync mode and replicas, from a nats-server's settings.
fn log(settings: &str) -> String {
    let value = |key: &str| {
        let (_, rest) = settings.split_once(key)?;
        let value = rest.trim_start_matches([':', '=', ' ']);
        value.split(['\n', ' ', '}']).next()
    };
    let sync = value("sync_interval").unwrap_or("every two minutes (not set)");
    let replicas = if value("cluster").is_some() {
        "replicas as provisioned"
    } else {
        "one server, so one replica"
    };
    format!("sync_interval {sync}, {replicas}")
}

/// Of this machine and the binary under test, where it is ours.
#[must_use]
pub fn describe(binary: Option<&Path>, nats_server: &Path, nats_settings: Option<&str>) -> Machine {
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
        log: nats_settings.map_or_else(|| "unknown".to_owned(), log),
        generator: format!(
            "{} build, sender {}",
            if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
            if standing::may_raise() {
                "before others"
            } else {
                "at usual priority"
            },
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sync_mode_is_what_the_settings_say() {
        let settings = "jetstream {\n  store_dir: x\n  sync_interval: always\n}\n";
        assert_eq!(
            log(settings),
            "sync_interval always, one server, so one replica"
        );
        assert!(log("jetstream {}").contains("not set"));
    }
}
