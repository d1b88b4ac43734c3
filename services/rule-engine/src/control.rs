//! The control log as the rule engine knows it: which rule sets are in force from which revision.

use std::sync::{Arc, RwLock};

use balefire_bus::{Bus, Log, topology};
use balefire_rule::RuleSet;
use balefire_wire::log::v1::{Control, RuleFile, control::Change, record::Kind};
use balefire_wire::{BatchView, BatchWriter, Header, RecordRef, RecordView};
use bytes::Bytes;
use tokio::sync::watch;
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
}

/// The control log, followed.
#[derive(Debug, Clone, Default)]
pub struct ControlLog {
    known: Arc<RwLock<Known>>,
}

impl ControlLog {
    /// What is known now.
    #[must_use]
    pub fn known(&self) -> Known {
        self.known
            .read()
            .map(|known| known.clone())
            .unwrap_or_default()
    }

    /// Newest revision read, and how many rule sets there are.
    #[must_use]
    pub fn extent(&self) -> (u64, usize) {
        self.known
            .read()
            .map(|known| (known.revision, known.sets.len()))
            .unwrap_or_default()
    }

    /// Takes in one message of CONTROL.
    pub(crate) fn take(&self, revision: u64, payload: &[u8]) -> Result<(), Error> {
        let batch =
            BatchView::parse(payload).map_err(|source| Error::Control { revision, source })?;
        let mut sets = Vec::new();
        for record in batch.records() {
            let record = record.map_err(|source| Error::Control { revision, source })?;
            let RecordView::Other(Kind::Control(control)) = record else {
                continue;
            };
            if let Some(Change::RuleSet(set)) = control.change {
                let files: Vec<(String, String)> = set
                    .files
                    .into_iter()
                    .map(|file| (file.name, file.yaml))
                    .collect();
                let set = RuleSet::parse(&files).map_err(|faults| Error::Rules {
                    revision,
                    faults: faults.len(),
                })?;
                sets.push(Arc::new(set));
            }
        }
        let mut known = self.known.write().map_err(|_| Error::Poisoned)?;
        for set in sets {
            let first = if known.sets.is_empty() { 0 } else { revision };
            known.sets.push((first, set));
        }
        known.revision = revision;
        Ok(())
    }

    /// Reads CONTROL to its present end; then, where `own` is another rule set than the one in
    /// force, appends it. From then on `own` is in force.
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
        let set = RuleSet::parse(files).map_err(|faults| Error::Rules {
            revision: 0,
            faults: faults.len(),
        })?;
        let in_force = control.known().sets.last().map(|(_, set)| *set.digest());
        if in_force == Some(*set.digest()) {
            return Ok(control);
        }
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
            self.take(message.sequence, &message.payload)?;
        }
        Ok(())
    }

    /// Follows CONTROL until `shutdown`. A record that cannot be understood ends it: nothing that
    /// was stamped under it may be decided.
    ///
    /// # Errors
    /// Such a record.
    pub async fn follow(
        self,
        bus: Bus,
        moved: watch::Sender<u64>,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        let mut tail = Log::new(&bus).tail(topology::CONTROL, self.extent().0 + 1);
        loop {
            let message = tokio::select! {
                message = tail.next() => message?,
                () = shutdown.cancelled() => return Ok(()),
            };
            let Some(message) = message else {
                return Ok(());
            };
            self.take(message.sequence, &message.payload)?;
            moved.send_replace(message.sequence);
        }
    }
}
