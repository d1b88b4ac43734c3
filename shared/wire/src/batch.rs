//! A log message: a header, the step it belongs to where there is one, and records.

use balefire_event::Timestamp;
use balefire_event::stamp::SEMANTICS_VERSION;
use prost::Message;

use crate::bytes_reader::Fields;
use crate::bytes_writer as put;
use crate::record::{self, RecordRef, RecordView, kind};
use crate::{Error, hint_codec, log};

const HEADER: u32 = 1;
const STEP: u32 = 2;
const RECORDS: u32 = 3;

/// Who wrote a batch, and what a reader must know before its first record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Tenant of every record. Empty only for records of no tenant.
    pub tenant: String,
    /// Random bytes of the writing process.
    pub writer_id: [u8; 16],
    /// Counts the writer's batches of this stream from 1.
    pub writer_seq: u64,
    /// Version of SEMANTICS it was written under.
    pub semantics_version: u32,
    /// Largest lateness L in force, nanoseconds.
    pub lateness_max: i64,
    /// Epoch of the tenant key.
    pub key_epoch: u32,
    /// Highest received_at of the records.
    pub received_at_max: Timestamp,
    /// Newest control revision of any record.
    pub control_revision_max: u64,
}

impl Default for Header {
    /// An empty header of the present version.
    fn default() -> Self {
        Self {
            tenant: String::new(),
            writer_id: [0; 16],
            writer_seq: 0,
            semantics_version: SEMANTICS_VERSION,
            lateness_max: 0,
            key_epoch: 0,
            received_at_max: Timestamp(0),
            control_revision_max: 0,
        }
    }
}

fn put_header(header: &Header, out: &mut Vec<u8>) {
    put::nested(HEADER, out, |out| {
        put::text(1, &header.tenant, out);
        put::present_bytes(2, &header.writer_id, out);
        put::uint(3, header.writer_seq, out);
        put::uint(4, u64::from(header.semantics_version), out);
        put::int64(5, header.lateness_max, out);
        put::uint(6, u64::from(header.key_epoch), out);
        put::sfixed64(7, header.received_at_max.0, out);
        put::uint(8, header.control_revision_max, out);
    });
}

fn read_header(bytes: &[u8]) -> Result<Header, Error> {
    let mut header = Header {
        semantics_version: 0,
        ..Header::default()
    };
    let (mut tenant, mut writer_id) = ("", None);
    let mut fields = Fields::of(bytes, "header");
    while let Some(field) = fields.next()? {
        match field.number {
            1 => tenant = field.text("header tenant")?,
            2 => writer_id = field.bytes("header writer_id")?.try_into().ok(),
            3 => header.writer_seq = field.uint64("header writer_seq")?,
            4 => header.semantics_version = field.uint32("header semantics_version")?,
            5 => header.lateness_max = field.int64("header lateness_max")?,
            6 => header.key_epoch = field.uint32("header key_epoch")?,
            7 => header.received_at_max = Timestamp(field.sfixed64("header received_at_max")?),
            8 => header.control_revision_max = field.uint64("header control_revision_max")?,
            _ => {}
        }
    }
    if header.semantics_version > SEMANTICS_VERSION {
        return Err(Error::UnknownVersion {
            version: header.semantics_version,
        });
    }
    if header.semantics_version == 0 {
        return Err(Error::malformed("header semantics_version"));
    }
    header.writer_id = writer_id.ok_or(Error::malformed("header writer_id"))?;
    tenant.clone_into(&mut header.tenant);
    Ok(header)
}

/// Bytes that an event of `event_len` encoded bytes (static part and stamps) adds to a batch; a hint
/// likewise.
#[must_use]
pub const fn event_record_len(event_len: usize) -> usize {
    record_len(1 + put::varint_len(event_len as u64) + event_len)
}

/// Bytes that a record of `len` encoded bytes adds to a batch.
#[must_use]
pub const fn record_len(len: usize) -> usize {
    1 + put::varint_len(len as u64) + len
}

/// Collects encoded records into a batch. Knows no limits: its owner asks [`BatchWriter::len`].
#[derive(Debug, Default)]
pub struct BatchWriter {
    records: Vec<u8>,
    count: usize,
    scratch: Vec<u8>,
}

