//! A receiver that misbehaves on demand: a plain HTTP/1.1 server on a free loopback port.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the receiver does with a request.
#[derive(Debug, Clone, Copy)]
pub enum Act {
    /// Answers with a status.
    Status(u16),
    /// Answers with a status and a body.
    Answer(u16, &'static str),
    /// Answers 503 with a Retry-After of so many seconds.
    Later(u32),
    /// Waits, then answers 200.
    Slow(Duration),
    /// Closes the connection without an answer.
    Reset,
    /// Answers 200 when it shall do otherwise.
    Held,
    /// Answers 200, keeps the connection, and answers once more as soon as something comes on it,
    /// without reading that.
    Twice,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method and path.
    pub line: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    pub at: tokio::time::Instant,
}

impl Request {
    pub fn id(&self) -> &str {
        self.headers.get("webhook-id").map_or("", String::as_str)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Debug)]
struct Shared {
    script: Mutex<VecDeque<Act>>,
    otherwise: watch::Sender<Act>,
    requests: Mutex<Vec<Request>>,
    taken: Mutex<Vec<String>>,
}

pub struct Receiver {
    pub url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// Follows `script`, then does `otherwise`.
    pub async fn start(script: &[Act], otherwise: Act) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            script: Mutex::new(script.iter().copied().collect()),
            otherwise: watch::Sender::new(otherwise),
            requests: Mutex::default(),
            taken: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&serving)));
            }
        });
        Self { url, shared, task }
    }

    pub async fn good() -> Self {
        Self::start(&[], Act::Status(200)).await
    }

    pub fn otherwise(&self, act: Act) {
        self.shared.otherwise.send_replace(act);
    }

    /// From now on does this first.
    pub fn script(&self, acts: &[Act]) {
        self.shared.script.lock().unwrap().extend(acts);
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Ids of the requests that were answered with success.
    pub fn taken(&self) -> Vec<String> {
        self.shared.taken.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let Some(request) = read(&mut stream).await else {
        return;
    };
    let id = request.id().to_owned();
    shared.requests.lock().unwrap().push(request);
    let next = shared.script.lock().unwrap().pop_front();
    let act = next.unwrap_or(*shared.otherwise.borrow());
    let mut body = "scripted\n";
    let (status, more) = match act {
        Act::Status(status) => (status, String::new()),
        Act::Answer(status, answer) => {
            body = answer;
            (status, String::new())
        }
        Act::Later(seconds) => (503, format!("retry-after: {seconds}\r\n")),
        Act::Slow(wait) => {
            tokio::time::sleep(wait).await;
            (200, String::new())
        }
        Act::Reset => return,
        Act::Held => {
            let mut told = shared.otherwise.subscribe();
            let other = |act: &Act| !matches!(act, Act::Held);
            told.wait_for(other).await.unwrap();
            (200, String::new())
        }
        Act::Twice => {
            shared.taken.lock().unwrap().push(id);
            return twice(stream).await;
        }
    };
    if (200..300).contains(&status) {
        shared.taken.lock().unwrap().push(id);
    }
    let answer = format!(
        "HTTP/1.1 {status} X\r\n{more}location: http://127.0.0.1:1/\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let _gone = stream.write_all(answer.as_bytes()).await;
}

async fn twice(mut stream: TcpStream) {
    let answer = b"HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n";
    let _gone = stream.write_all(answer).await;
    if matches!(stream.peek(&mut [0]).await, Ok(1)) {
        let _gone = stream.write_all(answer).await;
    }
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let headers: BTreeMap<_, _> = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers
        .get("content-length")
        .map_or(0, |text| text.parse().unwrap());
    while bytes.len() < head + 4 + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let line = text.lines().next().unwrap();
    Some(Request {
        line: line.trim_end_matches(" HTTP/1.1").to_owned(),
        headers,
        body: bytes[head + 4..].to_vec(),
        at: tokio::time::Instant::now(),
    })
}
