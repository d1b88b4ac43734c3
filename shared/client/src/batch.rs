//! A batch on its way: records of one kind, and the places of those that were refused here.

use balefire_wire::ingest::v1::{
    AppendOptions, AppendRawRequest, AppendRequest, AppendResult, AppendStatus, NativeEvent,
    Violation,
};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::connection::Client;
use crate::{Error, Options};

/// Key and length of a record in a request, and its occurrence index: bytes at most.
const RECORD_FRAME_BYTES: usize = 11;

/// What is to be sent.
#[derive(Debug)]
pub(crate) enum Record {
    Typed(Box<NativeEvent>),
    Raw {
        json: Bytes,
        occurrence: u32,
    },
    /// Too large for any request.
    TooLarge {
        bytes: usize,
    },
}

/// A record and the memory it may take until its outcome is told.
pub(crate) struct Item {
    pub(crate) record: Record,
    pub(crate) permit: OwnedSemaphorePermit,
}

impl Record {
    /// Bytes that it takes in a request.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Typed(event) => balefire_wire::encoded_len(event.as_ref()) + RECORD_FRAME_BYTES,
            Self::Raw { json, .. } => json.len() + RECORD_FRAME_BYTES,
            Self::TooLarge { .. } => 0,
        }
    }

    /// The same, or its refusal where no request can hold it.
    pub(crate) fn within(self, options: &Options) -> Self {
        let bytes = self.bytes();
        if bytes > options.batch_bytes_max {
            return Self::TooLarge { bytes };
        }
        self
    }
}

fn too_large(bytes: usize) -> AppendResult {
    AppendResult {
        status: AppendStatus::Rejected.into(),
        violation: Some(Violation {
            field: String::new(),
            reason: "too_large".to_owned(),
            description: format!("the record takes {bytes} bytes, more than a request may"),
        }),
        ..AppendResult::default()
    }
}

/// What a batch holds. Never both kinds.
enum Records {
    Typed(Vec<NativeEvent>),
    Raw {
        records: Vec<Bytes>,
        occurrences: Vec<u32>,
    },
}

/// A batch that is being filled.
#[derive(Default)]
pub(crate) struct Batch {
    records: Option<Records>,
    /// One for each record in order: `Some` where it was refused here.
    refused: Vec<Option<AppendResult>>,
    bytes: usize,
    permits: Vec<OwnedSemaphorePermit>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.refused.is_empty()
    }

    /// Records so far, those refused here too.
    pub(crate) fn len(&self) -> usize {
        self.refused.len()
    }

    /// Whether a record may go into this batch.
    pub(crate) fn takes(&self, record: &Record, options: &Options) -> bool {
        let same_kind = match (&self.records, record) {
            (None, _)
            | (_, Record::TooLarge { .. })
            | (Some(Records::Typed(_)), Record::Typed(_))
            | (Some(Records::Raw { .. }), Record::Raw { .. }) => true,
            (Some(Records::Typed(_)), Record::Raw { .. })
            | (Some(Records::Raw { .. }), Record::Typed(_)) => false,
        };
        let room = self.bytes + record.bytes() <= options.batch_bytes_max;
        self.is_empty() || (same_kind && room && self.len() < options.batch_max)
    }

    /// Adds a record that [`Batch::takes`] said yes to.
    pub(crate) fn push(&mut self, item: Item) {
        self.bytes += item.record.bytes();
        self.permits.push(item.permit);
        self.refused.push(None);
        match item.record {
            Record::TooLarge { bytes } => {
                if let Some(last) = self.refused.last_mut() {
                    *last = Some(too_large(bytes));
                }
            }
            Record::Typed(event) => match &mut self.records {
                Some(Records::Typed(events)) => events.push(*event),
                Some(Records::Raw { .. }) | None => {
                    self.records = Some(Records::Typed(vec![*event]));
                }
            },
            Record::Raw { json, occurrence } => match &mut self.records {
                Some(Records::Raw {
                    records,
                    occurrences,
                }) => {
                    records.push(json);
                    occurrences.push(occurrence);
                }
                Some(Records::Typed(_)) | None => {
                    self.records = Some(Records::Raw {
                        records: vec![json],
                        occurrences: vec![occurrence],
                    });
                }
            },
        }
    }

    /// Sends it until it is answered, and tells what became of each record in order.
    pub(crate) async fn send(self, client: Client, options: AppendOptions) -> Sent {
        let count = self.refused.len();
        let answer = match self.records {
            Some(Records::Typed(events)) => {
                let request = AppendRequest {
                    events,
                    options: Some(options),
                };
                client.call_append(request).await
            }
            Some(Records::Raw {
                records,
                occurrences,
            }) => {
                let request = AppendRawRequest {
                    records,
                    options: Some(options),
                    occurrences,
                };
                client.call_append_raw(request).await
            }
            None => Ok(Vec::new()),
        };
        Sent {
            count,
            results: answer.and_then(|results| merge(self.refused, results)),
            _permits: self.permits,
        }
    }
}

/// Puts the answers between what was refused here.
fn merge(
    refused: Vec<Option<AppendResult>>,
    results: Vec<AppendResult>,
) -> Result<Vec<AppendResult>, Error> {
    let sent = refused.iter().filter(|slot| slot.is_none()).count();
    let received = results.len();
    if sent != received {
        return Err(Error::ResultCount { sent, received });
    }
    let mut results = results.into_iter();
    Ok(refused
        .into_iter()
        .filter_map(|slot| slot.or_else(|| results.next()))
        .collect())
}

/// A batch that was answered.
pub(crate) struct Sent {
    pub(crate) count: usize,
    pub(crate) results: Result<Vec<AppendResult>, Error>,
    _permits: Vec<OwnedSemaphorePermit>,
}
