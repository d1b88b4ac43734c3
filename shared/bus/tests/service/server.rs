//! The supervised child.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use balefire_bus::{
    Bus, Credential, Credentials, Error, Role, Server, ServerOptions, Topology, become_child,
};
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Harness, until};

/// What follows `--` on this test binary's own command line: how tests start themselves anew.
fn words() -> Option<Vec<OsString>> {
    let mut words = std::env::args_os().skip_while(|word| word != "--");
    words.next()?;
    Some(words.collect())
}

fn own_words(entry: &str) -> Vec<OsString> {
    let executable = std::env::current_exe().unwrap();
    let mut words: Vec<OsString> = vec![executable.into()];
    words.extend(["--exact", entry, "--nocapture", "--"].map(Into::into));
    words
}

/// Not a test of its own: the launcher of `a_child_dies_with_its_parent`.
#[test]
fn launcher_entry() {
    if let Some(words) = words() {
        panic!("{}", become_child(&words));
    }
}

/// Not a test of its own: a process that runs a server until it is killed.
#[tokio::test]
async fn parent_entry() {
    let Some(words) = words() else { return };
    let mut options = ServerOptions::new(PathBuf::from(&words[0]));
    if words[1] == "launched" {
        options.launcher = Some(own_words("server::launcher_entry"));
    }
    let _server = Server::start(options).await.unwrap();
    std::fs::write(Path::new(&words[0]).join("up"), "").unwrap();
    std::future::pending::<()>().await;
}

/// Starts a process that runs a server in `dir`, and kills it hard. The server's pid.
async fn killed_parent(dir: &Path, how: &str) -> u32 {
    let words = own_words("server::parent_entry");
    let mut parent = Command::new(&words[0])
        .args(&words[1..])
        .arg(dir)
        .arg(how)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until("the parent's server is up", || dir.join("up").exists()).await;
    let pid = std::fs::read_to_string(dir.join("nats.pid")).unwrap();
    parent.kill().unwrap();
    parent.wait().unwrap();
    pid.trim().parse().unwrap()
}

fn runs(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/status"))
        .is_ok_and(|status| !status.contains("State:\tZ"))
}

#[tokio::test]
async fn a_child_dies_with_its_parent() {
    let dir = tempfile::tempdir().unwrap();
    let pid = killed_parent(dir.path(), "launched").await;
    until("the server is gone", || !runs(pid)).await;
}

#[tokio::test]
async fn an_orphan_is_ended_before_a_new_server_starts() {
    let dir = tempfile::tempdir().unwrap();
    let orphan = killed_parent(dir.path(), "plain").await;
    assert!(runs(orphan), "without a launcher it lives on");
    let server = Server::start(ServerOptions::new(dir.path().to_owned()))
        .await
        .unwrap();
    assert!(!runs(orphan));
    assert_ne!(server.pid(), Some(orphan));
    server.shutdown().await;
}

#[tokio::test]
async fn two_servers_on_one_directory_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let options = ServerOptions::new(dir.path().to_owned());
    let first = Server::start(options.clone()).await.unwrap();
    let refused = Server::start(options.clone()).await.unwrap_err();
    assert!(matches!(refused, Error::Locked { .. }), "{refused}");
    let pid = first.pid().unwrap();
    first.shutdown().await;
    assert!(!runs(pid));
    Server::start(options).await.unwrap();
}

#[tokio::test]
async fn a_server_that_dies_comes_back_on_its_port() {
    let harness = Harness::partitions(1).await;
    let bus = harness.bus(Role::Operator).await;
    let mut connected = bus.connected();
    let before = bus.server_id();
    harness.kill_and_come_back().await;
    connected.wait_for(|connected| *connected).await.unwrap();
    until("the same address answers again", || {
        bus.server_id() != before
    })
    .await;
    let control = bus.stream_info("CONTROL").await.unwrap();
    assert_eq!(control.last_sequence, 0);
}

#[tokio::test]
async fn a_broken_configuration_is_told_with_the_servers_words() {
    let dir = tempfile::tempdir().unwrap();
    let options = ServerOptions {
        authorization: "authorization { users: [ { nkey: nonsense } ] }".into(),
        ..ServerOptions::new(dir.path().to_owned())
    };
    let refused = Server::start(options).await.unwrap_err();
    assert!(matches!(refused, Error::ServerNotReady { .. }), "{refused}");
}

#[tokio::test]
async fn an_unknown_credential_is_refused_at_once() {
    let harness = Harness::partitions(1).await;
    let dir = tempfile::tempdir().unwrap();
    let strangers = Credentials::of_dir(dir.path()).unwrap();
    for credential in [
        strangers.of(Role::Provisioner),
        Credential::none(Role::Ingest),
    ] {
        let refused = Bus::connect(harness.server.url(), &credential, "stranger")
            .await
            .unwrap_err();
        assert!(matches!(refused, Error::Unauthorized { .. }), "{refused}");
    }
    assert!(
        !harness
            .credentials
            .authorization(&Topology::new(1).unwrap())
            .is_empty()
    );
}

#[tokio::test]
async fn a_pid_of_somebody_else_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut bystander = Command::new("sleep").arg("60").spawn().unwrap();
    std::fs::write(dir.path().join("nats.pid"), bystander.id().to_string()).unwrap();
    let server = Server::start(ServerOptions::new(dir.path().to_owned()))
        .await
        .unwrap();
    assert!(runs(bystander.id()));
    server.shutdown().await;
    kill_process(Pid::from_child(&bystander), Signal::KILL).unwrap();
    bystander.wait().unwrap();
}
