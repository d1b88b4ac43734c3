//! Pages of control objects: tokens that say of which control revision all pages are.

use balefire_control::Kind;
use balefire_kit::violation::invalid;
use balefire_wire::control::v1 as wire;
use tonic::Status;

/// Page size where none is asked for, and the largest.
const PAGE_DEFAULT: usize = 200;
const PAGE_MAX: usize = 1000;

/// How many fit on a page that was asked for.
pub fn size(asked: i32) -> Result<usize, Status> {
    match usize::try_from(asked) {
        Ok(0) => Ok(PAGE_DEFAULT),
        Ok(asked) => Ok(asked.min(PAGE_MAX)),
        Err(_) => Err(invalid("page_size", "is negative")),
    }
}

/// A kind that may be left out.
pub fn kind(number: i32) -> Result<Option<Kind>, Status> {
    if number == 0 {
        return Ok(None);
    }
    wire::Kind::known(number)
        .map(Some)
        .ok_or_else(|| invalid("kind", "is none that this server knows"))
}

fn wrong() -> Status {
    invalid(
        "page_token",
        "is none that this server gave; start without one",
    )
}

/// The control revision of all pages, and the last object of the page before.
type AfterObject = (u64, (Kind, String));

/// Reads `revision.kind.name`: the last object of the page before, and of when it was.
pub fn after_object(token: &str) -> Result<Option<AfterObject>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let mut parts = token.splitn(3, '.');
    let at = parts.next().and_then(|part| part.parse().ok());
    let kind = parts.next().and_then(Kind::parse);
    let name = parts.next();
    match (at, kind, name) {
        (Some(at), Some(kind), Some(name)) => Ok(Some((at, (kind, name.to_owned())))),
        _ => Err(wrong()),
    }
}

/// Reads `revision.count`: how many changes were on the pages before, and of when they were.
pub fn after_changes(token: &str) -> Result<Option<(u64, usize)>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let (at, count) = token.split_once('.').ok_or_else(wrong)?;
    match (at.parse(), count.parse()) {
        (Ok(at), Ok(count)) => Ok(Some((at, count))),
        _ => Err(wrong()),
    }
}
