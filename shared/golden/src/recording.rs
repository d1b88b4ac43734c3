//! [`Recording`]: every message of every stream of a log, in one file.
//!
//! The file is gzip over: the line [`MAGIC`]; partitions (u32); then for each message stream and
//! subject (u16 length, bytes each), sequence (u64), time of storage (i64, nanoseconds UTC) and
//! payload (u32 length, bytes). Numbers are little-endian. Streams follow one another in the
//! order in which they were read, messages in that of their stream.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use balefire_bus::Message;
use balefire_event::{Lane, Timestamp};
use balefire_wire::BatchView;

/// How a recording begins.
pub const MAGIC: &[u8] = b"balefire golden log 1\n";

/// Why there is no recording.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file.
    #[error("access the recording")]
    Access(#[from] std::io::Error),
    /// Its bytes.
    #[error("the recording is damaged: {0}")]
    Damaged(&'static str),
}

/// Every message of every stream of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recording {
    /// Partitions of the log.
    pub partitions: u32,
    streams: BTreeMap<String, Vec<Message>>,
}

/// One input of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct InputRef {
    /// Its lane.
    pub lane: Lane,
    /// Its sequence in the lane's stream.
    pub sequence: u64,
}

/// The inputs of a partition in the order in which its owners took them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The step that lists the input; `None`: it came behind the last step.
    pub step: Option<u64>,
    /// The input.
    pub input: InputRef,
}

impl Recording {
    /// Nothing yet, of a log with so many partitions.
    #[must_use]
    pub fn new(partitions: u32) -> Self {
        Self {
            partitions,
            streams: BTreeMap::new(),
        }
    }

    /// Adds the next message of a stream.
    pub fn push(&mut self, stream: &str, message: Message) {
        self.streams
            .entry(stream.to_owned())
            .or_default()
            .push(message);
    }

    /// Every stream with its messages.
    pub fn streams(&self) -> impl Iterator<Item = (&str, &[Message])> {
        self.streams
            .iter()
            .map(|(name, messages)| (name.as_str(), messages.as_slice()))
    }

    /// The messages of a stream; none where it is empty.
    #[must_use]
    pub fn messages(&self, stream: &str) -> &[Message] {
        self.streams.get(stream).map_or(&[], Vec::as_slice)
    }

    /// The message at a sequence.
    #[must_use]
    pub fn message(&self, stream: &str, sequence: u64) -> Option<&Message> {
        let messages = self.messages(stream);
        let place = messages.binary_search_by_key(&sequence, |message| message.sequence);
        messages.get(place.ok()?)
    }

    /// The messages on a subject of a stream, without claims, with the numbers of their steps.
    pub fn steps<'r>(
        &'r self,
        stream: &str,
        subject: &'r str,
    ) -> impl Iterator<Item = (u64, BatchView<'r>)> {
        let messages = self.messages(stream).iter();
        messages
            .filter(move |message| message.subject == subject)
            .filter_map(|message| {
                let batch = BatchView::parse(&message.payload).ok()?;
                let step = batch.step.as_ref()?;
                (!step.claim).then_some((step.number, batch))
            })
    }

    /// Every input of a partition: those that steps on its targets (stream, subject) list, in
    /// that order, then what lies behind them in `lanes`.
    ///
    /// # Errors
    /// Where the lists contradict each other or leave something out.
    pub fn inputs(
        &self,
        lanes: &[(Lane, String)],
        targets: &[(String, String)],
    ) -> Result<Vec<Listed>, RecordingError> {
        let mut lists: BTreeMap<u64, Vec<InputRef>> = BTreeMap::new();
        for (stream, subject) in targets {
            for (number, batch) in self.steps(stream, subject) {
                let list = list_of(&batch)?;
                if *lists.entry(number).or_insert_with(|| list.clone()) != list {
                    return Err(RecordingError::Damaged("two lists of one step"));
                }
            }
        }
        let mut next: BTreeMap<Lane, u64> = lanes.iter().map(|(lane, _)| (*lane, 1)).collect();
        let mut inputs = Vec::new();
        for (step, list) in lists {
            for input in list {
                let expected = next
                    .get_mut(&input.lane)
                    .ok_or(RecordingError::Damaged("a list names an unknown lane"))?;
                if *expected != input.sequence {
                    return Err(RecordingError::Damaged("a list leaves an input out"));
                }
                *expected += 1;
                let step = Some(step);
                inputs.push(Listed { step, input });
            }
        }
        for (lane, stream) in lanes {
            let from = next.get(lane).copied().unwrap_or(1);
            let behind = self.messages(stream).iter().map(|m| m.sequence);
            inputs.extend(behind.filter(|s| *s >= from).map(|sequence| Listed {
                step: None,
                input: InputRef {
                    lane: *lane,
                    sequence,
                },
            }));
        }
        Ok(inputs)
    }

    /// Writes it to a new file.
    ///
    /// # Errors
    /// Where there is such a file already: a recording is never written over.
    pub fn write(&self, path: &Path) -> Result<(), RecordingError> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.partitions.to_le_bytes());
        for (stream, messages) in self.streams() {
            for message in messages {
                put_text(stream, &mut out)?;
                put_text(&message.subject, &mut out)?;
                out.extend_from_slice(&message.sequence.to_le_bytes());
                out.extend_from_slice(&message.stored_at.0.to_le_bytes());
                let len = u32::try_from(message.payload.len());
                let len = len.map_err(|_| RecordingError::Damaged("payload too long"))?;
                out.extend_from_slice(&len.to_le_bytes());
                out.extend_from_slice(&message.payload);
            }
        }
        let file = File::options().write(true).create_new(true).open(path)?;
        let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::best());
        gzip.write_all(&out)?;
        gzip.finish()?.sync_all()?;
        Ok(())
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`RecordingError`].
    pub fn read(path: &Path) -> Result<Self, RecordingError> {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(File::open(path)?).read_to_end(&mut bytes)?;
        let mut rest = bytes
            .strip_prefix(MAGIC)
            .ok_or(RecordingError::Damaged("it begins otherwise"))?;
        let mut recording = Self::new(u32::from_le_bytes(take(&mut rest)?));
        while !rest.is_empty() {
            let stream = take_text(&mut rest)?;
            let subject = take_text(&mut rest)?;
            let sequence = u64::from_le_bytes(take(&mut rest)?);
            let stored_at = Timestamp(i64::from_le_bytes(take(&mut rest)?));
            let len = u32::from_le_bytes(take(&mut rest)?);
            let payload = take_slice(&mut rest, usize::try_from(len).unwrap_or(usize::MAX))?;
            let message = Message {
                sequence,
                stored_at,
                subject,
                payload: payload.to_vec().into(),
            };
            recording.push(&stream, message);
        }
        Ok(recording)
    }
}

