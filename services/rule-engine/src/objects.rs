//! ControlService: changes of control objects are appended to CONTROL, each right after the record
//! that it was decided on, so that two at once cannot both win.

use std::sync::{Arc, PoisonError};

use balefire_bus::{Bus, Error as BusError, Log, topology};
use balefire_control::{
    Ask, Caller as By, Change, Decision, Fault, Guard, Kind, Listing, Object, Refusal, Request,
    Spec, decide,
};
use balefire_event::Timestamp;
use balefire_kit::Caller;
use balefire_kit::clock;
use balefire_kit::violation::{invalid, unavailable};
use balefire_rule::{Reader, RuleSet};
use balefire_wire::control::v1 as wire;
use balefire_wire::control::v1::control_service_server::ControlService;
use balefire_wire::log::v1::{Control, control};
use balefire_wire::{BatchWriter, Header, RecordRef};
use tokio::sync::Mutex;
use tonic::{Request as Call, Response, Status};

use crate::control::ControlLog;
use crate::paging;
use crate::rate::{Pace, Rates};
use crate::refusal::{RETRY_AFTER, broken, faults, out_of_reach, told};

/// So often a change is decided anew because another writer came before.
const ROUNDS_MAX: usize = 16;

/// The control objects of a log.
#[derive(Clone)]
pub struct Objects {
    log: Log,
    bus: Bus,
    pub(crate) control: ControlLog,
    rates: Rates,
    /// One change of this process at a time.
    writing: Arc<Mutex<()>>,
    /// What was read of the rules.
    reader: Arc<std::sync::Mutex<Reader>>,
}

/// What a change came to.
pub(crate) struct Outcome {
    object: Option<Object>,
    /// Nothing had to be written.
    nothing: bool,
}

impl Objects {
    /// Over a log that `control` follows.
    #[must_use]
    pub fn new(bus: &Bus, control: ControlLog, pace: Pace) -> Self {
        Self {
            log: Log::new(bus),
            bus: bus.clone(),
            control,
            rates: Rates::new(pace),
            writing: Arc::default(),
            reader: Arc::default(),
        }
    }

    /// Waits until every change that was answered before the call is seen.
    async fn caught_up(&self) -> Result<(), Status> {
        let info = self.bus.stream_info(topology::CONTROL).await;
        let last = info.map_err(|e| out_of_reach(&e))?.last_sequence;
        self.control.until(last).await;
        Ok(())
    }

    /// Decides and writes.
    pub(crate) async fn change(
        &self,
        by: By<'_>,
        asked: &Request,
        checking: bool,
    ) -> Result<Outcome, Status> {
        let _one = self.writing.lock().await;
        for _ in 0..ROUNDS_MAX {
            self.caught_up().await?;
            let now = clock::now();
            let (last, decision) = self
                .control
                .look(|book| (book.revision(), decide(book, by, asked, now)))
                .map_err(|e| broken(&e))?;
            let change = match decision.map_err(|r| told(asked.kind, &asked.name, r))? {
                Decision::Nothing(object) => {
                    return Ok(Outcome {
                        object: object.map(|object| *object),
                        nothing: true,
                    });
                }
                Decision::Write(change) => change,
            };
            self.compile(&change)?;
            if checking {
                return Ok(Outcome {
                    object: change.object,
                    nothing: false,
                });
            }
            let payload = record(&change, by.subject, &asked.reason, now);
            let subject = topology::CONTROL_OBJECTS;
            match self.log.append_after(subject, payload.into(), last).await {
                Ok(place) => {
                    self.control.until(place.sequence).await;
                    let object = self
                        .control
                        .look(|book| book.get_at(&change.key, place.sequence).cloned());
                    return Ok(Outcome {
                        object: object.map_err(|e| broken(&e))?,
                        nothing: false,
                    });
                }
                Err(BusError::Fenced { .. }) => {}
                Err(error) => return Err(out_of_reach(&error)),
            }
        }
        Err(unavailable(
            "too many changes at once; come again",
            RETRY_AFTER,
        ))
    }

