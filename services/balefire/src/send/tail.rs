//! [`Tail`]: what is new in a file or a folder, from a cursor that outlives the process.
//!
//! A file is known by its device and inode, so that one that was renamed by a log rotation is read
//! to its end first. Lines are read once they end; packed files (gzip) are read whole, once: put
//! them in place by a rename.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::source::Records;

/// Lines taken at once.
pub const LINES_MAX: usize = 4096;
/// Bytes of lines taken at once; a single line may be longer.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest line, bytes: beyond any event with its evidence. What is longer is taken in pieces, which
/// are refused.
const LINE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Most files of a folder.
const FILES_MAX: usize = 10_000;
/// Version of the cursor's file.
const VERSION: u64 = 1;
/// First bytes of a packed file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Device and inode.
type Id = (u64, u64);

/// One line, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Tells it from every other line, equal ones included: file, place.
    pub place: String,
    /// Where its line begins, bytes from the start of the file; of a packed file its line.
    pub at: u64,
    /// Its bytes, trimmed.
    pub bytes: Vec<u8>,
}

/// A file on its way.
#[derive(Debug)]
struct Found {
    path: PathBuf,
    id: Id,
    len: u64,
    modified: SystemTime,
}

/// Reads what is new.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    cursor: PathBuf,
    /// How far each file was read; what is committed lies in the cursor's file.
    read: BTreeMap<Id, u64>,
    committed: BTreeMap<Id, u64>,
}

impl Tail {
    /// Of a file or folder; a cursor's file that is not there is made at the first commit.
    ///
    /// # Errors
    /// Where the cursor cannot be read, or is none.
    pub fn open(path: &Path, cursor: &Path) -> io::Result<Self> {
        let committed = match std::fs::read(cursor) {
            Ok(bytes) => parse(&bytes).ok_or_else(|| {
                let message = format!(
                    "{} is no cursor of this version; remove it to read everything again",
                    cursor.display()
                );
                io::Error::new(io::ErrorKind::InvalidData, message)
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self {
            path: path.to_owned(),
            cursor: cursor.to_owned(),
            read: committed.clone(),
            committed,
        })
    }

    /// The next lines, oldest file first; empty: nothing is new.
    ///
    /// # Errors
    /// Where the file or folder cannot be read.
    pub fn next(&mut self) -> io::Result<Vec<Line>> {
        for found in self.files()? {
            let done = self.read.get(&found.id).copied().unwrap_or_default();
            // Shorter than it was: it was cut, and is written anew.
            let from = if found.len < done { 0 } else { done };
            if found.len == from {
                continue;
            }
            let (lines, till) = read(&found, from)?;
            if till != from || done != from {
                self.read.insert(found.id, till);
            }
            if !lines.is_empty() {
                return Ok(lines);
            }
        }
        Ok(Vec::new())
    }

    /// Everything taken so far need not be read again.
    ///
    /// # Errors
    /// Where the cursor cannot be written.
    pub fn commit(&mut self) -> io::Result<()> {
        if self.read == self.committed {
            return Ok(());
        }
        let files: Vec<Value> = self
            .read
            .iter()
            .map(|((device, inode), till)| json!([device, inode, till]))
            .collect();
        let text = json!({ "version": VERSION, "files": files }).to_string();
        let mut beside = self.cursor.clone().into_os_string();
        beside.push(".new");
        let mut file = File::create(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, &self.cursor)?;
        self.committed = self.read.clone();
        Ok(())
    }

    /// What was taken since the last commit is taken again.
    pub fn back(&mut self) {
        self.read = self.committed.clone();
    }

    /// The files to read, the oldest first.
    fn files(&mut self) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        if std::fs::metadata(&self.path).is_ok_and(|meta| meta.is_dir()) {
            for path in entries(&self.path)? {
                found.extend(look(&path).filter(|_| path != self.cursor));
            }
            by_age(&mut found);
        } else {
            let current = look(&self.path);
            let own = current.as_ref().map(|current| current.id);
            // What was read and is no longer here was renamed: its writer may still have it open.
            if self.read.keys().any(|id| Some(*id) != own) {
                let folder = self.path.parent().filter(|folder| *folder != Path::new(""));
                for path in entries(folder.unwrap_or(Path::new(".")))? {
                    let known =
                        |one: &Found| Some(one.id) != own && self.read.contains_key(&one.id);
                    found.extend(look(&path).filter(known));
                }
                by_age(&mut found);
            }
            found.extend(current);
        }
        // What is gone need not be remembered.
        let there: BTreeSet<Id> = found.iter().map(|found| found.id).collect();
        self.read.retain(|id, _| there.contains(id));
        Ok(found)
    }
}

fn by_age(found: &mut [Found]) {
    found.sort_by(|one, other| (one.modified, &one.path).cmp(&(other.modified, &other.path)));
}

/// Visible files of a folder.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        paths.push(entry.path());
        if paths.len() > FILES_MAX {
            let message = format!(
                "{} holds more than {FILES_MAX} files; move those that are done away",
                folder.display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
    }
    Ok(paths)
}

/// A regular file; anything else, and what went meanwhile, is none.
fn look(path: &Path) -> Option<Found> {
    let meta = std::fs::metadata(path).ok().filter(|meta| meta.is_file())?;
    Some(Found {
        path: path.to_owned(),
        id: (meta.dev(), meta.ino()),
        len: meta.len(),
        modified: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
    })
}

fn parse(bytes: &[u8]) -> Option<BTreeMap<Id, u64>> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    if value.get("version")? != VERSION {
        return None;
    }
    let files = value.get("files")?.as_array()?.iter();
    let file = |file: &Value| {
        let number = |at: usize| file.get(at)?.as_u64();
        Some(((number(0)?, number(1)?), number(2)?))
    };
    files.map(file).collect()
}