fn list_of(batch: &BatchView<'_>) -> Result<Vec<InputRef>, RecordingError> {
    let mut list = Vec::new();
    for run in batch.step.iter().flat_map(|step| &step.inputs) {
        let lane = Lane::from_number(run.lane).ok_or(RecordingError::Damaged("unknown lane"))?;
        let end = run.first_sequence.saturating_add(run.count);
        list.extend((run.first_sequence..end).map(|sequence| InputRef { lane, sequence }));
    }
    Ok(list)
}

fn put_text(text: &str, out: &mut Vec<u8>) -> Result<(), RecordingError> {
    let len = u16::try_from(text.len()).map_err(|_| RecordingError::Damaged("name too long"))?;
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn take_slice<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], RecordingError> {
    let split = rest.split_at_checked(len);
    let (taken, behind) = split.ok_or(RecordingError::Damaged("it ends too early"))?;
    *rest = behind;
    Ok(taken)
}

fn take<const LEN: usize>(rest: &mut &[u8]) -> Result<[u8; LEN], RecordingError> {
    let taken = take_slice(rest, LEN)?;
    taken
        .try_into()
        .map_err(|_| RecordingError::Damaged("it ends too early"))
}

fn take_text(rest: &mut &[u8]) -> Result<String, RecordingError> {
    let len = usize::from(u16::from_le_bytes(take(rest)?));
    let text = std::str::from_utf8(take_slice(rest, len)?);
    text.map(str::to_owned)
        .map_err(|_| RecordingError::Damaged("a name is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use balefire_wire::log::v1::{InputRun, Step};
    use balefire_wire::{BatchWriter, Header};

    fn message(sequence: u64, subject: &str, payload: Vec<u8>) -> Message {
        Message {
            sequence,
            stored_at: Timestamp(-5),
            subject: subject.into(),
            payload: payload.into(),
        }
    }

    fn step(number: u64, claim: bool, runs: &[(Lane, u64, u64)]) -> Vec<u8> {
        let inputs = runs.iter().map(|(lane, first_sequence, count)| InputRun {
            lane: lane.number(),
            first_sequence: *first_sequence,
            count: *count,
        });
        let step = Step {
            number,
            claim,
            inputs: inputs.collect(),
            ..Step::default()
        };
        BatchWriter::default().finish(&Header::default(), Some(&step))
    }

    #[test]
    fn what_was_written_is_read_and_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.gz");
        let mut recording = Recording::new(2);
        recording.push("B", message(1, "b.x", b"one".to_vec()));
        recording.push("A", message(7, "a.x", Vec::new()));
        recording.push("A", message(8, "a.y", vec![0; 3000]));
        recording.write(&path).unwrap();
        assert_eq!(Recording::read(&path).unwrap(), recording);
        assert_eq!(recording.message("A", 8).unwrap().subject, "a.y");
        assert!(recording.write(&path).is_err());
    }

    #[test]
    fn inputs_come_in_the_order_of_the_steps_then_what_is_behind_them() {
        let mut recording = Recording::new(1);
        for sequence in 1..=3 {
            recording.push("N", message(sequence, "n", Vec::new()));
        }
        recording.push("U", message(1, "u", Vec::new()));
        recording.push("T", message(1, "t", step(0, true, &[])));
        let one = [(Lane::Normal, 1, 1), (Lane::Urgent, 1, 1)];
        recording.push("T", message(2, "t", step(1, false, &one)));
        recording.push(
            "T",
            message(3, "t", step(2, false, &[(Lane::Normal, 2, 1)])),
        );
        let lanes = [(Lane::Urgent, "U".to_owned()), (Lane::Normal, "N".into())];
        let targets = [("T".to_owned(), "t".to_owned())];
        let inputs = recording.inputs(&lanes, &targets).unwrap();
        let shown: Vec<_> = inputs
            .iter()
            .map(|l| (l.step, l.input.lane, l.input.sequence))
            .collect();
        assert_eq!(
            shown,
            [
                (Some(1), Lane::Normal, 1),
                (Some(1), Lane::Urgent, 1),
                (Some(2), Lane::Normal, 2),
                (None, Lane::Normal, 3),
            ]
        );
        recording.push(
            "T",
            message(4, "t", step(3, false, &[(Lane::Normal, 4, 1)])),
        );
        assert!(recording.inputs(&lanes, &targets).is_err());
    }
}
