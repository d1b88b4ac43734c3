//! [`decide`]: may this be changed, and what is the change.

use std::collections::BTreeMap;

use balefire_event::Timestamp;

use crate::book::{Book, RULES_TENANT};
use crate::check::{Fault, check_labels, check_name, check_spec};
use crate::digest::digest;
use crate::{Change, Key, Kind, Object, Spec};

/// Most objects of a tenant and kind.
pub const OBJECTS_MAX: usize = 10_000;
/// Longest request id, owner, reason or purpose, bytes.
const WORDS_BYTES_MAX: usize = 1024;
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// Whose objects.
    pub tenant: &'a str,
    /// For the log.
    pub subject: &'a str,
}

/// What protects an object from a change that was not meant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guard {
    /// Refused at another revision; 0: at any.
    pub expected_revision: u64,
    /// The tool that asks.
    pub managed_by: String,
    /// Change what another tool owns.
    pub overriding: bool,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Make it.
    Create {
        /// What it says.
        spec: Spec,
        /// Words for people.
        labels: BTreeMap<String, String>,
        /// Who owns it.
        managed_by: String,
    },
    /// Change it.
    Update {
        /// What is taken from the rest; empty: spec and labels.
        mask: Vec<String>,
        /// What it says.
        spec: Spec,
        /// Words for people.
        labels: BTreeMap<String, String>,
        /// Who is to own it.
        managed_by: String,
        /// What protects it.
        guard: Guard,
    },
    /// Delete it.
    Delete {
        /// Not an error where it is not there.
        allow_missing: bool,
        /// What protects it.
        guard: Guard,
    },
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Of what kind.
    pub kind: Kind,
    /// Of what name.
    pub name: String,
    /// What is asked.
    pub ask: Ask,
    /// A repeat does nothing; empty: none.
    pub request_id: String,
    /// Why.
    pub reason: String,
    /// To what end.
    pub purpose: String,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Write this, provided that nothing was written since.
    Write(Box<Change>),
    /// It is so already; the object as it is, or was when the request was first made.
    Nothing(Option<Box<Object>>),
}

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Something is not what it must be.
    Invalid(Vec<Fault>),
    /// There is another of this name.
    Exists(Box<Object>),
    /// There is none of this name.
    Missing,
    /// It is at another revision.
    Conflict {
        /// Than this one.
        expected: u64,
        /// At this one; 0: it is not there.
        current: u64,
    },
    /// Another tool owns it.
    Managed(String),
    /// The request id stands for another request.
    Reused,
    /// It must not be deleted.
    Protected,
    /// There are too many.
    Full,
    /// It is of the whole platform.
    OfPlatform,
}

/// Decides about a request.
///
/// # Errors
/// [`Refusal`].
pub fn decide(
    book: &Book,
    caller: Caller<'_>,
    request: &Request,
    now: Timestamp,
) -> Result<Decision, Refusal> {
    check(request)?;
    if request.kind.of_platform() && caller.tenant != RULES_TENANT {
        return Err(Refusal::OfPlatform);
    }
    let digest = digest(request);
    if !request.request_id.is_empty()
        && let Some(done) = book.done(caller.tenant, &request.request_id)
    {
        if done.digest != digest {
            return Err(Refusal::Reused);
        }
        return Ok(Decision::Nothing(done.object.clone().map(Box::new)));
    }
    let key = Key {
        tenant: caller.tenant.to_owned(),
        kind: request.kind,
        name: request.name.clone(),
    };
    let (after, overridden) = match after(book, caller, &key, request, now)? {
        After::Same(object) => return Ok(Decision::Nothing(object)),
        After::Changed { object, overridden } => (object, overridden),
    };
    let change = Change {
        purpose: request.purpose.clone(),
        overridden,
        request_id: request.request_id.clone(),
        request_digest: digest,
        ..book.next(&key, after.map(|object| *object))
    };
    Ok(Decision::Write(Box::new(change)))
}

/// What a key is to be.
enum After {
    /// As it is.
    Same(Option<Box<Object>>),
    /// Something else; `None`: not there.
    Changed {
        object: Option<Box<Object>>,
        overridden: bool,
    },
}

