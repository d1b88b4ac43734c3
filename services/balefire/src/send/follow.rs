//! `balefire send --follow`: sends what is written to a file or folder, and goes on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use balefire_client::{AppendOptions, Client};

use super::feed::Reading;
use super::lanes::Lanes;
use super::tail::{Line, Tail};
use super::{Tally, offered};
use crate::Failure;
use crate::print::note;
use crate::source::Record;

/// How often a file is looked at that had nothing new.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The first pause after a failure; doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest pause after failures.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Where the cursor is kept unless told otherwise: beside the file, or in the folder.
pub fn cursor_of(path: &Path) -> PathBuf {
    if path.is_dir() {
        return path.join(".balefire-cursor");
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.balefire-cursor"))
}

/// Sends until it is told to stop. Nothing is committed before the log has it: what was under way
/// when this ended is sent again, and counts once.
///
/// # Errors
/// Where the file or the cursor cannot be read. A server that does not answer is waited for.
pub async fn follow(
    client: &Client,
    options: &AppendOptions,
    reading: &Reading,
    mut tail: Tail,
) -> Result<Tally, Failure> {
    let mut all = Tally::default();
    let mut pause = PAUSE_MIN;
    let mut stop = std::pin::pin!(stopped());
    loop {
        let taken = tokio::task::spawn_blocking(move || {
            let lines = tail.next();
            (tail, lines)
        });
        let (back, lines) = taken
            .await
            .map_err(|e| Failure::Failed(format!("a task failed: {e}")))?;
        tail = back;
        let lines = lines.map_err(|e| Failure::Failed(format!("read: {e}")))?;
        let wait = if lines.is_empty() {
            commit(&mut tail)?;
            LOOK_EVERY
        } else {
            match send(Lanes::new(client, options.clone()), reading, lines).await {
                Ok(tally) => {
                    all.add(&tally);
                    commit(&mut tail)?;
                    pause = PAUSE_MIN;
                    Duration::ZERO
                }
                Err(failure) => {
                    note(&format!(
                        "balefire: {}; trying again in {pause:?}",
                        failure.told()
                    ));
                    tail.back();
                    let waited = pause;
                    pause = (pause * 2).min(PAUSE_MAX);
                    waited
                }
            }
        };
        tokio::select! {
            () = &mut stop => return Ok(all),
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn commit(tail: &mut Tail) -> Result<(), Failure> {
    tail.commit()
        .map_err(|e| Failure::Failed(format!("write the cursor: {e}")))
}

async fn send(mut lanes: Lanes<'_>, reading: &Reading, lines: Vec<Line>) -> Result<Tally, Failure> {
    let mut refused = 0;
    for line in lines {
        let record = Record {
            line: line.at,
            bytes: line.bytes,
        };
        for fed in reading.feed_placed(record, &line.place) {
            match offered(&mut lanes, fed).await? {
                Some(true) => {}
                Some(false) => break,
                None => refused += 1,
            }
        }
    }
    let mut tally = lanes.finish().await?;
    tally.rejected += refused;
    Ok(tally)
}

/// Ends on Ctrl-C or SIGTERM.
async fn stopped() {
    let mut term = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(term) => term,
        // Ctrl-C is left.
        Err(_) => return drop(tokio::signal::ctrl_c().await),
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = term.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_lies_hidden_beside_what_it_is_of() {
        assert_eq!(
            cursor_of(Path::new("/var/log/a.json")),
            Path::new("/var/log/.a.json.balefire-cursor")
        );
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(cursor_of(dir.path()), dir.path().join(".balefire-cursor"));
    }
}
