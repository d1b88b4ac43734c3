//! [`Store`]: the handle; behind it one thread that owns the database and survives its panics.

use std::os::unix::fs::DirBuilderExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::aside::set_aside;
use crate::checkpoint::{Checkpoint, Meta};
use crate::database::Database;
use crate::error::Error;
use crate::records::Changes;

/// Requests that may wait for the thread.
const QUEUE_LEN: usize = 64;
/// Between two attempts to open a store that is still locked.
const LOCK_POLL: Duration = Duration::from_millis(20);
/// Attempts to open a store that was written anew.
const REOPENINGS: u32 = 100;

/// Limits of a store.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Opening takes at most this long; after it the directory is in doubt.
    pub open_timeout: Duration,
    /// Saving and loading take at most this long each.
    pub request_timeout: Duration,
    /// A store larger than this is set aside and begun anew, bytes: sled does not give all
    /// space back.
    pub size_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            open_timeout: Duration::from_secs(20),
            request_timeout: Duration::from_secs(30),
            size_max: 4 * 1024 * 1024 * 1024,
        }
    }
}

enum Request {
    Save(
        String,
        Box<(Meta, Changes)>,
        oneshot::Sender<Result<(), Error>>,
    ),
    Load(String, oneshot::Sender<Result<Option<Checkpoint>, Error>>),
    SetAside(String, oneshot::Sender<Result<(), Error>>),
}

/// Checkpoints by name (`rule-engine.3`). Cheap to clone; the database is closed when the last
/// clone is gone.
#[derive(Debug, Clone)]
pub struct Store {
    requests: Option<mpsc::Sender<Request>>,
    timeout: Duration,
}

impl Store {
    /// Keeps nothing: every start builds from the log.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            requests: None,
            timeout: Duration::ZERO,
        }
    }

    /// Opens the store in `dir`, which is created where it is missing. A directory in any doubt
    /// (an error, a panic, a time-out inside the database, or its size) is moved to
    /// `<dir>.aside-<n>`, the newest two of which are kept, and an empty one is begun.
    ///
    /// # Errors
    /// [`Error::Locked`] where another process has it open, and what keeps even an empty store
    /// from opening.
    pub async fn open(dir: &Path, options: Options) -> Result<Self, Error> {
        if let Some(parent) = dir.parent() {
            // Checkpoints name people.
            let mut folders = std::fs::DirBuilder::new();
            let made = folders.recursive(true).mode(0o700).create(parent);
            made.map_err(|source| Error::Io {
                doing: "create",
                path: parent.to_owned(),
                source,
            })?;
        }
        match Self::attempt(dir, options).await {
            Ok(store) => Ok(store),
            Err(error @ Error::Locked { .. }) => Err(error),
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "checkpoint store set aside");
                set_aside(dir)?;
                Self::attempt(dir, options).await
            }
        }
    }

    /// Opens without setting anything aside.
    pub(crate) async fn open_as_is(dir: &Path, options: Options) -> Result<Self, Error> {
        Self::spawn(dir.to_owned(), options).await
    }

    /// Opens, waiting for the lock of a store that is just being closed.
    async fn attempt(dir: &Path, options: Options) -> Result<Self, Error> {
        let deadline = Instant::now() + options.open_timeout;
        loop {
            match Self::spawn(dir.to_owned(), options).await {
                Err(Error::Locked { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(LOCK_POLL).await;
                }
                result => return result,
            }
        }
    }

    async fn spawn(dir: PathBuf, options: Options) -> Result<Self, Error> {
        let (requests, inbox) = mpsc::channel(QUEUE_LEN);
        let (ready_tx, ready) = oneshot::channel();
        std::thread::Builder::new()
            .name("checkpoints".into())
            .spawn({
                let dir = dir.clone();
                move || run(dir, options, ready_tx, inbox)
            })
            .map_err(|source| Error::Io {
                doing: "start the thread of",
                path: dir,
                source,
            })?;
        match tokio::time::timeout(options.open_timeout, ready).await {
            Ok(Ok(opened)) => opened.map(|()| Self {
                requests: Some(requests),
                timeout: options.request_timeout,
            }),
            Ok(Err(_)) => Err(Error::database("its thread died")),
            Err(_) => Err(Error::Timeout { doing: "opening" }),
        }
    }

    /// False for [`Store::none`].
    #[must_use]
    pub const fn keeps(&self) -> bool {
        self.requests.is_some()
    }

    /// Writes a checkpoint, durable when this returns: all of it or nothing. Changes lie behind
    /// the checkpoint that was loaded or saved last under this name.
    ///
    /// # Errors
    /// Whatever kept it from being written; the one before it is then still there, and the next
    /// one must be whole ([`Changes::is_whole`]).
    pub async fn save(&self, name: &str, meta: Meta, changes: Changes) -> Result<(), Error> {
        let name = name.to_owned();
        self.ask("saving", |reply| {
            Request::Save(name, Box::new((meta, changes)), reply)
        })
        .await
        .map(Option::unwrap_or_default)
    }

    /// Reads a checkpoint; `None` where there is none.
    ///
    /// # Errors
    /// Any doubt: call [`Store::set_aside`] and build from the log.
    pub async fn load(&self, name: &str) -> Result<Option<Checkpoint>, Error> {
        let name = name.to_owned();
        self.ask("loading", |reply| Request::Load(name, reply))
            .await
            .map(Option::flatten)
    }

    /// Sets a checkpoint aside: [`Store::load`] finds none after it.
    ///
    /// # Errors
    /// Where the database fails.
    pub async fn set_aside(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.ask("setting aside", |reply| Request::SetAside(name, reply))
            .await
            .map(Option::unwrap_or_default)
    }

    /// `None` where this store keeps nothing.
    async fn ask<T>(
        &self,
        doing: &'static str,
        request: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Request,
    ) -> Result<Option<T>, Error> {
        let Some(requests) = &self.requests else {
            return Ok(None);
        };
        let (reply, answer) = oneshot::channel();
        let exchange = async {
            let gone = || Error::database("its thread died");
            requests.send(request(reply)).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())?
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(result) => result.map(Some),
            Err(_) => Err(Error::Timeout { doing }),
        }
    }
}

