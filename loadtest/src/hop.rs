//! The reference hop: the messages that a run left in the log, published and consumed bare, on a
//! `nats-server` of our own with the product's sync mode. What the broker itself costs on this
//! machine, to hold the product's figures against.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::clock::Clock;
use crate::error::Error;
use crate::nats::{Server, Sync};
use crate::run::Outcome;

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(20);
const LEAD: Duration = Duration::from_millis(200);
/// How long a stream is asked, nanoseconds.
const PULL_NS: u64 = 120_000_000_000;
const CONSUMER: &str = "bare";
/// Bytes in front of each message: its number.
const NUMBER_BYTES: usize = 8;

/// One message of the hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// When its last event was meant to be sent, nanoseconds after the start.
    pub at_ns: u64,
    /// Which stream, from 0.
    pub stream: usize,
    /// Bytes of its events.
    pub bytes: usize,
}

/// What one hop measured.
#[derive(Debug, Clone, Serialize)]
pub struct Reading {
    /// Messages.
    pub messages: usize,
    /// Streams.
    pub streams: usize,
    /// From the intended sending to the consumer, nanoseconds.
    #[serde(skip)]
    pub consumed_ns: Vec<u64>,
}

/// The messages in which the product wrote a run's events, as its acknowledgements tell.
#[must_use]
pub fn messages(outcome: &Outcome) -> Vec<Message> {
    let mut found: BTreeMap<(u32, u64), Message> = BTreeMap::new();
    let places = outcome.sending.track.places();
    for (event, place) in outcome.plan.events.iter().zip(places) {
        let Some((stream, sequence)) = place else {
            continue;
        };
        let message = found.entry((stream, sequence)).or_insert(Message {
            at_ns: 0,
            stream: usize::try_from(stream).unwrap_or_default(),
            bytes: 0,
        });
        message.at_ns = message.at_ns.max(event.at_ns);
        message.bytes += event.payload(&outcome.plan.tag).len();
    }
    let mut messages: Vec<_> = found.into_values().collect();
    messages.sort_by_key(|message| (message.at_ns, message.stream));
    messages
}

/// A `nats-server` with JetStream.
#[derive(Debug)]
pub struct Broker {
    server: Server,
    // Behind the server: it goes last.
    _folder: TempDir,
}

fn broken(what: impl ToString) -> Error {
    Error::Broker {
        what: what.to_string(),
    }
}

impl Broker {
    /// Starts one on a temporary folder and a free port. Blocks.
    ///
    /// # Errors
    /// It cannot be started, or does not become ready.
    pub fn start(program: &Path, sync: Sync) -> Result<Self, Error> {
        let folder = tempfile::Builder::new()
            .prefix("balefire-hop-")
            .tempdir()
            .map_err(broken)?;
        let settings = format!(
            "listen: \"127.0.0.1:-1\"\njetstream {{ store_dir: {:?}, sync_interval: {} }}\n",
            folder.path().join("store"),
            sync.interval(),
        );
        Ok(Self {
            server: Server::start(program, folder.path(), &settings)?,
            _folder: folder,
        })
    }

    /// Publishes and consumes these messages on new streams. Blocks.
    ///
    /// # Errors
    /// The server refuses, or does not answer.
    pub fn measure(&self, run: usize, messages: &[Message]) -> Result<Reading, Error> {
        let streams = messages.iter().map(|one| one.stream + 1).max().unwrap_or(0);
        let mut control = Line::connect(&self.server.addr)?;
        control.write(&format!("SUB in.{run}.* 1\r\nSUB reply.{run} 2\r\n"))?;
        for stream in 0..streams {
            control.make(run, stream)?;
        }
        for stream in 0..streams {
            let count = messages.iter().filter(|one| one.stream == stream).count();
            control.pull(run, stream, count)?;
        }
        let clock = Clock::starting_in(LEAD);
        let publisher = Line::connect(&self.server.addr)?;
        std::thread::scope(|scope| {
            let sent = scope.spawn(|| publish(publisher, run, clock, messages));
            let consumed_ns = consume(&mut control, clock, messages)?;
            sent.join()
                .map_err(|_| broken("the publisher panicked"))??;
            Ok(Reading {
                messages: messages.len(),
                streams,
                consumed_ns,
            })
        })
    }
}

fn publish(mut line: Line, run: usize, clock: Clock, messages: &[Message]) -> Result<(), Error> {
    let largest = messages.iter().map(|one| one.bytes).max().unwrap_or(0);
    let padding = vec![b'x'; largest];
    let mut out = Vec::with_capacity(largest + 64);
    for (number, message) in messages.iter().enumerate() {
        let size = NUMBER_BYTES + message.bytes;
        out.clear();
        out.extend_from_slice(format!("PUB ref.{run}.{} {size}\r\n", message.stream).as_bytes());
        out.extend_from_slice(format!("{number:0NUMBER_BYTES$}").as_bytes());
        out.extend_from_slice(padding.get(..message.bytes).unwrap_or_default());
        out.extend_from_slice(b"\r\n");
        clock.block_until(message.at_ns);
        line.stream.get_mut().write_all(&out).map_err(broken)?;
    }
    Ok(())
}

