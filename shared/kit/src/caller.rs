//! Who calls: one tower layer yields a [`Caller`], and every handler takes it.
//!
//! The tenant comes from the caller, never from the payload. For now keys are static, in a file:
//! ```toml
//! [[key]]
//! token = "a long random text"   # or token_blake3 = "its hex digest"
//! tenant = "default"
//! subject = "payments-gateway"
//! scopes = ["ingest"]            # ingest, read, operate
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{Either, Ready, ready};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use tower::{Layer, Service};

/// Tenant of callers where no keys are configured.
pub const DEFAULT_TENANT: &str = "default";
/// Largest keys file, bytes.
const KEYS_BYTES_MAX: u64 = 1024 * 1024;

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Send events.
    Ingest,
    /// Read escalations, events, status.
    Read,
    /// Change things: replay and discard dead letters.
    Operate,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Tenant of everything the call does.
    pub tenant: Arc<str>,
    /// Name of the caller, for the audit.
    pub subject: Arc<str>,
    /// Path of the call, such as `/balefire.ingest.v1.IngestService/Append`.
    pub method: String,
    /// The client's user agent.
    pub client: String,
    /// What it may do.
    pub scopes: Arc<[Scope]>,
}

impl Caller {
    /// Fails unless the caller holds a scope.
    ///
    /// # Errors
    /// PERMISSION_DENIED that names the scope.
    pub fn require(&self, scope: Scope) -> Result<(), tonic::Status> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        Err(tonic::Status::permission_denied(format!(
            "{} lacks the scope {scope:?} for {}",
            self.subject, self.method
        )))
    }

    /// The caller of a gRPC request, holding a scope.
    ///
    /// # Errors
    /// UNAUTHENTICATED where the layer is missing, PERMISSION_DENIED without the scope.
    pub fn of<T>(request: &tonic::Request<T>, scope: Scope) -> Result<Self, tonic::Status> {
        let caller = request.extensions().get::<Self>().cloned();
        let caller = caller.ok_or_else(|| tonic::Status::unauthenticated("no caller"))?;
        caller.require(scope)?;
        Ok(caller)
    }
}

