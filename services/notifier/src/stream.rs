//! Connects to a peer that speaks no HTTP: only where it may be, over TLS where it should.

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::Verifier;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::guard::{Guard, Refused};

/// Most certificates of a file.
const ROOTS_MAX: usize = 64;

/// Why there is no connection, or nothing was written.
pub(crate) enum Refusable {
    /// The address may not be called.
    Refused(Refused),
    /// It failed.
    Failed(std::io::Error),
}

impl From<std::io::Error> for Refusable {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Connects to the first address of a name that may be called and answers: looked up once.
pub(crate) async fn connect(host: &str, port: u16, guard: &Guard) -> Result<TcpStream, Refusable> {
    let found = tokio::net::lookup_host((host, port)).await?;
    let mut error = Refusable::Failed(std::io::ErrorKind::NotFound.into());
    for address in found {
        if let Err(refusal) = guard.check(address.ip()) {
            error = Refusable::Refused(refusal);
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(source) => error = Refusable::Failed(source),
        }
    }
    Err(error)
}

/// Certificates of a PEM file, trusted beside those of the system.
///
/// # Errors
/// What is wrong with the file, in words.
pub(crate) fn roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("ca_file {}: {error}", path.display());
    let all = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?;
    let all: Vec<_> = all
        .take(ROOTS_MAX + 1)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(&error))?;
    match all.len() {
        0 => Err(wrong(&"no certificate is in it")),
        1..=ROOTS_MAX => Ok(all),
        _ => Err(wrong(&"more than 64 certificates")),
    }
}

/// How TLS is spoken: with the system's roots and those that were given.
#[derive(Debug, Clone)]
pub(crate) struct Tls(Arc<ClientConfig>);

impl Tls {
    /// With these roots beside the system's.
    ///
    /// # Errors
    /// What rustls says.
    pub(crate) fn new(roots: &[CertificateDer<'static>]) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = roots.iter().cloned();
        let verifier = Verifier::new_with_extra_roots(roots, Arc::clone(&provider))
            .map_err(|error| error.to_string())?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// Shakes hands with a peer of this name.
    ///
    /// # Errors
    /// A certificate that does not hold, or a connection that does not.
    pub(crate) async fn wrap(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        let connector = TlsConnector::from(Arc::clone(&self.0));
        connector.connect(name, stream).await
    }
}
