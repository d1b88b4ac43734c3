//! One GET of a nats-server's monitoring port: loopback or plain HTTP, small answers.

use std::io::{Error, Read, Result, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Largest answer read, bytes.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// Status and body of `http://host:port` + `path`. Blocks for at most about `timeout` a step.
pub(crate) fn get(base: &str, path: &str, timeout: Duration) -> Result<(u16, String)> {
    let authority = base
        .strip_prefix("http://")
        .ok_or_else(|| Error::other("a monitoring address starts with http://"))?
        .trim_end_matches('/');
    let address = authority
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| Error::other("no such host"))?;
    let mut socket = TcpStream::connect_timeout(&address, timeout)?;
    socket.set_read_timeout(Some(timeout))?;
    socket.set_write_timeout(Some(timeout))?;
    write!(
        socket,
        "GET {path} HTTP/1.0\r\nHost: {authority}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    socket.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| Error::other("not an HTTP answer"))?;
    let status = head
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| Error::other("not an HTTP answer"))?;
    Ok((status, body.to_owned()))
}
