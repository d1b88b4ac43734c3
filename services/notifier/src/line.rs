//! Speaks syslog over TCP (RFC 6587, counted) and over TLS (RFC 5425), and writes lines to a file.

use std::path::Path;
use std::time::Duration;

use reqwest::Url;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::guard::Guard;
use crate::stream::{Refusable, Tls, connect};

/// A peer that closes in anger does so within this.
const REFUSAL_MAX: Duration = Duration::from_secs(1);
/// Port of syslog over TLS.
const TLS_PORT: u16 = 6514;

/// Writes one counted message and gives the peer a moment to refuse it.
pub(crate) async fn syslog(
    url: &Url,
    guard: &Guard,
    tls: &Tls,
    message: &[u8],
) -> Result<(), Refusable> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    if url.scheme() == "tls" {
        let stream = connect(host, url.port().unwrap_or(TLS_PORT), guard).await?;
        return write(tls.wrap(host, stream).await?, message).await;
    }
    let stream = connect(host, url.port().unwrap_or_default(), guard).await?;
    write(stream, message).await
}

async fn write(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    message: &[u8],
) -> Result<(), Refusable> {
    stream.write_all(message).await?;
    stream.shutdown().await?;
    let mut byte = [0];
    let refused = tokio::time::timeout(REFUSAL_MAX, stream.read(&mut byte)).await;
    match refused {
        // Some peers close TLS without saying so: the message was theirs by then.
        Ok(Err(source)) if source.kind() != std::io::ErrorKind::UnexpectedEof => {
            Err(Refusable::Failed(source))
        }
        Ok(Ok(_) | Err(_)) | Err(_) => Ok(()),
    }
}

/// Adds a line to a file and waits until the disk has it. The file is opened anew each time, so that
/// it may be moved away.
pub(crate) async fn append(path: &Path, line: &[u8]) -> std::io::Result<()> {
    let mut options = tokio::fs::OpenOptions::new();
    let mut file = options.append(true).create(true).open(path).await?;
    let mut whole = line.to_vec();
    whole.push(b'\n');
    // One write: of two processes no line is torn.
    file.write_all(&whole).await?;
    file.flush().await?;
    file.sync_data().await
}
