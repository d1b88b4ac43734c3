//! A store that stopped for want of room and would go on with a restart. The server never goes
//! on by itself: a stream whose write failed once answers nothing until it is opened again, and
//! the limit of the store is read at the start only.

use std::path::Path;
use std::time::Duration;

use super::{Ports, ServerOptions, config};
use crate::http;

/// So much must be free again, or the limit be so much higher, bytes: no restart for crumbs.
const ROOM_MIN: u64 = 16 << 20;
/// A store so close to its limit refuses, bytes: twice the largest message.
const MARGIN: u64 = 2 << 20;

/// Why a restart would help now; `None` where nothing is stuck or there is still no room.
pub(super) fn again(
    dir: &Path,
    options: &ServerOptions,
    ports: &Ports,
    timeout: Duration,
) -> Option<&'static str> {
    if let Ok((503, said)) = http::get(&ports.monitoring_url, "/healthz", timeout)
        && is_write_error(&said)
        && !is_short(dir)
    {
        return Some("a write failed, and there is room again");
    }
    let (_, said) = http::get(&ports.monitoring_url, "/jsz", timeout).ok()?;
    let use_of = Use::read(&said)?;
    (use_of.is_full() && config::limit(dir, options) >= use_of.limit.saturating_add(ROOM_MIN))
        .then_some("its store was full, and the disk has room again")
}

/// Whether the disk is as good as full: a server started on it may never become ready.
pub(super) fn is_short(dir: &Path) -> bool {
    config::free(dir) < ROOM_MIN
}

/// `/healthz` names the first stream whose write failed.
fn is_write_error(said: &str) -> bool {
    said.contains("write error")
}

/// What `/jsz` tells of the store, bytes.
#[derive(Debug, PartialEq, Eq)]
struct Use {
    used: u64,
    limit: u64,
}

impl Use {
    fn read(said: &str) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_str(said).ok()?;
        Some(Self {
            used: value.get("storage")?.as_u64()?,
            limit: value.get("config")?.get("max_storage")?.as_u64()?,
        })
    }

    const fn is_full(&self) -> bool {
        self.used.saturating_add(MARGIN) >= self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_is_told_from_other_trouble() {
        let failed = r#"{"status":"unavailable","error":"JetStream stream '$G > A' write error: write 1.blk: no space left on device"}"#;
        assert!(is_write_error(failed));
        assert!(!is_write_error(
            r#"{"status":"unavailable","error":"JetStream is not current"}"#
        ));
    }

    #[test]
    fn a_store_near_its_limit_is_full() {
        let of = |used: u64| {
            let said = format!(r#"{{"storage":{used},"config":{{"max_storage":45265306}}}}"#);
            Use::read(&said).unwrap()
        };
        assert!(of(45_265_306 - MARGIN).is_full());
        assert!(!of(45_265_306 - MARGIN - 1).is_full());
        assert_eq!(Use::read("{}"), None);
    }
}
