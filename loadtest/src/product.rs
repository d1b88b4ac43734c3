//! The product under test: a `balefire up` of our own, or its four services apart, on a temporary
//! folder; or one that runs already. And what it is asked after a run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use balefire_client::Client;
use balefire_wire::deadletter::v1::ListDeadLettersRequest;
use balefire_wire::deadletter::v1::dead_letter_service_client::DeadLetterServiceClient;
use balefire_wire::escalation::v1::escalation_service_client::EscalationServiceClient;
use balefire_wire::escalation::v1::{EscalationEntry, EscalationFilter, ListEscalationsRequest};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

use crate::error::Error;
use crate::nats::{Server, Sync};
use crate::process::{self, Usage};
use crate::program::Program;
use crate::receiver::secret;

const BARRIER_MAX: Duration = Duration::from_secs(120);
const PAGE: u32 = 5_000;
/// Largest answer, bytes.
const ANSWER_MAX: usize = 64 * 1024 * 1024;
/// Partitions of the services apart; what `up` makes too.
const PARTITIONS: &str = "2";
/// Deliveries under way at once to our webhook.
const WEBHOOK_CONCURRENCY: usize = 16;

/// A product that can be sent to.
#[derive(Debug)]
pub struct Product {
    shape: Shape,
    // Behind what runs on it: it goes last.
    folder: Option<TempDir>,
}

#[derive(Debug)]
enum Shape {
    /// One that was there before; its address.
    Running(String),
    /// `balefire up`, and its server where that is not its own.
    Up(Box<Program>, Option<Server>),
    /// Each service a process of its own.
    Apart(Box<Apart>),
}

