//! Records of a file or of standard input: NDJSON, a JSON array or one JSON object; gzip too.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;
use std::path::Path;

use memchr::{memchr_iter, memrchr};
use serde_json::value::RawValue;

/// Longest line, bytes: beyond any event with its evidence.
pub const LINE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Largest JSON array, bytes.
const ARRAY_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// One record with its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Line (from 1); of an array the element (from 1).
    pub line: u64,
    /// Its bytes, without the end of the line.
    pub bytes: Vec<u8>,
}

/// Records read at once, and where each lies.
#[derive(Debug, Default)]
pub struct Stretch {
    bytes: Vec<u8>,
    records: Vec<(u64, Range<usize>)>,
}

impl Stretch {
    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.records.len()
    }

    /// A record by its place: its line (of an array its element) and its bytes.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<(u64, &[u8])> {
        let (line, range) = self.records.get(place)?;
        Some((*line, self.bytes.get(range.clone())?))
    }

    /// Finds the records of the bytes, whose first line is behind `line`; the line of the last one.
    fn split(&mut self, mut line: u64) -> u64 {
        let ends = memchr_iter(b'\n', &self.bytes).chain([self.bytes.len()]);
        let mut start = 0;
        for end in ends {
            let text = self.bytes.get(start..end).unwrap_or_default();
            line += u64::from(end < self.bytes.len() || !text.is_empty());
            let trimmed = text.trim_ascii();
            if !trimmed.is_empty() {
                let begin = start + (text.len() - text.trim_ascii_start().len());
                self.records.push((line, begin..begin + trimmed.len()));
            }
            start = end + 1;
        }
        line
    }
}

/// What wraps the records.
enum Shape {
    Lines(Box<dyn BufRead + Send>),
    Elements(std::vec::IntoIter<Box<RawValue>>),
}

/// Reads records one after the other.
pub struct Records {
    shape: Shape,
    line: u64,
    /// What ended a stretch early; told behind its records.
    failed: Option<io::Error>,
}

fn plain(reader: impl Read + Send + 'static) -> io::Result<Box<dyn BufRead + Send>> {
    let mut reader: Box<dyn BufRead + Send> = Box::new(BufReader::with_capacity(1 << 20, reader));
    if reader.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        let unpacked = flate2::bufread::MultiGzDecoder::new(reader);
        reader = Box::new(BufReader::with_capacity(1 << 20, unpacked));
    }
    Ok(reader)
}

/// First byte that is no white space, as far as the buffer shows.
fn first_byte(reader: &mut dyn BufRead) -> io::Result<Option<u8>> {
    Ok(reader
        .fill_buf()?
        .iter()
        .copied()
        .find(|byte| !byte.is_ascii_whitespace()))
}

/// Reads about so many bytes, whole lines of them. What comes before an error is kept. True: the
/// next line is longer than any may be.
fn lines(reader: &mut dyn BufRead, bytes_max: usize, into: &mut Vec<u8>) -> io::Result<bool> {
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    let read = reader.take(most).read_to_end(into);
    let whole = memrchr(b'\n', into).map_or(0, |end| end + 1);
    let begun = u64::try_from(into.len() - whole).unwrap_or(u64::MAX);
    let rest = LINE_BYTES_MAX.saturating_sub(begun);
    let read = read.and_then(|_| reader.take(rest).read_until(b'\n', into));
    let line = u64::try_from(into.len() - whole).unwrap_or(u64::MAX);
    let too_long = line >= LINE_BYTES_MAX && !into.ends_with(b"\n");
    if too_long || read.is_err() {
        into.truncate(whole);
    }
    read.map(|_| too_long)
}

fn too_long(line: u64) -> io::Error {
    let message = format!("line {line} is longer than {LINE_BYTES_MAX} bytes");
    io::Error::new(io::ErrorKind::InvalidData, message)
}