    /// Whether the rules would still make a set.
    fn compile(&self, change: &Change) -> Result<(), Status> {
        if change.key.kind != Kind::Rule {
            return Ok(());
        }
        let files = self.control.look(|book| book.files_after(change));
        // Whoever panicked left what it had read so far: no more than a cache.
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let parsed = RuleSet::parse_with(&mut reader, &files.map_err(|e| broken(&e))?);
        let Err(found) = parsed else {
            return Ok(());
        };
        let own = format!("{}.yml", change.key.name);
        let found: Vec<Fault> = found
            .iter()
            .map(|diagnostic| {
                let path = if diagnostic.file == own {
                    "spec.yaml"
                } else {
                    "spec"
                };
                Fault {
                    path: path.into(),
                    message: diagnostic.to_string(),
                }
            })
            .collect();
        Err(faults(&found))
    }
}

fn record(change: &Change, actor: &str, reason: &str, at: Timestamp) -> Vec<u8> {
    let control = Control {
        actor: actor.to_owned(),
        reason: reason.to_owned(),
        at_ns: at.0,
        change: Some(control::Change::ObjectChange(change.into())),
    };
    let mut writer = BatchWriter::with_capacity(4096);
    writer.push(RecordRef::Control(&control));
    let header = Header {
        tenant: change.key.tenant.as_str().into(),
        ..Header::default()
    };
    writer.finish(&header, None)
}

fn by(caller: &Caller) -> By<'_> {
    By {
        tenant: &caller.tenant,
        subject: &caller.subject,
    }
}

fn required(number: i32) -> Result<Kind, Status> {
    paging::kind(number)?.ok_or_else(|| invalid("kind", "is missing"))
}

/// Name, spec and the rest of what a caller sent.
fn said(object: Option<wire::Object>) -> Result<(wire::Object, Kind, Spec), Status> {
    let mut object = object.ok_or_else(|| invalid("object", "is missing"))?;
    let spec = object.spec.take().and_then(wire::Spec::read);
    let (kind, spec) = spec.ok_or_else(|| invalid("object.spec", "is missing"))?;
    Ok((object, kind, spec))
}

#[tonic::async_trait]
impl ControlService for Objects {
    async fn create_object(
        &self,
        call: Call<wire::CreateObjectRequest>,
    ) -> Result<Response<wire::CreateObjectResponse>, Status> {
        let caller = self.rates.change(&call)?;
        let asked = call.into_inner();
        let (object, kind, spec) = said(asked.object)?;
        let cause = asked.cause.unwrap_or_default();
        let request = Request {
            kind,
            name: object.name,
            ask: Ask::Create {
                spec,
                labels: object.labels.into_iter().collect(),
                managed_by: object.managed_by,
            },
            request_id: asked.request_id,
            reason: cause.reason,
            purpose: cause.purpose,
        };
        let outcome = self
            .change(by(&caller), &request, asked.validate_only)
            .await?;
        Ok(Response::new(wire::CreateObjectResponse {
            object: outcome.object.as_ref().map(Into::into),
            adopted: outcome.nothing,
        }))
    }

    async fn get_object(
        &self,
        call: Call<wire::GetObjectRequest>,
    ) -> Result<Response<wire::GetObjectResponse>, Status> {
        let caller = self.rates.read(&call)?;
        let asked = call.into_inner();
        let key = balefire_control::Key {
            tenant: caller.tenant.to_string(),
            kind: required(asked.kind)?,
            name: asked.name,
        };
        self.caught_up().await?;
        let object = self.control.look(|book| book.get(&key).map(Into::into));
        let object: Option<wire::Object> = object.map_err(|e| broken(&e))?;
        match object {
            None => Err(told(key.kind, &key.name, Refusal::Missing)),
            some => Ok(Response::new(wire::GetObjectResponse { object: some })),
        }
    }

