//! Speaks SMTP: TLS from the start (`smtps`), or STARTTLS, which must be there but on this host and
//! in allowed networks. A password goes over TLS, or not beyond this host.

use balefire_notifier_core::receiver::email::Told;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::guard::{Guard, Plain};
use crate::stream::{Refusable, Tls, connect};

/// Bytes of one answer.
const ANSWER_BYTES_MAX: usize = 4 * 1024;
/// Ports where the URL names none.
const PORT: u16 = 587;
const TLS_PORT: u16 = 465;

/// An answer: its code, and what it says.
struct Answer {
    code: u16,
    text: String,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A conversation.
struct Talk<S> {
    stream: S,
    /// Read and not taken yet.
    rest: Vec<u8>,
}

/// What is sent.
pub(crate) struct Letter<'l> {
    pub(crate) from: &'l str,
    pub(crate) to: Vec<&'l str>,
    /// With CRLF.
    pub(crate) message: &'l [u8],
    /// User and password.
    pub(crate) login: Option<(&'l str, &'l str)>,
}

/// Sends a message once; what each recipient came to.
pub(crate) async fn send(
    url: &Url,
    guard: &Guard,
    tls: &Tls,
    letter: &Letter<'_>,
) -> Result<Vec<Told>, Refusable> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    if url.scheme() == "smtps" {
        let stream = connect(host, url.port().unwrap_or(TLS_PORT), guard).await?;
        let mut talk = Talk::new(tls.wrap(host, stream).await?);
        talk.expect(220).await?;
        talk.hello().await?;
        return talk.letter(letter).await;
    }
    let stream = connect(host, url.port().unwrap_or(PORT), guard).await?;
    let home = stream.peer_addr()?.ip().to_canonical().is_loopback();
    let mut talk = Talk::new(stream);
    talk.expect(220).await?;
    let can = talk.hello().await?;
    if can.iter().any(|word| word.eq_ignore_ascii_case("STARTTLS")) {
        talk.ask("STARTTLS").await?.must(220)?;
        if !talk.rest.is_empty() {
            return Err(said("more than an answer came before TLS"));
        }
        let mut talk = Talk::new(tls.wrap(host, talk.stream).await?);
        talk.hello().await?;
        return talk.letter(letter).await;
    }
    if guard.plain == Plain::No {
        return Err(said(
            "it offers no STARTTLS, and is neither this host nor allowed by name",
        ));
    }
    if letter.login.is_some() && !home {
        return Err(said("it offers no STARTTLS: the password stays here"));
    }
    talk.letter(letter).await
}

fn said(text: &str) -> Refusable {
    Refusable::Failed(std::io::Error::other(text.to_owned()))
}

impl Answer {
    fn must(self, code: u16) -> Result<Self, Refusable> {
        if self.code == code {
            Ok(self)
        } else {
            Err(said(&format!("{} {}", self.code, self.text)))
        }
    }

    const fn is_good(&self) -> bool {
        matches!(self.code, 200..=299)
    }
}

impl<S: Stream> Talk<S> {
    const fn new(stream: S) -> Self {
        Self {
            stream,
            rest: Vec::new(),
        }
    }

    /// One line, without its end.
    async fn line(&mut self, left: &mut usize) -> Result<String, Refusable> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                *left = left.saturating_sub(line.len());
                let text = String::from_utf8_lossy(&line);
                return Ok(text.trim_end().to_owned());
            }
            if self.rest.len() >= *left {
                return Err(said("its answer is longer than 4 KiB"));
            }
            let mut chunk = [0; 512];
            let read = self.stream.read(&mut chunk).await?;
            if read == 0 {
                return Err(Refusable::Failed(std::io::ErrorKind::UnexpectedEof.into()));
            }
            self.rest.extend(chunk.iter().take(read));
        }
    }

    /// An answer of one or more lines.
    async fn answer(&mut self) -> Result<(Answer, Vec<String>), Refusable> {
        let (mut left, mut lines) = (ANSWER_BYTES_MAX, Vec::new());
        loop {
            let line = self.line(&mut left).await?;
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let Some(code) = code else {
                return Err(said("its answer has no code"));
            };
            let more = line.as_bytes().get(3) == Some(&b'-');
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if !more {
                let text = lines.join(" ");
                return Ok((Answer { code, text }, lines));
            }
        }
    }

    async fn expect(&mut self, code: u16) -> Result<(), Refusable> {
        let (answer, _) = self.answer().await?;
        answer.must(code)?;
        Ok(())
    }

    async fn ask(&mut self, command: &str) -> Result<Answer, Refusable> {
        self.stream
            .write_all(format!("{command}\r\n").as_bytes())
            .await?;
        self.stream.flush().await?;
        Ok(self.answer().await?.0)
    }

    /// What the peer can.
    async fn hello(&mut self) -> Result<Vec<String>, Refusable> {
        self.stream.write_all(b"EHLO balefire\r\n").await?;
        self.stream.flush().await?;
        let (answer, lines) = self.answer().await?;
        answer.must(250)?;
        Ok(lines)
    }

    async fn letter(&mut self, letter: &Letter<'_>) -> Result<Vec<Told>, Refusable> {
        if let Some((user, password)) = letter.login {
            let plain = STANDARD.encode(format!("\0{user}\0{password}"));
            self.ask(&format!("AUTH PLAIN {plain}")).await?.must(235)?;
        }
        let told = |address: &str, answer: &Answer| Told {
            address: address.to_owned(),
            code: answer.code,
            text: answer.text.clone(),
        };
        let from = self.ask(&format!("MAIL FROM:<{}>", letter.from)).await?;
        if !from.is_good() {
            let all = letter.to.iter();
            return Ok(all.map(|address| told(address, &from)).collect());
        }
        let (mut taken, mut all) = (Vec::new(), Vec::new());
        for address in &letter.to {
            let answer = self.ask(&format!("RCPT TO:<{address}>")).await?;
            match answer.is_good() {
                true => taken.push(*address),
                false => all.push(told(address, &answer)),
            }
        }
        if !taken.is_empty() {
            let mut end = self.ask("DATA").await?;
            if end.code == 354 {
                self.stream.write_all(&stuffed(letter.message)).await?;
                self.stream.flush().await?;
                end = self.answer().await?.0;
            }
            all.extend(taken.iter().map(|address| told(address, &end)));
        }
        // What it answers to that changes nothing.
        let _gone = self.stream.write_all(b"QUIT\r\n").await;
        let _gone = self.stream.shutdown().await;
        Ok(all)
    }
}

/// With a second dot before each that begins a line, and the dot that ends the whole.
fn stuffed(message: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(message.len() + 8);
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        if line.first() == Some(&b'.') {
            whole.push(b'.');
        }
        whole.extend_from_slice(line);
    }
    if !whole.ends_with(b"\r\n") {
        whole.extend_from_slice(b"\r\n");
    }
    whole.extend_from_slice(b".\r\n");
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_a_message_ends_it() {
        assert_eq!(stuffed(b"a\r\n.\r\nb"), b"a\r\n..\r\nb\r\n.\r\n");
        assert_eq!(stuffed(b".a\r\n"), b"..a\r\n.\r\n");
    }
}