#[derive(Debug)]
struct Apart {
    ingest: Program,
    correlator: Program,
    engine: Program,
    notifier: Program,
    nats: Server,
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn folder() -> Result<TempDir, Error> {
    let made = tempfile::Builder::new()
        .prefix("balefire-loadtest-")
        .tempdir();
    made.map_err(|source| Error::File {
        path: std::env::temp_dir(),
        source,
    })
}

/// Runs a program to its end; what it wrote.
fn said(program: &Path, arguments: &[OsString]) -> Result<String, Error> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|source| Error::Start {
            program: program.to_path_buf(),
            source,
        })?;
    if !output.status.success() {
        return Err(Error::Malformed {
            path: program.to_path_buf(),
            reason: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Flags of every process that serves.
const SERVES: [&str; 6] = [
    "--grpc-addr",
    "127.0.0.1:0",
    "--http-addr",
    "127.0.0.1:0",
    "--log",
    "warn",
];

/// A file that names our webhook as the only receiver; a delivery holds its place until its attempt
/// lies in the log, so the one place that is the default would be what is measured.
fn receivers(folder: &Path, webhook: &str) -> Result<Vec<OsString>, Error> {
    let (file, key) = (folder.join("receivers.toml"), folder.join("webhook.secret"));
    let text = format!(
        "[[receiver]]\nname = \"loadtest\"\nurl = \"{webhook}\"\nsecret_file = {key:?}\n\
         allow_loopback = true\nconcurrency = {WEBHOOK_CONCURRENCY}\n"
    );
    for (path, text) in [(&key, secret()), (&file, text)] {
        std::fs::write(path, text).map_err(|source| Error::File {
            path: path.clone(),
            source,
        })?;
    }
    Ok(vec!["--receivers".into(), file.into_os_string()])
}

/// A `nats-server` as `nats-config` writes it, with the log made; and the flags that lead to it.
fn broker(
    balefire: &Path,
    (nats, sync): (&Path, Sync),
    folder: &Path,
) -> Result<(Server, Vec<OsString>), Error> {
    let credentials = folder.join("credentials").into_os_string();
    let mut asked = words(&["nats-config", "--listen", "127.0.0.1:-1", "--partitions"]);
    asked.extend(words(&[PARTITIONS, "--credentials"]));
    asked.extend([credentials.clone(), "--store-dir".into()]);
    asked.push(folder.join("store").into_os_string());
    let settings = sync.instead(&said(balefire, &asked)?);
    let server = Server::start(nats, folder, &settings)?;
    let mut flags = words(&["--nats-url", &format!("nats://{}", server.addr)]);
    flags.extend(words(&["--nats-sync-confirmed", "--credentials"]));
    flags.push(credentials);
    let mut asked = words(&["provision", "--partitions", PARTITIONS]);
    asked.extend(flags.clone());
    let _streams = said(balefire, &asked)?;
    Ok((server, flags))
}

impl Product {
    /// One that runs already and tells `receiver`.
    #[must_use]
    pub fn running(addr: &str) -> Self {
        let addr = addr.trim_start_matches("http://").to_owned();
        Self {
            shape: Shape::Running(addr),
            folder: None,
        }
    }

    /// Starts `binary up` on a temporary folder; it tells `webhook` of everything. Its nats-server is
    /// its own, but for one that does not always sync.
    ///
    /// # Errors
    /// It cannot be started, or does not become ready.
    pub async fn start(binary: &Path, nats: (&Path, Sync), webhook: &str) -> Result<Self, Error> {
        let folder = folder()?;
        let mut arguments = words(&["up"]);
        arguments.extend(receivers(folder.path(), webhook)?);
        arguments.push("--data-dir".into());
        arguments.push(folder.path().join("data").into_os_string());
        arguments.extend(words(&SERVES));
        let log = folder.path().join("up.log");
        let server = match nats.1 {
            Sync::Always => None,
            Sync::Later => {
                let (server, flags) = broker(binary, nats, folder.path())?;
                arguments.extend(flags);
                Some(server)
            }
        };
        let up = Program::start(binary, &arguments, &log).await?;
        Ok(Self {
            shape: Shape::Up(Box::new(up), server),
            folder: Some(folder),
        })
    }

    /// Starts a `nats-server` and the four services beside `binary` as processes of their own.
    ///
    /// # Errors
    /// One of them cannot be started, or does not become ready.
    pub async fn apart(binary: &Path, nats: (&Path, Sync), webhook: &str) -> Result<Self, Error> {
        let folder = folder()?;
        let at = folder.path();
        let (nats, flags) = broker(binary, nats, at)?;
        let hook = receivers(at, webhook)?;
        let start = async |service: &str, own: &[OsString]| {
            let path = binary.with_file_name(format!("balefire-{service}"));
            let mut arguments = flags.clone();
            arguments.extend(words(&SERVES));
            arguments.extend_from_slice(own);
            arguments.push("--data-dir".into());
            arguments.push(at.join(service).into_os_string());
            Program::start(&path, &arguments, &at.join(format!("{service}.log"))).await
        };
        let apart = Apart {
            engine: start("rule-engine", &[]).await?,
            correlator: start("correlator", &[]).await?,
            ingest: start("ingest", &[]).await?,
            notifier: start("notifier", &hook).await?,
            nats,
        };
        Ok(Self {
            shape: Shape::Apart(Box::new(apart)),
            folder: Some(folder),
        })
    }

    /// Where events go.
    #[must_use]
    pub fn addr(&self) -> String {
        match &self.shape {
            Shape::Running(addr) => addr.clone(),
            Shape::Up(up, _) => up.addr(),
            Shape::Apart(apart) => apart.ingest.addr(),
        }
    }

    fn engine_addr(&self) -> String {
        match &self.shape {
            Shape::Running(_) | Shape::Up(..) => self.addr(),
            Shape::Apart(apart) => apart.engine.addr(),
        }
    }

    fn notifier_addr(&self) -> String {
        match &self.shape {
            Shape::Running(_) | Shape::Up(..) => self.addr(),
            Shape::Apart(apart) => apart.notifier.addr(),
        }
    }

    /// The owner of the windows, where it can be killed without the others.
    pub fn engine(&mut self) -> Option<&mut Program> {
        match &mut self.shape {
            Shape::Running(_) | Shape::Up(..) => None,
            Shape::Apart(apart) => Some(&mut apart.engine),
        }
    }

    /// What its processes have taken so far; nothing where they are not ours.
    #[must_use]
    pub fn usage(&self) -> Vec<Usage> {
        let pids = match &self.shape {
            Shape::Running(_) => Vec::new(),
            Shape::Up(up, server) => {
                let server = server.as_ref().map(|server| Some(server.pid()));
                server.into_iter().chain([up.pid()]).collect()
            }
            Shape::Apart(apart) => vec![
                apart.ingest.pid(),
                apart.correlator.pid(),
                apart.engine.pid(),
                apart.notifier.pid(),
                Some(apart.nats.pid()),
            ],
        };
        process::families(pids.into_iter().flatten())
    }

    /// The settings of its nats-server, where they are ours to read.
    #[must_use]
    pub fn nats_settings(&self) -> Option<String> {
        let folder = self.folder.as_ref()?.path();
        let places = ["nats.conf", "data/nats/nats.conf", "data/nats.conf"];
        let mut texts = places
            .iter()
            .map(|place| std::fs::read_to_string(folder.join(place)));
        texts.find_map(Result::ok)
    }

    /// Waits until everything it acknowledged is evaluated.
    ///
    /// # Errors
    /// It refuses, or takes longer than two minutes.
    pub async fn evaluated(&self) -> Result<(), Error> {
        let options = balefire_client::Options::default;
        let door = Client::connect(&self.addr(), options()).await?;
        let barrier = door.place_barrier().await?;
        let engine = Client::connect(&self.engine_addr(), options()).await?;
        engine.await_barrier(barrier, BARRIER_MAX).await?;
        Ok(())
    }

    /// Every escalation in its log.
    ///
    /// # Errors
    /// It refuses.
    pub async fn escalations(&self) -> Result<Vec<EscalationEntry>, Error> {
        let mut client = EscalationServiceClient::new(channel(&self.engine_addr()).await?)
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
        let mut client = DeadLetterServiceClient::new(channel(&self.notifier_addr()).await?)
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
    pub async fn stop(self) {
        match self.shape {
            Shape::Running(_) => {}
            Shape::Up(up, _server) => up.stop().await,
            Shape::Apart(apart) => {
                apart.ingest.stop().await;
                apart.correlator.stop().await;
                apart.engine.stop().await;
                apart.notifier.stop().await;
            }
        }
    }
}

async fn channel(addr: &str) -> Result<Channel, Error> {
    let endpoint = Endpoint::from_shared(format!("http://{addr}"));
    let connect = |source| Error::Connect { source };
    endpoint.map_err(connect)?.connect().await.map_err(connect)
}