    async fn list_objects(
        &self,
        call: Call<wire::ListObjectsRequest>,
    ) -> Result<Response<wire::ListObjectsResponse>, Status> {
        let caller = self.rates.read(&call)?;
        let asked = call.into_inner();
        let size = paging::size(asked.page_size)?;
        let kind = paging::kind(asked.kind)?;
        let after = paging::after_object(&asked.page_token)?;
        self.caught_up().await?;
        let answer = self.control.look(|book| {
            let (at, after) = match &after {
                Some((at, after)) => (*at, Some(after)),
                None => (book.revision(), None),
            };
            let listing = Listing {
                tenant: &caller.tenant,
                kind,
                managed_by: &asked.managed_by,
                at,
            };
            let mut found = book.list(listing, after);
            let objects: Vec<wire::Object> = found.by_ref().take(size).map(Into::into).collect();
            let last = found.next().and(objects.last());
            let token = last.and_then(|last| {
                let kind = wire::Kind::known(last.kind)?;
                Some(format!("{at}.{kind}.{}", last.name))
            });
            wire::ListObjectsResponse {
                next_page_token: token.unwrap_or_default(),
                objects,
                control_revision: at,
            }
        });
        answer.map(Response::new).map_err(|e| broken(&e))
    }

    async fn update_object(
        &self,
        call: Call<wire::UpdateObjectRequest>,
    ) -> Result<Response<wire::UpdateObjectResponse>, Status> {
        let caller = self.rates.change(&call)?;
        let asked = call.into_inner();
        let (object, kind, spec) = said(asked.object)?;
        let cause = asked.cause.unwrap_or_default();
        let request = Request {
            kind,
            name: object.name,
            ask: Ask::Update {
                mask: asked.update_mask,
                spec,
                labels: object.labels.into_iter().collect(),
                managed_by: object.managed_by,
                guard: Guard {
                    expected_revision: asked.expected_revision,
                    managed_by: asked.managed_by,
                    overriding: asked.r#override,
                },
            },
            request_id: asked.request_id,
            reason: cause.reason,
            purpose: cause.purpose,
        };
        let outcome = self
            .change(by(&caller), &request, asked.validate_only)
            .await?;
        Ok(Response::new(wire::UpdateObjectResponse {
            object: outcome.object.as_ref().map(Into::into),
        }))
    }

    async fn delete_object(
        &self,
        call: Call<wire::DeleteObjectRequest>,
    ) -> Result<Response<wire::DeleteObjectResponse>, Status> {
        let caller = self.rates.change(&call)?;
        let asked = call.into_inner();
        let cause = asked.cause.unwrap_or_default();
        let request = Request {
            kind: required(asked.kind)?,
            name: asked.name,
            ask: Ask::Delete {
                allow_missing: asked.allow_missing,
                guard: Guard {
                    expected_revision: asked.expected_revision,
                    managed_by: asked.managed_by,
                    overriding: asked.r#override,
                },
            },
            request_id: asked.request_id,
            reason: cause.reason,
            purpose: cause.purpose,
        };
        self.change(by(&caller), &request, asked.validate_only)
            .await?;
        Ok(Response::new(wire::DeleteObjectResponse {}))
    }

    async fn list_changes(
        &self,
        call: Call<wire::ListChangesRequest>,
    ) -> Result<Response<wire::ListChangesResponse>, Status> {
        let caller = self.rates.read(&call)?;
        let asked = call.into_inner();
        let size = paging::size(asked.page_size)?;
        let kind = paging::kind(asked.kind)?;
        let before = paging::after_changes(&asked.page_token)?;
        self.caught_up().await?;
        let answer = self.control.look(|book| {
            let (at, skipped) = before.unwrap_or((book.revision(), 0));
            let all = book.changes(&caller.tenant, kind, &asked.name);
            let upto = all.partition_point(|entry| entry.control_revision <= at);
            let changes: Vec<wire::ChangeEntry> = all
                .iter()
                .take(upto)
                .skip(skipped)
                .take(size)
                .map(|entry| wire::ChangeEntry {
                    control_revision: entry.control_revision,
                    actor: entry.actor.clone(),
                    reason: entry.reason.clone(),
                    at_ns: entry.at.0,
                    change: Some((&entry.change).into()),
                })
                .collect();
            let shown = skipped + changes.len();
            let more = shown < upto && !changes.is_empty();
            wire::ListChangesResponse {
                next_page_token: if more {
                    format!("{at}.{shown}")
                } else {
                    String::new()
                },
                changes,
            }
        });
        answer.map(Response::new).map_err(|e| broken(&e))
    }
}
