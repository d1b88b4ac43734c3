//! The codec of every gRPC service: prost's, but for a look before a message is decoded.
//!
//! Two bytes on the wire can become a kilobyte in memory (an empty message of a repeated field).
//! A limit of bytes on the wire is therefore none of memory; what a request may repeat is counted
//! first, and nothing is allocated for one that has too much.

use std::any::TypeId;
use std::marker::PhantomData;

use balefire_event::limits::{BATCH_EVENTS_MAX, LABELS_MAX};
use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, DecodeBuf, Decoder};
use tonic_prost::{ProstDecoder, ProstEncoder};

use crate::Error;
use crate::bytes_reader::Fields;
use crate::ingest::v1::{AppendRawRequest, AppendRequest, AppendStreamRequest};

/// Events of a request that are decoded at all. More than are taken: the door's own answer, for
/// those somewhat above, says more.
const EVENTS_MAX: usize = 8 * BATCH_EVENTS_MAX;
/// Labels of all events of a request that are decoded at all.
const LABELS_ALL_MAX: usize = 4 * BATCH_EVENTS_MAX * LABELS_MAX;
/// Bytes of the occurrences of a request: five for each at most.
const OCCURRENCES_BYTES_MAX: usize = 5 * EVENTS_MAX;

const EVENTS: u32 = 1;
const LABELS: u32 = 29;
const OCCURRENCES: u32 = 3;
const STREAM_EVENTS: u32 = 2;
const STREAM_RAW: u32 = 3;

/// prost's codec with limits.
#[derive(Debug, Clone)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Bounded<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Bounded {
            look: look::<U>(),
            inner: ProstDecoder::default(),
        }
    }
}

/// A decoder that looks first.
#[derive(Debug)]
pub struct Bounded<U> {
    look: Option<Look>,
    inner: ProstDecoder<U>,
}

impl<U: Message + Default> Decoder for Bounded<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        if let Some(look) = self.look {
            // The buffer of one message is one piece.
            look(bytes::Buf::chunk(buf), &mut Counts::default())?;
        }
        self.inner.decode(buf)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.inner.buffer_settings()
    }
}

type Look = fn(&[u8], &mut Counts) -> Result<(), TooMuch>;

/// The look at a message, for those that anybody may send in numbers.
fn look<U: 'static>() -> Option<Look> {
    let asked = TypeId::of::<U>();
    if asked == TypeId::of::<AppendRequest>() {
        Some(events)
    } else if asked == TypeId::of::<AppendRawRequest>() {
        Some(raw)
    } else if asked == TypeId::of::<AppendStreamRequest>() {
        Some(stream)
    } else {
        None
    }
}

/// What a message repeats.
#[derive(Debug, Default)]
struct Counts {
    events: usize,
    labels: usize,
    occurrences_bytes: usize,
}

/// A message that is not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TooMuch {
    Events,
    Labels,
    Occurrences,
    Malformed(Error),
}

impl From<Error> for TooMuch {
    fn from(error: Error) -> Self {
        Self::Malformed(error)
    }
}

impl From<TooMuch> for Status {
    fn from(too_much: TooMuch) -> Self {
        Self::invalid_argument(match too_much {
            TooMuch::Events => "events: a request may hold 512 events".into(),
            TooMuch::Labels => "labels: may be 32 an event".into(),
            TooMuch::Occurrences => "occurrences: give one for each record, or none".into(),
            TooMuch::Malformed(error) => error.to_string(),
        })
    }
}

fn within(count: &mut usize, more: usize, max: usize, beyond: TooMuch) -> Result<(), TooMuch> {
    *count = count.saturating_add(more);
    if *count > max {
        return Err(beyond);
    }
    Ok(())
}

fn events(message: &[u8], counts: &mut Counts) -> Result<(), TooMuch> {
    each(message, |number, value| {
        if number == EVENTS {
            within(&mut counts.events, 1, EVENTS_MAX, TooMuch::Events)?;
            let labels = &mut counts.labels;
            each(value.unwrap_or_default(), |number, _| match number {
                LABELS => within(labels, 1, LABELS_ALL_MAX, TooMuch::Labels),
                _ => Ok(()),
            })?;
        }
        Ok(())
    })
}