fn consume(line: &mut Line, clock: Clock, messages: &[Message]) -> Result<Vec<u64>, Error> {
    let mut took = Vec::with_capacity(messages.len());
    while took.len() < messages.len() {
        let (_, payload) = line.message()?;
        let now_ns = clock.now_ns();
        let number = payload
            .get(..NUMBER_BYTES)
            .and_then(|text| std::str::from_utf8(text).ok());
        let number = number.and_then(|text| text.parse::<usize>().ok());
        let message = number.and_then(|number| messages.get(number));
        let message = message.ok_or_else(|| broken("a message that was not sent"))?;
        took.push(now_ns.saturating_sub(message.at_ns));
    }
    Ok(took)
}

/// One connection that speaks the client protocol.
struct Line {
    stream: BufReader<TcpStream>,
}

impl Line {
    fn connect(addr: &str) -> Result<Self, Error> {
        let stream = TcpStream::connect(addr).map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        stream.set_read_timeout(Some(ANSWER_MAX)).map_err(broken)?;
        let mut line = Self {
            stream: BufReader::new(stream),
        };
        let hello = line.text()?;
        if !hello.starts_with("INFO ") {
            return Err(broken("no nats-server there"));
        }
        line.write("CONNECT {\"verbose\":false,\"pedantic\":false}\r\nPING\r\n")?;
        while line.text()? != "PONG" {}
        Ok(line)
    }

    fn write(&mut self, text: &str) -> Result<(), Error> {
        self.stream
            .get_mut()
            .write_all(text.as_bytes())
            .map_err(broken)
    }

    fn text(&mut self) -> Result<String, Error> {
        let mut text = String::new();
        self.stream.read_line(&mut text).map_err(broken)?;
        if text.is_empty() {
            return Err(broken("the connection ended"));
        }
        Ok(text.trim_end().to_owned())
    }

    /// The next message: its subject and its bytes.
    fn message(&mut self) -> Result<(String, Vec<u8>), Error> {
        loop {
            let text = self.text()?;
            if text == "PING" {
                self.write("PONG\r\n")?;
            } else if let Some(rest) = text.strip_prefix("-ERR ") {
                return Err(broken(rest));
            } else if let Some(rest) = text.strip_prefix("MSG ") {
                let subject = rest.split(' ').next().unwrap_or_default().to_owned();
                let size = rest.rsplit(' ').next().and_then(|size| size.parse().ok());
                let size: usize = size.ok_or_else(|| broken("a message without a size"))?;
                let mut payload = vec![0; size + 2];
                self.stream.read_exact(&mut payload).map_err(broken)?;
                payload.truncate(size);
                return Ok((subject, payload));
            }
        }
    }

    fn ask(&mut self, run: usize, subject: &str, question: &Value) -> Result<(), Error> {
        let body = question.to_string();
        self.write(&format!(
            "PUB {subject} reply.{run} {}\r\n{body}\r\n",
            body.len()
        ))?;
        loop {
            let (subject, payload) = self.message()?;
            if subject != format!("reply.{run}") {
                continue;
            }
            let answer: Value = serde_json::from_slice(&payload).unwrap_or_default();
            return match answer.get("error") {
                Some(error) => Err(broken(error)),
                None => Ok(()),
            };
        }
    }

    /// A stream as the product makes them, and a consumer as the product has them.
    fn make(&mut self, run: usize, stream: usize) -> Result<(), Error> {
        let name = format!("REF_{run}_{stream}");
        let question = json!({
            "name": name, "subjects": [format!("ref.{run}.{stream}")], "storage": "file",
            "retention": "limits", "discard": "new", "num_replicas": 1,
        });
        self.ask(run, &format!("$JS.API.STREAM.CREATE.{name}"), &question)?;
        let question = json!({"stream_name": name, "config": {
            "durable_name": CONSUMER, "ack_policy": "none", "deliver_policy": "all",
        }});
        let subject = format!("$JS.API.CONSUMER.DURABLE.CREATE.{name}.{CONSUMER}");
        self.ask(run, &subject, &question)
    }

    /// Asks for the messages of a stream, as they come.
    fn pull(&mut self, run: usize, stream: usize, count: usize) -> Result<(), Error> {
        let question = json!({"batch": count, "expires": PULL_NS}).to_string();
        self.write(&format!(
            "PUB $JS.API.CONSUMER.MSG.NEXT.REF_{run}_{stream}.{CONSUMER} in.{run}.{stream} {}\r\n{question}\r\n",
            question.len()
        ))
    }
}
