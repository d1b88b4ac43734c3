//! What went over TCP connections, asked of the kernel as `ss -tie` asks it: `SOCK_DIAG`.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const REQUEST_DUMP: u16 = 0x301;
const DONE: u16 = 3;
/// `INET_DIAG_INFO`: `struct tcp_info`.
const INFO: u16 = 2;
const HEADER: usize = 16;
/// `struct inet_diag_msg`, whose last word is the inode.
const MESSAGE: usize = 72;
/// Places in `struct tcp_info` (linux/tcp.h), fixed since Linux 4.1.
const BYTES_ACKED: usize = 120;
const BYTES_RECEIVED: usize = 128;
/// The states in which data can have flowed and a process still holds the socket.
const STATES: u32 = 0b1011_0011_0010;
/// Room for one answer of the kernel, which sends at most 32 KiB at once.
const ANSWER_MAX: usize = 65_536;

fn word<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    word(bytes, at).map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    word(bytes, at).map(u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    word(bytes, at).map(u64::from_ne_bytes)
}

fn length(bytes: &[u8]) -> Option<usize> {
    usize::try_from(u32_at(bytes, 0)?).ok()
}

/// "Every TCP connection of this family, with its `tcp_info`."
fn question(family: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(MESSAGE);
    out.extend_from_slice(&72u32.to_ne_bytes());
    out.extend_from_slice(&BY_FAMILY.to_ne_bytes());
    out.extend_from_slice(&REQUEST_DUMP.to_ne_bytes());
    // Sequence and port: one question at a time.
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&[family, IPPROTO_TCP, 1 << (INFO - 1), 0]);
    out.extend_from_slice(&STATES.to_ne_bytes());
    // No particular socket.
    out.resize(72, 0);
    out
}

/// Payload bytes of one connection, both ways, behind its inode.
fn connection(message: &[u8]) -> Option<(u64, u64)> {
    let inode = u32_at(message, HEADER + MESSAGE - 4)?;
    let mut rest = message.get(HEADER + MESSAGE..)?;
    while let (Some(length), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        let length = usize::from(length);
        if kind == INFO {
            let info = rest.get(4..length)?;
            let bytes = u64_at(info, BYTES_ACKED)? + u64_at(info, BYTES_RECEIVED)?;
            return Some((u64::from(inode), bytes));
        }
        // Attributes begin at multiples of four.
        rest = rest.get(length.max(4).next_multiple_of(4)..)?;
    }
    None
}

/// Adds an answer's connections; `Some(true)`: it was the last.
fn read(mut answer: &[u8], into: &mut BTreeMap<u64, u64>) -> Option<bool> {
    while !answer.is_empty() {
        let length = length(answer)?;
        let message = answer.get(..length.max(HEADER))?;
        match u16_at(message, 4)? {
            BY_FAMILY => into.extend(connection(message)),
            DONE => return Some(true),
            _ => return None,
        }
        answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(false)
}

fn ask(socket: &OwnedFd, family: u8, into: &mut BTreeMap<u64, u64>) -> Option<()> {
    send(socket, &question(family), SendFlags::empty()).ok()?;
    let mut answer = vec![0u8; ANSWER_MAX];
    loop {
        let (length, _) = recv(socket, &mut answer[..], RecvFlags::empty()).ok()?;
        if read(answer.get(..length)?, into)? {
            return Some(());
        }
    }
}

/// Payload bytes sent (and acknowledged) plus received so far, by the inode of the socket, of every
/// TCP connection of this machine that is still there. `None`: the system does not tell.
#[must_use]
pub fn carried() -> Option<BTreeMap<u64, u64>> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )
    .ok()?;
    let mut found = BTreeMap::new();
    ask(&socket, AF_INET, &mut found)?;
    // A machine without IPv6 has no connections of it.
    let _none = ask(&socket, AF_INET6, &mut found);
    Some(found)
}