fn raw(message: &[u8], counts: &mut Counts) -> Result<(), TooMuch> {
    each(message, |number, value| match number {
        EVENTS => within(&mut counts.events, 1, EVENTS_MAX, TooMuch::Events),
        OCCURRENCES => {
            // Packed, or one by one.
            let bytes = value.map_or(1, <[u8]>::len);
            let sum = &mut counts.occurrences_bytes;
            within(sum, bytes, OCCURRENCES_BYTES_MAX, TooMuch::Occurrences)
        }
        _ => Ok(()),
    })
}

fn stream(message: &[u8], counts: &mut Counts) -> Result<(), TooMuch> {
    each(message, |number, value| match number {
        // Given again, a batch adds to the one before.
        STREAM_EVENTS => events(value.unwrap_or_default(), counts),
        STREAM_RAW => raw(value.unwrap_or_default(), counts),
        _ => Ok(()),
    })
}

/// Each field's number, and its bytes where it has some.
fn each(
    message: &[u8],
    mut see: impl FnMut(u32, Option<&[u8]>) -> Result<(), TooMuch>,
) -> Result<(), TooMuch> {
    let mut fields = Fields::of(message, "request");
    while let Some(field) = fields.next()? {
        see(field.number, field.bytes("request").ok())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::v1::append_stream_request::Batch;
    use crate::ingest::v1::{AppendOptions, NativeEvent};
    use bytes::Bytes;

    fn looked(look: Look, message: &impl Message) -> Result<(), TooMuch> {
        look(&message.encode_to_vec(), &mut Counts::default())
    }

    fn typed(count: usize, labels: usize) -> AppendRequest {
        let event = NativeEvent {
            labels: (0..labels).map(|i| (i.to_string(), "x".into())).collect(),
            request: Bytes::from_static(b"  \n\0\n\0"),
            ..NativeEvent::default()
        };
        AppendRequest {
            events: vec![event; count],
            options: Some(AppendOptions::default()),
        }
    }

    fn records(count: usize, occurrences: usize) -> AppendRawRequest {
        AppendRawRequest {
            records: vec![Bytes::from_static(b"\n\0\n\0{}"); count],
            occurrences: vec![u32::MAX; occurrences],
            ..AppendRawRequest::default()
        }
    }

    #[test]
    fn a_small_message_cannot_become_a_large_one() {
        assert_eq!(looked(events, &typed(512, 32)), Ok(()));
        assert_eq!(looked(raw, &records(512, 512)), Ok(()));
        // 4 MiB of these would be two gigabytes of events.
        assert!(size_of::<NativeEvent>() > 512);
        assert_eq!(
            looked(events, &typed(EVENTS_MAX + 1, 0)),
            Err(TooMuch::Events)
        );
        assert_eq!(looked(events, &typed(1, 70_000)), Err(TooMuch::Labels));
        assert_eq!(
            looked(raw, &records(EVENTS_MAX + 1, 0)),
            Err(TooMuch::Events)
        );
        assert_eq!(
            looked(raw, &records(1, EVENTS_MAX + 1)),
            Err(TooMuch::Occurrences)
        );
    }

    #[test]
    fn a_batch_of_a_stream_is_counted_however_often_it_is_given() {
        let of = |batch| AppendStreamRequest {
            batch_id: 1,
            batch: Some(batch),
        };
        assert_eq!(looked(stream, &of(Batch::Raw(records(512, 512)))), Ok(()));
        let half = of(Batch::Events(typed(EVENTS_MAX / 2 + 1, 0))).encode_to_vec();
        assert_eq!(stream(&half, &mut Counts::default()), Ok(()));
        let twice = [half.clone(), half].concat();
        assert_eq!(stream(&twice, &mut Counts::default()), Err(TooMuch::Events));
    }

    #[test]
    fn what_cannot_be_walked_is_not_decoded() {
        // A group, which hides what it holds.
        let group = [0x0b, 0x0c];
        assert!(matches!(
            events(&group, &mut Counts::default()),
            Err(TooMuch::Malformed(_))
        ));
        assert!(look::<AppendOptions>().is_none());
    }
}
