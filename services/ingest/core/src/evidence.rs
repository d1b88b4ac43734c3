//! The bodies of a request and its response: split off at the door, byte for byte, never masked.
//!
//! Over [`EVIDENCE_KEPT_MAX`] the head and the tail of each body are kept. A truncated body is cut
//! in the middle: its first `kept.div_ceil(2)` bytes are the head, the rest is the tail. What was
//! cut is bound by its full size and the digest of the whole.

use std::borrow::Cow;

use balefire_event::digest::FieldHasher;
use balefire_event::limits::EVIDENCE_BYTES_MAX;
use balefire_event::{Digest, EvidenceRef, Sealed};

/// Room for the rest of the record, so that it fits one message of 1 MiB, bytes.
pub const RECORD_OVERHEAD_BYTES: usize = 4096;
/// Most bytes of request and response kept together.
pub const EVIDENCE_KEPT_MAX: usize = EVIDENCE_BYTES_MAX - RECORD_OVERHEAD_BYTES;

/// Request and response of one record as they were sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bodies<'a> {
    /// Bytes of the request. `None`: the record had none.
    pub request: Option<Cow<'a, [u8]>>,
    /// Bytes of the response. `None`: the record had none.
    pub response: Option<Cow<'a, [u8]>>,
}

/// A sealed record of EVIDENCE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence<'a> {
    /// Digest of the sealed bytes and the full sizes; of the whole bodies too where they were cut.
    pub digest: Digest,
    /// Request, sealed.
    pub request: Option<Sealed<'a>>,
    /// Response, sealed.
    pub response: Option<Sealed<'a>>,
    /// Full size, bytes.
    pub request_size_bytes: u64,
    /// Full size, bytes.
    pub response_size_bytes: u64,
    /// Head and tail only were kept.
    pub truncated: bool,
    /// Digest of both whole bodies. Only where they were cut.
    pub full_digest: Option<Digest>,
}

impl<'a> Evidence<'a> {
    /// Seals the bodies; `None` where there are none.
    #[must_use]
    pub fn seal(bodies: Bodies<'a>) -> Option<Self> {
        let Bodies { request, response } = bodies;
        if request.is_none() && response.is_none() {
            return None;
        }
        let size = |body: &Option<Cow<'_, [u8]>>| body.as_ref().map_or(0, |body| body.len());
        let (request_size, response_size) = (size(&request), size(&response));
        let truncated = request_size.saturating_add(response_size) > EVIDENCE_KEPT_MAX;
        let full_digest = truncated.then(|| {
            let mut hasher = FieldHasher::new("balefire evidence full v1");
            add(&mut hasher, request.as_deref());
            add(&mut hasher, response.as_deref());
            Digest(hasher.digest())
        });
        let (request_max, response_max) = shares(request_size, response_size);
        let request = request.map(|body| cut(body, request_max));
        let response = response.map(|body| cut(body, response_max));
        let mut hasher = FieldHasher::new("balefire evidence v1");
        add(&mut hasher, request.as_deref());
        add(&mut hasher, response.as_deref());
        hasher
            .field(&(request_size as u64).to_le_bytes())
            .field(&(response_size as u64).to_le_bytes())
            .field(full_digest.as_ref().map_or(&[][..], |digest| &digest.0));
        Some(Self {
            digest: Digest(hasher.digest()),
            request: request.map(sealed),
            response: response.map(sealed),
            request_size_bytes: request_size as u64,
            response_size_bytes: response_size as u64,
            truncated,
            full_digest,
        })
    }

    /// What the event says of it.
    #[must_use]
    pub const fn reference(&self) -> EvidenceRef {
        EvidenceRef {
            digest: self.digest,
            size_bytes: self.request_size_bytes + self.response_size_bytes,
            truncated: self.truncated,
        }
    }

    /// Bytes kept.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        let kept = |body: &Option<Sealed<'_>>| body.as_ref().map_or(0, |body| body.data.len());
        kept(&self.request) + kept(&self.response)
    }
}

fn add(hasher: &mut FieldHasher, body: Option<&[u8]>) {
    hasher.field(if body.is_some() { b"1" } else { b"0" });
    hasher.field(body.unwrap_or_default());
}

const fn sealed(data: Cow<'_, [u8]>) -> Sealed<'_> {
    Sealed {
        scheme: 0,
        key_epoch: 0,
        data,
    }
}

/// How many bytes of each body are kept: all of a body that needs less than half.
fn shares(request: usize, response: usize) -> (usize, usize) {
    let half = EVIDENCE_KEPT_MAX / 2;
    if request.saturating_add(response) <= EVIDENCE_KEPT_MAX {
        (request, response)
    } else if request <= half {
        (request, EVIDENCE_KEPT_MAX - request)
    } else if response <= half {
        (EVIDENCE_KEPT_MAX - response, response)
    } else {
        (half, half)
    }
}

fn cut(body: Cow<'_, [u8]>, max: usize) -> Cow<'_, [u8]> {
    if body.len() <= max {
        return body;
    }
    let head = max.div_ceil(2);
    let tail = body.len() - (max - head);
    let mut kept = Vec::with_capacity(max);
    kept.extend_from_slice(body.get(..head).unwrap_or_default());
    kept.extend_from_slice(body.get(tail..).unwrap_or_default());
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(request: Option<&[u8]>, response: Option<&[u8]>) -> Option<Evidence<'static>> {
        Evidence::seal(Bodies {
            request: request.map(|b| Cow::Owned(b.to_vec())),
            response: response.map(|b| Cow::Owned(b.to_vec())),
        })
    }

    #[test]
    fn bodies_are_kept_byte_for_byte() {
        assert_eq!(seal(None, None), None);
        let evidence = seal(Some(b"{ \"a\" : 1 }\xff"), None).unwrap();
        assert_eq!(&*evidence.request.unwrap().data, b"{ \"a\" : 1 }\xff");
        assert_eq!(evidence.response, None);
        assert!(!evidence.truncated);
        assert_ne!(
            seal(Some(b""), None).unwrap().digest,
            seal(None, Some(b"")).unwrap().digest
        );
    }

    #[test]
    fn over_the_cap_head_and_tail_stay() {
        let mut body = vec![b'm'; 3 * EVIDENCE_BYTES_MAX];
        body[..4].copy_from_slice(b"HEAD");
        let end = body.len();
        body[end - 4..].copy_from_slice(b"TAIL");
        let evidence = seal(Some(b"small"), Some(&body)).unwrap();
        assert!(evidence.truncated);
        assert_eq!(evidence.kept_bytes(), EVIDENCE_KEPT_MAX);
        assert_eq!(evidence.response_size_bytes, body.len() as u64);
        assert_eq!(&*evidence.request.as_ref().unwrap().data, b"small");
        let kept = &evidence.response.as_ref().unwrap().data;
        assert!(kept.starts_with(b"HEAD") && kept.ends_with(b"TAIL"));
        body[EVIDENCE_BYTES_MAX] = b'x';
        let other = seal(Some(b"small"), Some(&body)).unwrap();
        assert_eq!(other.response, evidence.response);
        assert_ne!(other.digest, evidence.digest, "what was cut is bound too");
    }

    #[test]
    fn the_largest_whole_evidence_is_not_cut() {
        let whole = seal(Some(&vec![1; EVIDENCE_KEPT_MAX]), None).unwrap();
        assert!(!whole.truncated);
        let over = seal(Some(&vec![1; EVIDENCE_KEPT_MAX]), Some(b"1")).unwrap();
        assert!(over.truncated);
        assert_eq!(over.kept_bytes(), EVIDENCE_KEPT_MAX);
    }
}
