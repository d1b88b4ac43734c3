//! The control log as the rule engine knows it: which objects there are, and which rule sets are in
//! force from which revision.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use balefire_bus::{Bus, Log, topology};
use balefire_control::{Book, Change as ObjectChange, Entry};
use balefire_event::Timestamp;
use balefire_rule::{Diagnostic, Reader, RuleSet};
use balefire_wire::log::v1::{Control, RuleFile, control::Change, record::Kind};
use balefire_wire::{BatchView, BatchWriter, Header, RecordRef, RecordView};
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Error;

/// Rule sets with the first control revision each is in force for, ascending.
pub type RuleSets = Vec<(u64, Arc<RuleSet>)>;

/// What was read of the control log.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// Newest revision read.
    pub revision: u64,
    /// Every rule set so far. The first one is in force from revision 0, so that an event that
    /// arrived before any rule set has an answer too.
    pub sets: RuleSets,
    /// When the server stored each rule set, by the revision it is in force from.
    pub activated: Vec<(u64, Timestamp)>,
}

impl Known {
    /// What was known at an earlier revision.
    pub(crate) fn at(&self, revision: u64) -> Self {
        let sets = self.sets.iter().filter(|(first, _)| *first <= revision);
        Self {
            revision: revision.min(self.revision),
            sets: sets.cloned().collect(),
            activated: self.activated.clone(),
        }
    }
}

/// Who has nothing to do takes rule sets over when none has come for so long: five hundred rules
/// that come one by one are taken over at once, and a single one is in force within a second.
const SETTLED: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct Seen {
    known: Known,
    /// When the newest rule set was read.
    changed: Option<Instant>,
    book: Book,
    reader: Reader,
}

/// The control log, followed.
#[derive(Debug, Clone, Default)]
pub struct ControlLog {
    seen: Arc<RwLock<Seen>>,
    /// The newest revision taken in.
    moved: Arc<watch::Sender<u64>>,
}

fn faults(revision: u64) -> impl FnOnce(Vec<Diagnostic>) -> Error {
    move |faults| Error::Rules {
        revision,
        faults: faults.len(),
    }
}

impl ControlLog {
    /// What is known now.
    #[must_use]
    pub fn known(&self) -> Known {
        self.seen
            .read()
            .map(|seen| seen.known.clone())
            .unwrap_or_default()
    }

    /// Newest revision read, and how many rule sets there are.
    #[must_use]
    pub fn extent(&self) -> (u64, usize) {
        self.seen
            .read()
            .map(|seen| (seen.known.revision, seen.known.sets.len()))
            .unwrap_or_default()
    }

    /// Whether no rule set has come for a while.
    #[must_use]
    pub fn settled(&self) -> bool {
        let changed = self.seen.read().ok().and_then(|seen| seen.changed);
        changed.is_none_or(|at| at.elapsed() >= SETTLED)
    }

    /// Looks at the objects.
    ///
    /// # Errors
    /// Where a thread panicked in the middle of a change.
    pub fn look<T>(&self, look: impl FnOnce(&Book) -> T) -> Result<T, Error> {
        let seen = self.seen.read().map_err(|_| Error::Poisoned)?;
        Ok(look(&seen.book))
    }

    /// Waits until a revision is taken in.
    pub async fn until(&self, revision: u64) {
        let mut moved = self.moved.subscribe();
        // It ends only with `self`.
        let _ended = moved.wait_for(|read| *read >= revision).await;
    }