fn after(
    book: &Book,
    caller: Caller<'_>,
    key: &Key,
    request: &Request,
    now: Timestamp,
) -> Result<After, Refusal> {
    let before = book.get(key);
    Ok(match &request.ask {
        Ask::Create {
            spec,
            labels,
            managed_by,
        } => match before {
            Some(it)
                if it.spec == *spec && it.labels == *labels && it.managed_by == *managed_by =>
            {
                After::Same(Some(Box::new(it.clone())))
            }
            Some(other) => return Err(Refusal::Exists(Box::new(other.clone()))),
            None if book.count(caller.tenant, request.kind) >= OBJECTS_MAX => {
                return Err(Refusal::Full);
            }
            None => {
                let by = (now, caller.subject.to_owned());
                let object = Object {
                    key: key.clone(),
                    revision: 0,
                    managed_by: managed_by.clone(),
                    labels: labels.clone(),
                    created: by.clone(),
                    updated: by,
                    spec: spec.clone(),
                    control_revision: 0,
                };
                After::Changed {
                    object: Some(Box::new(object)),
                    overridden: false,
                }
            }
        },
        Ask::Update { guard, .. } => {
            let overridden = guard.lets(before)?;
            let before = before.ok_or(Refusal::Missing)?;
            let mut object = merged(before, &request.ask)?;
            if object == *before {
                return Ok(After::Same(Some(Box::new(object))));
            }
            object.updated = (now, caller.subject.to_owned());
            After::Changed {
                object: Some(Box::new(object)),
                overridden,
            }
        }
        Ask::Delete {
            allow_missing,
            guard,
        } => {
            if before.is_none() && *allow_missing {
                return Ok(After::Same(None));
            }
            let overridden = guard.lets(before)?;
            let protected = request.kind == Kind::Tenant
                && before.is_some_and(|object| !object.spec.contains_key("deletion_allowed"));
            if protected {
                return Err(Refusal::Protected);
            }
            After::Changed {
                object: None,
                overridden,
            }
        }
    })
}

impl Guard {
    /// Whether the object may be changed; whether that takes the right of another tool.
    fn lets(&self, object: Option<&Object>) -> Result<bool, Refusal> {
        let current = object.map_or(0, |object| object.revision);
        if self.expected_revision != 0 && self.expected_revision != current {
            return Err(Refusal::Conflict {
                expected: self.expected_revision,
                current,
            });
        }
        let object = object.ok_or(Refusal::Missing)?;
        let foreign = !object.managed_by.is_empty() && object.managed_by != self.managed_by;
        if foreign && !self.overriding {
            return Err(Refusal::Managed(object.managed_by.clone()));
        }
        Ok(foreign)
    }
}

/// The object with what the mask takes from the request.
fn merged(before: &Object, ask: &Ask) -> Result<Object, Refusal> {
    let Ask::Update {
        mask,
        spec,
        labels,
        managed_by,
        ..
    } = ask
    else {
        return Ok(before.clone());
    };
    let whole = ["spec".to_owned(), "labels".to_owned()];
    let mask = if mask.is_empty() { &whole[..] } else { mask };
    let mut object = before.clone();
    for path in mask {
        match path.as_str() {
            "spec" => object.spec = spec.clone(),
            "labels" => object.labels = labels.clone(),
            "managed_by" => object.managed_by = managed_by.clone(),
            _ => {
                let field = path.strip_prefix("spec.").unwrap_or_default();
                if before.key.kind.field(field).is_none() {
                    let message =
                        format!("{path:?} is none of spec, spec.FIELD, labels, managed_by");
                    return Err(Refusal::Invalid(vec![Fault::new("update_mask", message)]));
                }
                match spec.get(field) {
                    Some(value) => object.spec.insert(field.to_owned(), value.clone()),
                    None => object.spec.remove(field),
                };
            }
        }
    }
    let faults = check_spec(object.key.kind, &object.spec);
    if faults.is_empty() {
        return Ok(object);
    }
    Err(Refusal::Invalid(faults))
}

fn check(request: &Request) -> Result<(), Refusal> {
    let mut faults: Vec<Fault> = check_name(&request.name).into_iter().collect();
    if request.request_id.len() > REQUEST_ID_BYTES_MAX {
        let message = format!("at most {REQUEST_ID_BYTES_MAX} bytes");
        faults.push(Fault::new("request_id", message));
    }
    let mut words = vec![
        ("cause.reason", &request.reason),
        ("cause.purpose", &request.purpose),
    ];
    match &request.ask {
        Ask::Create {
            spec,
            labels,
            managed_by,
        } => {
            words.push(("managed_by", managed_by));
            faults.extend(check_spec(request.kind, spec));
            faults.extend(check_labels(labels));
        }
        Ask::Update {
            labels, managed_by, ..
        } => {
            words.push(("managed_by", managed_by));
            faults.extend(check_labels(labels));
        }
        Ask::Delete { .. } => {}
    }
    for (path, text) in words {
        if text.len() > WORDS_BYTES_MAX {
            faults.push(Fault::new(path, format!("at most {WORDS_BYTES_MAX} bytes")));
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    Err(Refusal::Invalid(faults))
}
