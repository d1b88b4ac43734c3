//! The product under test: a `balefire up` of our own on a temporary folder, or one that runs
//! already; and what it is asked after a run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use balefire_client::Client;
use balefire_wire::deadletter::v1::ListDeadLettersRequest;
use balefire_wire::deadletter::v1::dead_letter_service_client::DeadLetterServiceClient;
use balefire_wire::escalation::v1::escalation_service_client::EscalationServiceClient;
use balefire_wire::escalation::v1::{EscalationEntry, EscalationFilter, ListEscalationsRequest};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

use crate::error::Error;
use crate::receiver::{Receiver, secret};

const READY_MAX: Duration = Duration::from_secs(60);
const STOP_MAX: Duration = Duration::from_secs(20);
const BARRIER_MAX: Duration = Duration::from_secs(120);
const PAGE: u32 = 5_000;
/// Largest answer, bytes.
const ANSWER_MAX: usize = 64 * 1024 * 1024;

/// A product that can be sent to.
#[derive(Debug)]
pub struct Product {
    /// Address of its gRPC server.
    pub addr: String,
    /// Process, where it is ours.
    pub pid: Option<u32>,
    child: Option<Child>,
    _folder: Option<TempDir>,
}

/// The last lines a program wrote.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("; ")
}

impl Product {
    /// One that runs already and tells `receiver`.
    #[must_use]
    pub fn running(addr: &str) -> Self {
        Self {
            addr: addr.trim_start_matches("http://").to_owned(),
            pid: None,
            child: None,
            _folder: None,
        }
    }

    /// Starts `binary up` on a temporary folder; it tells `receiver` of everything.
    ///
    /// # Errors
    /// It cannot be started, or does not become ready.
    pub async fn start(binary: &Path, receiver: &Receiver) -> Result<Self, Error> {
        let program = || binary.to_path_buf();
        let file = |path: PathBuf| move |source| Error::File { path, source };
        let folder = tempfile::Builder::new()
            .prefix("balefire-loadtest-")
            .tempdir()
            .map_err(file(std::env::temp_dir()))?;
        let log = folder.path().join("up.log");
        let stderr = std::fs::File::create(&log).map_err(file(log.clone()))?;
        let mut child = Command::new(binary)
            .args([
                "up",
                "--grpc-addr",
                "127.0.0.1:0",
                "--http-addr",
                "127.0.0.1:0",
            ])
            .args(["--log", "warn", "--webhook", &receiver.url()])
            .args(["--webhook-secret", &secret(), "--data-dir"])
            .arg(folder.path().join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| Error::Start {
                program: program(),
                source,
            })?;
        let stdout = child
            .stdout
            .take()
            .ok_or_else(|| Error::NotReady { program: program() })?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(facts) = line.strip_prefix("ready ") {
                    let mut facts = facts.split(' ');
                    return facts
                        .find_map(|fact| fact.strip_prefix("grpc="))
                        .map(str::to_owned);
                }
            }
            None
        };
        let Ok(Some(addr)) = timeout(READY_MAX, ready).await else {
            return Err(Error::Malformed {
                path: program(),
                reason: format!("it did not become ready: {}", tail(&log)),
            });
        };
        // What else it says is read away, so that it can go on saying it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self {
            addr,
            pid: child.id(),
            child: Some(child),
            _folder: Some(folder),
        })
    }

    /// Waits until everything it acknowledged is evaluated.
    ///
    /// # Errors
    /// It refuses, or takes longer than two minutes.
    pub async fn evaluated(&self) -> Result<(), Error> {
        let client = Client::connect(&self.addr, balefire_client::Options::default()).await?;
        let barrier = client.place_barrier().await?;
        client.await_barrier(barrier, BARRIER_MAX).await?;
        Ok(())
    }

    async fn channel(&self) -> Result<Channel, Error> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.addr));
        let connect = |source| Error::Connect { source };
        endpoint.map_err(connect)?.connect().await.map_err(connect)
    }

    /// Every escalation in its log.
    ///
    /// # Errors
    /// It refuses.
    pub async fn escalations(&self) -> Result<Vec<EscalationEntry>, Error> {
        let mut client = EscalationServiceClient::new(self.channel().await?)
            .max_decoding_message_size(ANSWER_MAX);
        let mut found = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = ListEscalationsRequest {
                filter: Some(EscalationFilter::default()),
                page_size: PAGE,
                page_token,
            };
            let page = client.list_escalations(request).await?.into_inner();
            found.extend(page.escalations);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(found);
            }
        }
    }

    /// Open dead letters: reasons and how many of each; and the escalation ids of deliveries.
    ///
    /// # Errors
    /// It refuses.
    pub async fn dead_letters(&self) -> Result<(BTreeMap<String, usize>, Vec<Vec<u8>>), Error> {
        let mut client = DeadLetterServiceClient::new(self.channel().await?)
            .max_decoding_message_size(ANSWER_MAX);
        let (mut reasons, mut escalations) = (BTreeMap::new(), Vec::new());
        let mut page_token = String::new();
        loop {
            let request = ListDeadLettersRequest {
                page_size: PAGE,
                page_token,
                ..ListDeadLettersRequest::default()
            };
            let page = client.list_dead_letters(request).await?.into_inner();
            for letter in page
                .dead_letters
                .into_iter()
                .filter_map(|entry| entry.letter)
            {
                *reasons
                    .entry(format!("{} {}", letter.stage, letter.reason))
                    .or_insert(0) += 1;
                if !letter.escalation_id.is_empty() {
                    escalations.push(letter.escalation_id.to_vec());
                }
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok((reasons, escalations));
            }
        }
    }

    /// Ends it, where it is ours.
    pub async fn stop(mut self) {
        let Some(child) = self.child.as_mut() else {
            return;
        };
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself.
            let _gone = kill_process(pid, Signal::TERM);
        }
        if timeout(STOP_MAX, child.wait()).await.is_err() {
            let _gone = child.kill().await;
        }
    }
}