/// What a panic inside the database said.
fn guarded<T>(call: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let said = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Error::database(format!(
            "it panicked: {}",
            said.unwrap_or("without a word")
        )))
    })
}

fn open_checked(dir: &Path, options: Options) -> Result<Database, Error> {
    guarded(|| {
        let database = Database::open(dir)?;
        let size = database.size()?;
        if size > options.size_max {
            return Err(Error::database(format!("it has grown to {size} bytes")));
        }
        Ok(database)
    })
}

fn run(
    dir: PathBuf,
    options: Options,
    ready: oneshot::Sender<Result<(), Error>>,
    mut inbox: mpsc::Receiver<Request>,
) {
    let mut database = match open_checked(&dir, options) {
        Ok(database) => Some(database),
        Err(error) => {
            let _nobody_waits = ready.send(Err(error));
            return;
        }
    };
    if ready.send(Ok(())).is_err() {
        // Opened too late: the directory has been set aside meanwhile.
        return;
    }
    while let Some(request) = inbox.blocking_recv() {
        if database.is_none() {
            database = begin_anew(&dir, options);
        }
        // Who loads shall not wait until all is written anew; and before each is loaded nobody knows how
        // much of it counts.
        let saved = matches!(request, Request::Save(..));
        let sound = serve(&mut database, request);
        if sound && saved {
            shrink(&mut database, &dir, options);
        }
        if !sound || outgrown(database.as_ref(), options) {
            close(&mut database);
            tracing::warn!(dir = %dir.display(), "checkpoint store set aside, begun anew");
            if let Err(error) = set_aside(&dir) {
                tracing::error!(dir = %dir.display(), %error, "could not set checkpoints aside");
                return;
            }
        }
    }
    close(&mut database);
}

fn begin_anew(dir: &Path, options: Options) -> Option<Database> {
    match open_checked(dir, options) {
        Ok(database) => Some(database),
        Err(error) => {
            tracing::error!(dir = %dir.display(), %error, "no new checkpoint store");
            None
        }
    }
}

/// Writes a bloated store anew, beside it, and puts it in its place. A crash in between leaves no
/// store, or the old one.
fn shrink(database: &mut Option<Database>, dir: &Path, options: Options) {
    let Some(bloated) = database else { return };
    if !guarded(|| bloated.is_bloated()).unwrap_or(false) {
        return;
    }
    let mut beside = dir.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // What a crash left.
    let _absent = std::fs::remove_dir_all(&beside);
    if let Err(error) = guarded(|| bloated.copy_to(&beside)) {
        tracing::warn!(dir = %dir.display(), %error, "checkpoint store not written anew");
        return;
    }
    let known = database.take().map(Database::into_known);
    let moved = std::fs::remove_dir_all(dir).and_then(|()| std::fs::rename(&beside, dir));
    if let Err(error) = moved {
        tracing::error!(dir = %dir.display(), %error, "could not put the new checkpoint store in place");
    }
    *database = reopen(dir, options);
    if let (Some(database), Some(known)) = (database, known) {
        let _looked = guarded(|| database.know(known));
    }
}

/// The lock of a database that was just closed may be held for a moment.
fn reopen(dir: &Path, options: Options) -> Option<Database> {
    for _ in 0..REOPENINGS {
        match open_checked(dir, options) {
            Err(Error::Locked { .. }) => std::thread::park_timeout(LOCK_POLL),
            Ok(database) => return Some(database),
            Err(_) => break,
        }
    }
    begin_anew(dir, options)
}

/// A panic while closing changes nothing any more.
fn close(database: &mut Option<Database>) {
    let closing = database.take();
    let _closed = guarded(|| {
        drop(closing);
        Ok(())
    });
}

/// False where the database can no longer be trusted.
fn serve(database: &mut Option<Database>, request: Request) -> bool {
    let absent = || Error::database("it cannot be opened");
    let using = database.as_mut().ok_or_else(absent);
    match request {
        Request::Save(name, saved, reply) => {
            let (meta, changes) = *saved;
            let result = using.and_then(|d| guarded(|| d.save(&name, meta, changes)));
            // Whoever waits for it waits no longer than that.
            answer(reply, result) && merge(database, &name)
        }
        Request::Load(name, reply) => answer(reply, using.and_then(|d| guarded(|| d.load(&name)))),
        Request::SetAside(name, reply) => {
            answer(reply, using.and_then(|d| guarded(|| d.set_aside(&name))))
        }
    }
}

/// False where the database can no longer be trusted.
fn merge(database: &mut Option<Database>, name: &str) -> bool {
    let Some(database) = database else {
        return true;
    };
    match guarded(|| database.merge_if_due(name)) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(name, %error, "checkpoints not merged");
            !matches!(error, Error::Database { .. })
        }
    }
}

fn answer<T>(reply: oneshot::Sender<Result<T, Error>>, result: Result<T, Error>) -> bool {
    let sound = !matches!(result, Err(Error::Database { .. }));
    // Who asked may have given up.
    let _gone = reply.send(result);
    sound
}

fn outgrown(database: Option<&Database>, options: Options) -> bool {
    let Some(database) = database else {
        return false;
    };
    match guarded(|| database.size()) {
        Ok(size) => size > options.size_max,
        Err(_) => true,
    }
}
