//! What is in force for the notifier: the receivers file and, over it, the control objects, followed
//! as they change. Every decision takes the plan of its moment; callers are made anew only where
//! their receiver changed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use balefire_bus::topology::CONTROL;
use balefire_bus::{Bus, Log, Message, Tail};
use balefire_control::{Book, Change as ObjectChange, Entry, Kind};
use balefire_event::Timestamp;
use balefire_notifier_core::objects;
use balefire_notifier_core::plan::Plan;
use balefire_notifier_core::route::{Receiver, ReceiverEntry};
use balefire_notifier_core::storm::Storms;
use balefire_wire::log::v1::control::Change;
use balefire_wire::log::v1::record;
use balefire_wire::{BatchView, RecordView};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::caller::Caller;
use crate::config::{Config, secret_of};
use crate::dispatch::Board;
use crate::secret::Key;

/// How soon the control log is read again after a failure.
const RETRY_DELAY: Duration = Duration::from_millis(250);

/// What is in force.
#[derive(Debug)]
pub struct Desk {
    file: Config,
    board: Arc<Board>,
    plan: RwLock<Arc<Plan>>,
    made: Mutex<Made>,
    book: Mutex<Book>,
    storms: Mutex<Storms>,
    moved: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Made {
    callers: BTreeMap<Arc<str>, Caller>,
    /// What each caller that is an object's was made of.
    entries: BTreeMap<Arc<str>, ReceiverEntry>,
    /// Receivers that cannot be called, and why.
    faults: BTreeMap<Arc<str>, String>,
}

const fn acts_on(kind: Kind) -> bool {
    match kind {
        Kind::Receiver | Kind::Route | Kind::Silence | Kind::SeverityMap => true,
        Kind::Rule | Kind::Source | Kind::IdentityAlias | Kind::ApiKey | Kind::Tenant => false,
    }
}

impl Desk {
    /// Only the receivers of the file, until the control log was read.
    #[must_use]
    pub fn new(file: Config, board: Arc<Board>) -> Arc<Self> {
        let callers = file
            .receivers
            .iter()
            .map(|one| (Arc::clone(&one.receiver.name), one.caller.clone()));
        let made = Made {
            callers: callers.collect(),
            ..Made::default()
        };
        Arc::new(Self {
            plan: RwLock::new(Arc::new(Plan::of_file(&file.routes))),
            made: Mutex::new(made),
            book: Mutex::default(),
            storms: Mutex::default(),
            moved: watch::Sender::new(0),
            file,
            board,
        })
    }

    /// What is in force now.
    #[must_use]
    pub fn plan(&self) -> Arc<Plan> {
        let plan = self.plan.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&plan)
    }