    /// Takes in one message of CONTROL.
    pub(crate) fn take(
        &self,
        revision: u64,
        stored_at: Timestamp,
        payload: &[u8],
    ) -> Result<(), Error> {
        let unread = |source| Error::Control { revision, source };
        let batch = BatchView::parse(payload).map_err(unread)?;
        let mut guard = self.seen.write().map_err(|_| Error::Poisoned)?;
        let seen = &mut *guard;
        for record in batch.records() {
            let RecordView::Other(Kind::Control(control)) = record.map_err(unread)? else {
                continue;
            };
            let at = Timestamp(control.at_ns);
            match control.change {
                Some(Change::RuleSet(set)) => {
                    let files: Vec<(String, String)> = set
                        .files
                        .into_iter()
                        .map(|file| (file.name, file.yaml))
                        .collect();
                    let who = (control.actor.as_str(), control.reason.as_str());
                    seen.book.apply_rule_set(revision, &files, who, at);
                }
                Some(Change::ObjectChange(change)) => seen.book.apply(Entry {
                    control_revision: revision,
                    actor: control.actor,
                    reason: control.reason,
                    at,
                    change: ObjectChange::try_from(change).map_err(unread)?,
                }),
                Some(Change::EngineVersion(_)) | None => {}
            }
        }
        seen.book.read_to(revision);
        if seen.book.rules_revision() == revision {
            let set = RuleSet::parse_with(&mut seen.reader, &seen.book.files());
            let set = set.map_err(faults(revision))?;
            let first = if seen.known.sets.is_empty() {
                0
            } else {
                revision
            };
            seen.known.sets.push((first, Arc::new(set)));
            seen.changed = Some(Instant::now());
            seen.known.activated.push((first, stored_at));
        }
        seen.known.revision = revision;
        drop(guard);
        self.moved.send_replace(revision);
        Ok(())
    }

    /// Reads CONTROL to its present end; then, where `own` is another rule set than the one that
    /// was last put in force so, appends it. From then on `own` is in force, beside the rules that
    /// other owners made.
    ///
    /// # Errors
    /// Where CONTROL cannot be read or written, or holds a set that this version cannot compile.
    pub async fn open(
        bus: &Bus,
        own: Option<&[(String, String)]>,
        actor: &str,
    ) -> Result<Self, Error> {
        let (control, log) = (Self::default(), Log::new(bus));
        control.catch_up(&log).await?;
        let Some(files) = own else { return Ok(control) };
        let set = RuleSet::parse(files).map_err(faults(0))?;
        if control.look(|book| book.rules_revision() > 0 && book.holds_rule_set(files))? {
            return Ok(control);
        }
        // Beside the rules that came by other ways these must compile too.
        let mut book = control.look(Book::clone)?;
        book.apply_rule_set(u64::MAX, files, (actor, ""), Timestamp(0));
        RuleSet::parse(&book.files()).map_err(faults(0))?;
        let mut files: Vec<RuleFile> = files
            .iter()
            .map(|(name, yaml)| RuleFile {
                name: name.clone(),
                yaml: yaml.clone(),
            })
            .collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let change = Control {
            actor: actor.to_owned(),
            reason: "rule set of the configuration".into(),
            at_ns: balefire_kit::clock::now().0,
            change: Some(Change::RuleSet(balefire_wire::log::v1::RuleSet {
                files,
                digest: Bytes::copy_from_slice(set.digest()),
            })),
        };
        let mut writer = BatchWriter::with_capacity(4096);
        writer.push(RecordRef::Control(&change));
        let payload = writer.finish(&Header::default(), None);
        log.append(topology::CONTROL_RULES, payload.into(), None)
            .await?;
        control.catch_up(&log).await?;
        Ok(control)
    }

    async fn catch_up(&self, log: &Log) -> Result<(), Error> {
        let mut tail = log.read_all(topology::CONTROL, self.extent().0 + 1).await?;
        while let Some(message) = tail.next().await? {
            self.take(message.sequence, message.stored_at, &message.payload)?;
        }
        Ok(())
    }

    /// Follows CONTROL until `shutdown`. A record that cannot be understood ends it: nothing that
    /// was stamped under it may be decided.
    ///
    /// # Errors
    /// Such a record.
    pub async fn follow(self, bus: Bus, shutdown: CancellationToken) -> Result<(), Error> {
        let mut tail = Log::new(&bus).tail(topology::CONTROL, self.extent().0 + 1);
        loop {
            let message = tokio::select! {
                message = tail.next() => message?,
                () = shutdown.cancelled() => return Ok(()),
            };
            let Some(message) = message else {
                return Ok(());
            };
            self.take(message.sequence, message.stored_at, &message.payload)?;
        }
    }
}