impl Records {
    /// Of a file, or of standard input for `-`.
    ///
    /// # Errors
    /// Where it cannot be read, or an array in it is no JSON.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut reader = if path == Path::new("-") {
            plain(io::stdin())?
        } else {
            plain(File::open(path)?)?
        };
        match first_byte(reader.as_mut())? {
            Some(b'[') => {}
            Some(b'{') => return Self::objects(reader),
            Some(_) | None => return Ok(Self::lines(reader)),
        }
        // A line that is an array is one bad record among lines; a whole file that is one is a list.
        let mut text = Vec::new();
        reader.take(ARRAY_BYTES_MAX).read_to_end(&mut text)?;
        match serde_json::from_slice::<Vec<Box<RawValue>>>(&text) {
            Ok(elements) => Ok(Self {
                shape: Shape::Elements(elements.into_iter()),
                line: 0,
                failed: None,
            }),
            Err(_) => Ok(Self {
                shape: Shape::Lines(Box::new(io::Cursor::new(text))),
                line: 0,
                failed: None,
            }),
        }
    }

    fn lines(reader: Box<dyn BufRead + Send>) -> Self {
        Self {
            shape: Shape::Lines(reader),
            line: 0,
            failed: None,
        }
    }

    /// A record a line, or objects that are written over several lines each.
    fn objects(mut reader: Box<dyn BufRead + Send>) -> io::Result<Self> {
        let mut text = Vec::new();
        let mut first = reader.by_ref().take(LINE_BYTES_MAX);
        while text.trim_ascii().is_empty() && first.read_until(b'\n', &mut text)? > 0 {}
        let one_line = serde_json::from_slice::<&RawValue>(&text).is_ok();
        if !one_line {
            let rest = LINE_BYTES_MAX.saturating_sub(u64::try_from(text.len()).unwrap_or(u64::MAX));
            reader.by_ref().take(rest).read_to_end(&mut text)?;
            let values = serde_json::Deserializer::from_slice(&text).into_iter::<Box<RawValue>>();
            if let Ok(values) = values.collect::<Result<Vec<_>, _>>() {
                return Ok(Self {
                    shape: Shape::Elements(values.into_iter()),
                    line: 0,
                    failed: None,
                });
            }
        }
        Ok(Self::lines(Box::new(io::Cursor::new(text).chain(reader))))
    }

    /// The next records, about as many as fit into so many bytes (fewer than a line may have), in the place of earlier ones;
    /// none at the end.
    ///
    /// # Errors
    /// As [`Records::next`], behind the records before.
    pub fn stretch(&mut self, bytes_max: usize, into: &mut Stretch) -> io::Result<()> {
        into.bytes.clear();
        into.records.clear();
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        match &mut self.shape {
            Shape::Elements(elements) => {
                while into.bytes.len() < bytes_max
                    && let Some(raw) = elements.next()
                {
                    self.line += 1;
                    let start = into.bytes.len();
                    into.bytes.extend_from_slice(raw.get().as_bytes());
                    into.records.push((self.line, start..into.bytes.len()));
                }
            }
            Shape::Lines(reader) => {
                let read = lines(reader.as_mut(), bytes_max, &mut into.bytes);
                self.line = into.split(self.line);
                self.failed = match read {
                    Ok(false) => None,
                    Ok(true) => Some(too_long(self.line + 1)),
                    Err(error) => Some(error),
                };
                if into.records.is_empty() {
                    return match self.failed.take() {
                        Some(failed) => Err(failed),
                        // Nothing but blank lines.
                        None if !into.bytes.is_empty() => self.stretch(bytes_max, into),
                        None => Ok(()),
                    };
                }
            }
        }
        Ok(())
    }

    /// The next record; blank lines are passed over. `None` at the end.
    ///
    /// # Errors
    /// Where reading fails, or a line is longer than any record may be.
    pub fn next(&mut self) -> io::Result<Option<Record>> {
        match &mut self.shape {
            Shape::Elements(elements) => {
                self.line += 1;
                let line = self.line;
                Ok(elements.next().map(|raw| Record {
                    line,
                    bytes: raw.get().as_bytes().to_vec(),
                }))
            }
            Shape::Lines(reader) => loop {
                let mut bytes = Vec::new();
                let read = reader
                    .by_ref()
                    .take(LINE_BYTES_MAX)
                    .read_until(b'\n', &mut bytes)?;
                if read == 0 {
                    return Ok(None);
                }
                self.line += 1;
                if !bytes.ends_with(b"\n") && u64::try_from(read).is_ok_and(|n| n == LINE_BYTES_MAX)
                {
                    return Err(too_long(self.line));
                }
                let trimmed = bytes.trim_ascii();
                if !trimmed.is_empty() {
                    return Ok(Some(Record {
                        line: self.line,
                        bytes: trimmed.to_vec(),
                    }));
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn read(text: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, text).unwrap();
        let mut records = Records::open(&path).unwrap();
        let mut all = Vec::new();
        while let Some(record) = records.next().unwrap() {
            all.push((record.line, record.bytes));
        }
        all
    }

    #[test]
    fn lines_arrays_and_gzip_are_the_same_records() {
        let want = vec![(1, b"{\"a\":1}".to_vec()), (2, b"{\"a\":2}".to_vec())];
        assert_eq!(read(b"{\"a\":1}\n{\"a\":2}"), want);
        assert_eq!(read(b" [{\"a\":1},\n {\"a\":2}]\n"), want);
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(b"{\"a\":1}\r\n{\"a\":2}\n").unwrap();
        assert_eq!(read(&packed.finish().unwrap()), want);
    }

    /// The same by stretches of so many bytes; `Err`: what was told behind the records.
    fn stretched(text: &[u8], bytes_max: usize) -> (Vec<(u64, Vec<u8>)>, Option<String>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, text).unwrap();
        let mut records = Records::open(&path).unwrap();
        let (mut stretch, mut all) = (Stretch::default(), Vec::new());
        loop {
            if let Err(error) = records.stretch(bytes_max, &mut stretch) {
                return (all, Some(error.to_string()));
            }
            if stretch.len() == 0 {
                return (all, None);
            }
            let got = (0..stretch.len()).map(|place| stretch.get(place).unwrap());
            all.extend(got.map(|(line, bytes)| (line, bytes.to_vec())));
        }
    }

    #[test]
    fn stretches_of_any_length_hold_the_same_records() {
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(500));
        let lines = format!("\n {{\"a\":1}} \r\n\n\n{long}\nx\n\n  \n{{}}\n[1]");
        let list = format!("[{long}, 1,\n {{\"a\":2}}]");
        for text in [
            lines.as_str(),
            list.as_str(),
            "",
            "\n\n",
            "{\n \"a\": 1\n}\n",
            "a\n\nb",
        ] {
            for bytes_max in [1, 2, 7, 100, 4_096] {
                let want = (read(text.as_bytes()), None);
                assert_eq!(
                    stretched(text.as_bytes(), bytes_max),
                    want,
                    "{text:?} by {bytes_max}"
                );
            }
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_told_behind_the_records_before_it() {
        let mut text = b"{\"a\":1}\n{\"a\":2}\n".to_vec();
        text.resize(text.len() + 9 * 1024 * 1024, b'x');
        let (records, told) = stretched(&text, 1 << 20);
        assert_eq!(records.len(), 2);
        assert_eq!(told.unwrap(), "line 3 is longer than 8388608 bytes");
    }

    #[test]
    fn an_object_may_be_written_over_lines() {
        let pretty = b"{\n \"a\": 1\n}\n";
        assert_eq!(read(pretty), vec![(1, pretty.trim_ascii().to_vec())]);
        let lines = read(b"{\"a\":\n{\"a\":2}\nx\n");
        assert_eq!(
            lines.len(),
            3,
            "a bad first line is one bad line: {lines:?}"
        );
    }

    #[test]
    fn blank_lines_count_but_are_no_records() {
        assert_eq!(
            read(b"\n{}\n\n{}\n"),
            vec![(2, b"{}".to_vec()), (4, b"{}".to_vec())]
        );
        assert_eq!(read(b""), vec![]);
    }

    #[test]
    fn a_bad_array_is_told_line_by_line() {
        assert_eq!(
            read(b"[1,2\n{}\n"),
            vec![(1, b"[1,2".to_vec()), (2, b"{}".to_vec())]
        );
    }
}
