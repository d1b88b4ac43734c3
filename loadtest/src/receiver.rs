//! The webhook receiver of a load test: checks each Standard Webhooks signature and notes when what
//! came came. Reading the bodies is left for later.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::error::Error;

/// Largest body, bytes.
const BODY_MAX: usize = 1024 * 1024;
/// Most arrivals kept; the next is refused.
const ARRIVALS_MAX: usize = 2_000_000;
const KEY: &[u8; 32] = b"balefire-loadtest-signing-key-32";

/// One arrival.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// When its body was read.
    pub at: Instant,
    /// `webhook-id`.
    pub id: String,
    /// The body.
    pub body: Bytes,
}

/// A receiver that listens.
#[derive(Debug, Clone)]
pub struct Receiver {
    addr: SocketAddr,
    shelf: Arc<Mutex<Shelf>>,
}

#[derive(Debug, Default)]
struct Shelf {
    deliveries: Vec<Delivery>,
    unsigned: usize,
}

/// What the product signs with.
#[must_use]
pub fn secret() -> String {
    format!("whsec_{}", STANDARD.encode(KEY))
}

/// The value of `webhook-signature`.
#[must_use]
pub fn sign(id: &str, seconds: &str, body: &[u8]) -> String {
    format!(
        "v1,{}",
        STANDARD.encode(mac(id, seconds, body).finalize().into_bytes())
    )
}

fn mac(id: &str, seconds: &str, body: &[u8]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY).expect("a key of any length");
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body);
    mac
}

fn genuine(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (id, seconds) = (text("webhook-id")?, text("webhook-timestamp")?);
    let signatures = text("webhook-signature")?;
    let signed = signatures.split(' ').any(|one| {
        let given = one
            .strip_prefix("v1,")
            .and_then(|text| STANDARD.decode(text).ok());
        given.is_some_and(|given| mac(id, seconds, body).verify_slice(&given).is_ok())
    });
    signed.then(|| id.to_owned())
}

async fn take(
    State(shelf): State<Arc<Mutex<Shelf>>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let at = Instant::now();
    let id = genuine(&headers, &body);
    let mut shelf = shelf.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(id) = id else {
        shelf.unsigned += 1;
        return StatusCode::UNAUTHORIZED;
    };
    if shelf.deliveries.len() >= ARRIVALS_MAX {
        return StatusCode::INSUFFICIENT_STORAGE;
    }
    shelf.deliveries.push(Delivery { at, id, body });
    StatusCode::NO_CONTENT
}

impl Receiver {
    /// Listens for as long as the runtime lives.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub async fn start(listen: SocketAddr) -> Result<Self, Error> {
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|source| Error::Listen { source })?;
        let addr = listener
            .local_addr()
            .map_err(|source| Error::Listen { source })?;
        let shelf = Arc::new(Mutex::new(Shelf::default()));
        let router = Router::new()
            .route("/hook", post(take))
            .layer(DefaultBodyLimit::max(BODY_MAX))
            .with_state(Arc::clone(&shelf));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { addr, shelf })
    }

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What to call.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/hook", self.addr)
    }

    /// How many came so far.
    #[must_use]
    pub fn len(&self) -> usize {
        let shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.deliveries.len()
    }

    /// Whether nothing came so far.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes what came away; and how many came without a good signature.
    #[must_use]
    pub fn take(&self) -> (Vec<Delivery>, usize) {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let shelf = std::mem::take(&mut *shelf);
        (shelf.deliveries, shelf.unsigned)
    }
}