    /// Says when something else is in force.
    #[must_use]
    pub fn moved(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// How a receiver is called; `None`: there is none of this name that can be.
    #[must_use]
    pub fn caller(&self, receiver: &str) -> Option<Caller> {
        self.made().callers.get(receiver).cloned()
    }

    /// Why a receiver cannot be called.
    #[must_use]
    pub fn fault(&self, receiver: &str) -> Option<String> {
        self.made().faults.get(receiver).cloned()
    }

    /// Every receiver that cannot be called, and why.
    #[must_use]
    pub fn faults(&self) -> BTreeMap<Arc<str>, String> {
        self.made().faults.clone()
    }

    /// The pages of every partition of this process; held for moments only.
    pub fn storms(&self) -> MutexGuard<'_, Storms> {
        self.storms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The secret that signs what comes in by a receiver, read anew each time: it may be rotated.
    ///
    /// # Errors
    /// Why it cannot be had, in words.
    pub fn ack_secret(&self, receiver: &Receiver) -> Result<String, String> {
        let (file, env) = receiver.target.ack_secret();
        let entry = ReceiverEntry {
            name: receiver.name.to_string(),
            secret_file: file.map(str::to_owned),
            secret_env: env.map(str::to_owned),
            ..ReceiverEntry::default()
        };
        let secret = match receiver.tenant {
            Some(_) => self.file.secrets.of_object(receiver, &entry)?,
            None => secret_of(&entry).map_err(|error| error.to_string())?,
        };
        secret.ok_or_else(|| "it names no secret".into())
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the control log to its present end, so that nothing is decided under less; returns
    /// where to read on. Waits while the log cannot be reached.
    pub async fn catch_up(&self, bus: &Bus, stop: &CancellationToken) -> u64 {
        let log = Log::new(bus);
        let mut next = 1;
        loop {
            match self.read_all(&log, &mut next).await {
                Ok(()) => {
                    self.make();
                    return next;
                }
                Err(error) => tracing::warn!(%error, "the control log is read again"),
            }
            tokio::select! {
                () = stop.cancelled() => return next,
                () = tokio::time::sleep(RETRY_DELAY) => {}
            }
        }
    }

    async fn read_all(&self, log: &Log, next: &mut u64) -> Result<(), balefire_bus::Error> {
        let mut tail = log.read_all(CONTROL, *next).await?;
        while let Some(message) = tail.next().await? {
            *next = message.sequence + 1;
            self.take(&message);
        }
        Ok(())
    }

    /// Follows the control log from `next` on until `stop`.
    ///
    /// # Errors
    /// Where the log shows a gap.
    pub async fn follow(
        &self,
        bus: &Bus,
        next: u64,
        stop: CancellationToken,
    ) -> Result<(), balefire_bus::Error> {
        let mut tail: Tail = Log::new(bus).tail(CONTROL, next);
        loop {
            let message = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                message = tail.next() => message,
            };
            let message = match message.map_err(|error| (error.begins_at(), error)) {
                Ok(message) => message,
                Err((Some(first), _)) => {
                    tail = Log::new(bus).tail(CONTROL, first);
                    continue;
                }
                Err((None, error)) => return Err(error),
            };
            if let Some(message) = message
                && self.take(&message)
            {
                self.make();
            }
        }
    }

    /// Takes in one message; whether it changes what the notifier does. One that cannot be read is
    /// said and passed over: what was in force before it stays so.
    fn take(&self, message: &Message) -> bool {
        let revision = message.sequence;
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let mut concerned = false;
        let mut read = || -> Result<(), balefire_wire::Error> {
            for record in BatchView::parse(&message.payload)?.records() {
                let RecordView::Other(record::Kind::Control(control)) = record? else {
                    continue;
                };
                let Some(Change::ObjectChange(change)) = control.change else {
                    continue;
                };
                let change = ObjectChange::try_from(change)?;
                if !acts_on(change.key.kind) {
                    continue;
                }
                concerned = true;
                book.apply(Entry {
                    control_revision: revision,
                    actor: control.actor,
                    reason: control.reason,
                    at: Timestamp(control.at_ns),
                    change,
                });
            }
            Ok(())
        };
        if let Err(error) = read() {
            tracing::error!(revision, %error, "a control record cannot be read");
        }
        book.read_to(revision);
        concerned
    }

    /// Puts in force what the book says.
    fn make(&self) {
        let made = {
            let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
            let file = self.file.routes.receivers();
            objects::plan(book.revision(), file, book.objects())
        };
        let mut faults = BTreeMap::new();
        for fault in made.faults {
            tracing::warn!(receiver = %fault.receiver, reason = fault.reason, "receiver not in force");
            faults.insert(fault.receiver, fault.reason);
        }
        for (name, entry) in &made.entries {
            let Some(receiver) = made.plan.receiver(name) else {
                continue;
            };
            if let Err(reason) = self.call(receiver, entry) {
                tracing::warn!(receiver = %name, reason, "receiver cannot be called");
                faults.insert(Arc::clone(name), reason);
            }
        }
        {
            let mut now = self.made();
            let own = |name: &Arc<str>| {
                let mut file = self.file.routes.receivers().iter();
                file.any(|one| one.name == *name)
            };
            let callable = |name: &Arc<str>| {
                own(name) || made.entries.contains_key(name) && !faults.contains_key(name)
            };
            now.callers.retain(|name, _| callable(name));
            now.entries.retain(|name, _| callable(name));
            now.faults = faults;
        }
        // Only what can be called has places; the rest of the deliveries waits for it.
        let callable: Vec<Receiver> = {
            let now = self.made();
            let all = made.plan.receivers.iter();
            all.filter(|one| now.callers.contains_key(&one.name))
                .cloned()
                .collect()
        };
        *self.plan.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(made.plan);
        self.board.set_receivers(&callable);
        self.moved
            .send_modify(|times| *times = times.wrapping_add(1));
    }

    /// Makes the caller of an object, unless it is there as it is.
    fn call(&self, receiver: &Receiver, entry: &ReceiverEntry) -> Result<(), String> {
        let known = self.made().entries.get(&receiver.name) == Some(entry);
        if known && self.made().callers.contains_key(&receiver.name) {
            return Ok(());
        }
        let secret = self.file.secrets.of_object(receiver, entry)?;
        let key = Key::of(&receiver.target, secret.as_deref())?;
        let caller = Caller::new(receiver, &entry.url, key, self.file.deadline)
            .map_err(|error| error.to_string())?;
        let mut made = self.made();
        made.callers.insert(Arc::clone(&receiver.name), caller);
        made.entries
            .insert(Arc::clone(&receiver.name), entry.clone());
        Ok(())
    }
}
