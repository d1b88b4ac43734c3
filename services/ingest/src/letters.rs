//! Records that no source explains: kept, masked, in DEADLETTERS.

use balefire_bus::Bus;
use balefire_bus::deadletter::{DeadLetters, Origin};
use balefire_event::DedupId;
use balefire_event::digest::FieldHasher;
use balefire_ingest_core::redact;
use balefire_kit::clock;
use balefire_wire::deadletter::v1::DeadLetter;
use balefire_wire::{BatchWriter, Header, RecordRef};
use bytes::Bytes;

use crate::SERVICE;
use crate::outcome::Refusal;

/// Largest record that a letter holds whole, bytes; of a larger one only its size is told.
const RECORD_BYTES_MAX: usize = 256 * 1024;
/// Letters of one request. Beyond them the request is refused, and may be sent again in parts.
const LETTERS_MAX: usize = 512;
/// The page of docs/runbooks.
const REASON: &str = "malformed_record";

/// A record that is refused.
pub struct Refusable {
    /// Name of the source it was sent to.
    pub source: String,
    /// What is wrong; never what the record said.
    pub why: String,
    /// It.
    pub record: Bytes,
}

/// Writes them.
pub struct Letters {
    letters: DeadLetters,
    writer_id: [u8; 16],
}

impl Letters {
    /// On a connection.
    pub fn new(bus: &Bus) -> Self {
        Self {
            letters: DeadLetters::new(bus, SERVICE),
            writer_id: rand::random(),
        }
    }

    /// Writes a letter each. The same record of a source is one letter within the log's window for
    /// duplicates: a vendor who sends it again and again fills nothing.
    ///
    /// # Errors
    /// Where they are too many, or the log does not take one.
    pub async fn write(&self, tenant: &str, dead: Vec<Refusable>) -> Result<(), Refusal> {
        if dead.len() > LETTERS_MAX {
            return Err(Refusal::too_large(
                "records",
                "more than 512 records are of no known shape; send fewer at once",
            ));
        }
        for refused in dead {
            self.one(tenant, &refused).await?;
        }
        Ok(())
    }

    async fn one(&self, tenant: &str, refused: &Refusable) -> Result<(), Refusal> {
        let mut hasher = FieldHasher::new("balefire refused record v1");
        hasher
            .field(tenant.as_bytes())
            .field(refused.source.as_bytes());
        let name = DedupId(hasher.field(&refused.record).id()).to_string();
        let stream = format!("source:{}:{name}", refused.source);
        let now = clock::now();
        let letter = DeadLetter {
            id: format!("dl:{stream}:0"),
            stage: SERVICE.to_owned(),
            stream: stream.clone(),
            reason: REASON.to_owned(),
            detail: refused.why.clone(),
            payload: masked(&refused.record),
            attempts: 1,
            first_failed_at_ns: now.0,
            last_failed_at_ns: now.0,
            first_error: refused.why.clone(),
            last_error: refused.why.clone(),
            tenant: tenant.to_owned(),
            ..DeadLetter::default()
        };
        let mut writer = BatchWriter::default();
        writer.push(RecordRef::DeadLetter(&letter));
        let header = Header {
            tenant: tenant.to_owned(),
            writer_id: self.writer_id,
            received_at_max: now,
            ..Header::default()
        };
        let payload = Bytes::from(writer.finish(&header, None));
        let origin = Origin {
            stream: &stream,
            sequence: 0,
            index: 0,
        };
        self.letters.publish(origin, payload).await?;
        Ok(())
    }
}

/// The record without personal data and secrets; one that is no text is not kept.
fn masked(record: &[u8]) -> Bytes {
    match std::str::from_utf8(record) {
        Ok(text) if text.len() <= RECORD_BYTES_MAX => Bytes::from(redact::json(text)),
        Ok(_) | Err(_) => Bytes::from(format!("{{\"bytes\":{}}}", record.len())),
    }
}
