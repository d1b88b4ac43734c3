//! Speaks syslog over TCP.

use std::time::Duration;

use reqwest::Url;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::guard::{Guard, Refused};

/// A peer that closes in anger does so within this.
const REFUSAL_MAX: Duration = Duration::from_secs(1);

/// Why nothing was written.
pub(crate) enum Refusable {
    Refused(Refused),
    Failed(std::io::Error),
}

/// Writes one counted message and gives the peer a moment to refuse it.
pub(crate) async fn syslog(url: &Url, guard: &Guard, message: &[u8]) -> Result<(), Refusable> {
    let failed = Refusable::Failed;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port().unwrap_or_default();
    let found = tokio::net::lookup_host((host, port))
        .await
        .map_err(failed)?;
    let mut error = Refusable::Failed(std::io::ErrorKind::NotFound.into());
    for address in found {
        if let Err(refusal) = guard.check(address.ip()) {
            error = Refusable::Refused(refusal);
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(mut stream) => {
                stream.write_all(message).await.map_err(failed)?;
                stream.shutdown().await.map_err(failed)?;
                let mut byte = [0];
                let refused = tokio::time::timeout(REFUSAL_MAX, stream.read(&mut byte));
                return match refused.await {
                    Ok(Err(source)) => Err(failed(source)),
                    Ok(Ok(_)) | Err(_) => Ok(()),
                };
            }
            Err(source) => error = Refusable::Failed(source),
        }
    }
    Err(error)
}