/// Why keys could not be read, or a bind is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file.
    #[error("read keys file {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its contents.
    #[error("keys file {path}: {reason}")]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Open to the network without authentication.
    #[error(
        "{addr} is reachable from other machines and no keys file is set; give --keys FILE, bind \
         to 127.0.0.1, or say --insecure-no-auth"
    )]
    Open {
        /// The address.
        addr: SocketAddr,
    },
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEntry {
    token: Option<String>,
    token_blake3: Option<String>,
    tenant: String,
    subject: String,
    scopes: Vec<Scope>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysFile {
    #[serde(default)]
    key: Vec<KeyEntry>,
}

#[derive(Debug, Clone)]
struct Known {
    tenant: Arc<str>,
    subject: Arc<str>,
    scopes: Arc<[Scope]>,
}

/// Tells callers by their bearer token.
#[derive(Debug, Clone, Default)]
pub struct Authenticator {
    /// By BLAKE3 of the token, so that a look-up's time says nothing of it. `None`: everybody.
    keys: Option<Arc<BTreeMap<[u8; 32], Known>>>,
}

impl Authenticator {
    /// Everybody may do everything as tenant `default`. For loopback.
    #[must_use]
    pub fn open() -> Self {
        Self::default()
    }

    /// Reads a keys file.
    ///
    /// # Errors
    /// Where it cannot be read, names a key twice or holds an unknown word.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let read = |source| Error::Read {
            path: path.to_path_buf(),
            source,
        };
        let malformed = |reason: String| Error::Malformed {
            path: path.to_path_buf(),
            reason,
        };
        if std::fs::metadata(path).map_err(read)?.len() > KEYS_BYTES_MAX {
            return Err(malformed(format!("larger than {KEYS_BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        let file: KeysFile =
            toml::from_str(&text).map_err(|e| malformed(e.message().to_owned()))?;
        let mut keys = BTreeMap::new();
        for (number, entry) in file.key.into_iter().enumerate() {
            let digest = match (&entry.token, &entry.token_blake3) {
                (Some(token), None) if token.len() >= 16 => {
                    *blake3::hash(token.as_bytes()).as_bytes()
                }
                (None, Some(hex)) => *blake3::Hash::from_hex(hex)
                    .map_err(|_| {
                        malformed(format!("key {number}: token_blake3 is no 64 hex digits"))
                    })?
                    .as_bytes(),
                (Some(_), None) => {
                    return Err(malformed(format!(
                        "key {number}: token is shorter than 16 bytes"
                    )));
                }
                (Some(_), Some(_)) | (None, None) => {
                    return Err(malformed(format!(
                        "key {number}: give token or token_blake3"
                    )));
                }
            };
            if entry.tenant.is_empty() || entry.subject.is_empty() {
                return Err(malformed(format!(
                    "key {number}: tenant and subject must not be empty"
                )));
            }
            let known = Known {
                tenant: entry.tenant.into(),
                subject: entry.subject.into(),
                scopes: entry.scopes.into(),
            };
            if keys.insert(digest, known).is_some() {
                return Err(malformed(format!(
                    "key {number}: the same token stands twice"
                )));
            }
        }
        Ok(Self {
            keys: Some(Arc::new(keys)),
        })
    }

    /// Refuses to serve other machines without keys.
    ///
    /// # Errors
    /// [`Error::Open`] unless `insecure` says that it is meant.
    pub fn check_bind(&self, addr: SocketAddr, insecure: bool) -> Result<(), Error> {
        if self.keys.is_some() || insecure || addr.ip().is_loopback() {
            return Ok(());
        }
        Err(Error::Open { addr })
    }

    /// The caller of a request; `None` for an unknown or missing token.
    #[must_use]
    pub fn caller<B>(&self, request: &Request<B>) -> Option<Caller> {
        let text = |name| request.headers().get(name).and_then(|v| v.to_str().ok());
        let known = match &self.keys {
            None => Known {
                tenant: DEFAULT_TENANT.into(),
                subject: "anonymous".into(),
                scopes: [Scope::Ingest, Scope::Read, Scope::Operate].into(),
            },
            Some(keys) => {
                let token = match text(header::AUTHORIZATION) {
                    Some(said) => said
                        .strip_prefix("Bearer ")
                        .or_else(|| said.strip_prefix("bearer "))?,
                    None => text(FIREHOSE_KEY)?,
                };
                keys.get(blake3::hash(token.trim().as_bytes()).as_bytes())?
                    .clone()
            }
        };
        Some(Caller {
            tenant: known.tenant,
            subject: known.subject,
            method: request.uri().path().to_owned(),
            client: text(header::USER_AGENT)
                .unwrap_or_default()
                .chars()
                .take(128)
                .collect(),
            scopes: known.scopes,
        })
    }
}

/// Where Firehose puts the access key of its stream; it can send no other header.
const FIREHOSE_KEY: HeaderName = HeaderName::from_static("x-amz-firehose-access-key");

/// Puts a [`Caller`] into each request's extensions, or answers UNAUTHENTICATED / 401.
#[derive(Debug, Clone, Default)]
pub struct CallerLayer {
    /// Tells callers.
    pub authenticator: Authenticator,
}

impl<S> Layer<S> for CallerLayer {
    type Service = WithCaller<S>;

    fn layer(&self, inner: S) -> WithCaller<S> {
        WithCaller {
            authenticator: self.authenticator.clone(),
            inner,
        }
    }
}

/// A service behind [`CallerLayer`].
#[derive(Debug, Clone)]
pub struct WithCaller<S> {
    authenticator: Authenticator,
    inner: S,
}

/// Paths that need no caller: health checks.
fn public(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
        || path.starts_with("/grpc.health.v1.Health/")
        // Signed by their sender instead; who serves them checks that.
        || path.starts_with("/v1/acknowledgements/")
}

impl<S, B, R> Service<Request<B>> for WithCaller<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<R>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.authenticator.caller(&request) {
            Some(caller) => {
                request.extensions_mut().insert(caller);
                Either::Left(self.inner.call(request))
            }
            None if public(request.uri().path()) => Either::Left(self.inner.call(request)),
            None => Either::Right(ready(Ok(refuse(&request)))),
        }
    }
}

fn refuse<B, R: Default>(request: &Request<B>) -> Response<R> {
    let mut response = Response::new(R::default());
    let grpc = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    let headers = response.headers_mut();
    if grpc {
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        );
        headers.insert("grpc-status", HeaderValue::from_static("16"));
        let message = "send a known token as authorization: Bearer TOKEN";
        headers.insert("grpc-message", HeaderValue::from_static(message));
    } else {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(token: Option<&str>) -> Request<()> {
        let mut builder = Request::builder().uri("/x");
        if let Some(token) = token {
            builder = builder.header("authorization", format!("Bearer {token}"));
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn a_known_token_names_its_tenant_and_an_unknown_one_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        let text = "[[key]]\ntoken = \"0123456789abcdef\"\ntenant = \"acme\"\nsubject = \"gw\"\nscopes = [\"ingest\"]\n";
        std::fs::write(&path, text).unwrap();
        let authenticator = Authenticator::from_file(&path).unwrap();
        let caller = authenticator
            .caller(&request(Some("0123456789abcdef")))
            .unwrap();
        assert_eq!(&*caller.tenant, "acme");
        assert!(caller.require(Scope::Ingest).is_ok());
        assert!(caller.require(Scope::Operate).is_err());
        assert!(
            authenticator
                .caller(&request(Some("0123456789abcdee")))
                .is_none()
        );
        assert!(authenticator.caller(&request(None)).is_none());
        let firehose = |key: &str| {
            let builder = Request::builder().header("x-amz-firehose-access-key", key);
            authenticator.caller(&builder.body(()).unwrap())
        };
        assert_eq!(&*firehose("0123456789abcdef").unwrap().tenant, "acme");
        assert!(firehose("0123456789abcdee").is_none());
    }

    #[test]
    fn an_open_address_without_keys_is_refused() {
        let open = Authenticator::open();
        assert!(
            open.check_bind("127.0.0.1:1".parse().unwrap(), false)
                .is_ok()
        );
        assert!(
            open.check_bind("0.0.0.0:1".parse().unwrap(), false)
                .is_err()
        );
        assert!(open.check_bind("0.0.0.0:1".parse().unwrap(), true).is_ok());
    }

    #[test]
    fn a_keys_file_says_what_is_wrong_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        for (text, part) in [
            (
                "[[key]]\ntoken = \"short\"\ntenant = \"a\"\nsubject = \"b\"\nscopes = []\n",
                "shorter than 16",
            ),
            (
                "[[key]]\ntenant = \"a\"\nsubject = \"b\"\nscopes = []\n",
                "give token or token_blake3",
            ),
            (
                "[[key]]\ntoken = \"0123456789abcdef\"\ntenant = \"\"\nsubject = \"b\"\nscopes = []\n",
                "must not be empty",
            ),
            ("[[keys]]\n", "unknown field"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Authenticator::from_file(&path).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