impl BatchWriter {
    /// With room for so many bytes of records.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            records: Vec::with_capacity(bytes),
            ..Self::default()
        }
    }

    /// Bytes of the records so far; header and step come on top.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no record yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Records so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Adds a record that is encoded already ([`crate::encode_record`], [`RawRecord::bytes`]).
    pub fn push_encoded(&mut self, record: &[u8]) {
        put::present_bytes(RECORDS, record, &mut self.records);
        self.count += 1;
    }

    /// Adds an event from its static part and its stamps ([`crate::event_codec`]).
    pub fn push_event_parts(&mut self, fixed: &[u8], stamps: &[u8]) {
        let len = fixed.len() + stamps.len();
        let record = 1 + put::varint_len(len as u64) + len;
        put::bytes_head(RECORDS, record, &mut self.records);
        put::bytes_head(kind::EVENT, len, &mut self.records);
        self.records.extend_from_slice(fixed);
        self.records.extend_from_slice(stamps);
        self.count += 1;
    }

    /// Adds a hint from its static part and its time of arrival ([`crate::hint_codec`]).
    pub fn push_hint_parts(&mut self, fixed: &[u8], received_at: Timestamp) {
        let len = fixed.len() + hint_codec::STAMP_LEN;
        let record = 1 + put::varint_len(len as u64) + len;
        put::bytes_head(RECORDS, record, &mut self.records);
        put::bytes_head(kind::HINT, len, &mut self.records);
        self.records.extend_from_slice(fixed);
        hint_codec::encode_stamp(received_at, &mut self.records);
        self.count += 1;
    }

    /// Encodes and adds a record.
    pub fn push(&mut self, record: RecordRef<'_>) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        record::encode_record(record, &mut scratch);
        self.push_encoded(&scratch);
        self.scratch = scratch;
    }

    /// The message: header, step, records. Leaves the writer empty, with its room.
    pub fn finish(&mut self, header: &Header, step: Option<&log::v1::Step>) -> Vec<u8> {
        let step_len = step.map_or(0, |step| step.encoded_len() + 6);
        let room = 96 + header.tenant.len() + step_len + self.records.len();
        let mut out = Vec::with_capacity(room);
        put_header(header, &mut out);
        if let Some(step) = step {
            put::bytes_head(STEP, step.encoded_len(), &mut out);
            step.encode_raw(&mut out);
        }
        out.extend_from_slice(&self.records);
        self.records.clear();
        self.count = 0;
        out
    }
}

/// A record as it lies in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawRecord<'a> {
    /// Its place in the batch, from 0.
    pub index: u32,
    /// Which kind: a constant of [`crate::record::kind`].
    pub kind: u32,
    /// Bytes of the whole record, for [`BatchWriter::push_encoded`].
    pub bytes: &'a [u8],
    /// Bytes of the kind's own message (of the event, of the hint …).
    pub message: &'a [u8],
}

impl<'a> RawRecord<'a> {
    /// Understands it.
    ///
    /// # Errors
    /// Bytes that are no such message.
    pub fn view(&self) -> Result<RecordView<'a>, Error> {
        record::view(self.kind, self.message)
    }
}

/// A batch that was read: the frame is checked, the records are read one by one.
#[derive(Debug, Clone)]
pub struct BatchView<'a> {
    /// Its header.
    pub header: Header,
    /// Its step, in outputs of a stateful stage.
    pub step: Option<log::v1::Step>,
    bytes: &'a [u8],
    count: usize,
}

impl<'a> BatchView<'a> {
    /// Reads header, step and frame. One bad record does not make the batch bad: it shows in
    /// [`BatchView::records`].
    ///
    /// # Errors
    /// An unknown version of SEMANTICS; bytes that are no batch.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let (mut header, mut step, mut count) = (None, None, 0);
        let mut fields = Fields::of(bytes, "batch");
        while let Some(field) = fields.next()? {
            match field.number {
                HEADER => header = Some(read_header(field.bytes("batch header")?)?),
                STEP => {
                    let decoded = log::v1::Step::decode(field.bytes("batch step")?);
                    step = Some(decoded.map_err(|_| Error::malformed("batch step"))?);
                }
                RECORDS => {
                    field.bytes("batch records")?;
                    count += 1;
                }
                _ => {}
            }
        }
        Ok(Self {
            header: header.ok_or(Error::malformed("batch header"))?,
            step,
            bytes,
            count,
        })
    }

    /// How many records there are, bad ones too.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none: a claim, or a step without output.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The records, in order. An error is of one record; the next ones follow.
    pub fn records(&self) -> impl Iterator<Item = Result<RecordView<'a>, Error>> + use<'a> {
        self.raw_records().map(|raw| raw.and_then(|raw| raw.view()))
    }

    /// The records' bytes, in order, for a stage that passes them on as they are.
    #[must_use]
    pub fn raw_records(&self) -> RawRecords<'a> {
        RawRecords {
            fields: Fields::of(self.bytes, "batch"),
            index: 0,
        }
    }

    /// The same without a look into any: bad ones come, too.
    pub fn encoded_records(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut fields = Fields::of(self.bytes, "batch");
        // The frame was checked when the batch was parsed.
        let fields = std::iter::from_fn(move || fields.next().ok().flatten());
        let records = fields.filter(|field| field.number == RECORDS);
        records.filter_map(|field| field.bytes("batch records").ok())
    }
}

/// Walks the records of a batch.
#[derive(Clone)]
pub struct RawRecords<'a> {
    fields: Fields<'a>,
    index: u32,
}

impl<'a> Iterator for RawRecords<'a> {
    type Item = Result<RawRecord<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // The frame was checked when the batch was parsed, so an error here ends nothing.
            let field = self.fields.next().ok()??;
            if field.number != RECORDS {
                continue;
            }
            let index = self.index;
            self.index = index.saturating_add(1);
            return Some(field.bytes("batch records").and_then(|bytes| {
                let (kind, message) = record::split(bytes)?;
                Ok(RawRecord {
                    index,
                    kind,
                    bytes,
                    message,
                })
            }));
        }
    }
}