/// Lines from a place on, and up to where that is.
fn read(found: &Found, from: u64) -> io::Result<(Vec<Line>, u64)> {
    let (device, inode) = found.id;
    let mut file = File::open(&found.path)?;
    let mut first = [0; 2];
    let packed = file.read(&mut first)? == 2 && first == GZIP;
    if packed {
        let mut lines = Vec::new();
        let mut records = Records::open(&found.path)?;
        while let Some(record) = records.next()? {
            lines.push(Line {
                place: format!("{device}:{inode}:gz:{}", record.line),
                at: record.line,
                bytes: record.bytes,
            });
        }
        return Ok((lines, found.len));
    }
    file.seek(SeekFrom::Start(from))?;
    let mut reader = BufReader::new(file);
    let (mut lines, mut at, mut bytes) = (Vec::new(), from, 0);
    while lines.len() < LINES_MAX && bytes < BYTES_MAX {
        let mut line = Vec::new();
        let taken = reader
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)?;
        let taken = u64::try_from(taken).unwrap_or(u64::MAX);
        // A line that has no end yet is still being written.
        if !line.ends_with(b"\n") && taken < LINE_BYTES_MAX {
            break;
        }
        let trimmed = line.trim_ascii();
        if !trimmed.is_empty() {
            bytes += trimmed.len();
            lines.push(Line {
                place: format!("{device}:{inode}:{at}"),
                at,
                bytes: trimmed.to_vec(),
            });
        }
        at += taken;
    }
    Ok((lines, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;

    struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self {
                dir: tempfile::tempdir().unwrap(),
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            let mut file = OpenOptions::new()
                .append(true)
                .create(true)
                .open(self.path(name))
                .unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn tail(&self, of: &str) -> Tail {
            Tail::open(&self.path(of), &self.path(".cursor")).unwrap()
        }
    }

    fn all(tail: &mut Tail) -> Vec<String> {
        let mut texts = Vec::new();
        loop {
            let lines = tail.next().unwrap();
            if lines.is_empty() {
                return texts;
            }
            texts.extend(
                lines
                    .into_iter()
                    .map(|line| String::from_utf8(line.bytes).unwrap()),
            );
        }
    }

    #[test]
    fn a_line_is_taken_once_it_ends_and_once_only() {
        let place = Place::new();
        let mut tail = place.tail("log");
        assert!(
            all(&mut tail).is_empty(),
            "a file that is not there yet is no fault"
        );
        place.write("log", "a\n\nb\nhal");
        assert_eq!(all(&mut tail), ["a", "b"]);
        assert!(all(&mut tail).is_empty());
        place.write("log", "f\n");
        assert_eq!(all(&mut tail), ["half"]);
        tail.commit().unwrap();
        place.write("log", "c\n");
        assert_eq!(all(&mut place.tail("log")), ["c"], "from the cursor on");
        assert_eq!(all(&mut tail), ["c"]);
        tail.back();
        assert_eq!(
            all(&mut tail),
            ["c"],
            "what was not committed is taken again"
        );
    }

    #[test]
    fn a_rotated_file_is_read_to_its_end_first() {
        let place = Place::new();
        place.write("log", "a\n");
        let mut tail = place.tail("log");
        assert_eq!(all(&mut tail), ["a"]);
        tail.commit().unwrap();
        place.write("log", "last of the old\n");
        std::fs::rename(place.path("log"), place.path("log.1")).unwrap();
        place.write("log", "first of the new\n");
        let mut tail = place.tail("log");
        assert_eq!(all(&mut tail), ["last of the old", "first of the new"]);
        place.write("log.1", "its writer still had it open\n");
        place.write("log", "second of the new\n");
        let both = ["its writer still had it open", "second of the new"];
        assert_eq!(all(&mut tail), both);
    }

    #[test]
    fn a_cut_file_begins_anew() {
        let place = Place::new();
        place.write("log", "a\nb\n");
        let mut tail = place.tail("log");
        assert_eq!(all(&mut tail).len(), 2);
        std::fs::write(place.path("log"), "c\n").unwrap();
        assert_eq!(all(&mut tail), ["c"]);
    }

    #[test]
    fn a_folder_is_read_file_by_file_packed_ones_whole() {
        let place = Place::new();
        std::fs::create_dir(place.path("in")).unwrap();
        let mut tail = place.tail("in");
        assert!(all(&mut tail).is_empty());
        place.write("in/one", "a\n");
        place.write("in/.hidden", "x\n");
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(b"[{\"b\":1},{\"b\":2}]").unwrap();
        std::fs::write(place.path("in/two.gz"), packer.finish().unwrap()).unwrap();
        let mut texts = all(&mut tail);
        texts.sort();
        assert_eq!(texts, ["a", "{\"b\":1}", "{\"b\":2}"]);
        tail.commit().unwrap();
        std::fs::remove_file(place.path("in/one")).unwrap();
        assert!(all(&mut tail).is_empty());
        tail.commit().unwrap();
        let cursor = std::fs::read(place.path(".cursor")).unwrap();
        assert_eq!(
            parse(&cursor).unwrap().len(),
            1,
            "what is gone is forgotten"
        );
    }

    #[test]
    fn equal_lines_have_places_of_their_own() {
        let place = Place::new();
        place.write("log", "a\na\n");
        let lines = place.tail("log").next().unwrap();
        assert_ne!(lines[0].place, lines[1].place);
        let again = place.tail("log").next().unwrap();
        assert_eq!(lines, again);
    }

    #[test]
    fn a_cursor_that_is_none_is_not_guessed_at() {
        let place = Place::new();
        place.write(".cursor", "{}");
        let error = Tail::open(&place.path("log"), &place.path(".cursor")).unwrap_err();
        assert!(error.to_string().contains("remove it"), "{error}");
    }
}
