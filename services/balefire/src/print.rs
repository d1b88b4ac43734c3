//! Printing that survives a closed pipe: `balefire … | head` ends quietly.

use std::io::{ErrorKind, Write};

/// Where a command's answer goes.
pub struct Out {
    sink: std::io::BufWriter<std::io::Stdout>,
}

impl Out {
    /// Standard output, buffered until [`Out::flush`] or the end.
    #[must_use]
    pub fn new() -> Self {
        Self {
            sink: std::io::BufWriter::new(std::io::stdout()),
        }
    }

    /// One line. False: nobody reads any more.
    pub fn line(&mut self, text: &str) -> bool {
        let written = writeln!(self.sink, "{text}");
        !written.is_err_and(|e| e.kind() == ErrorKind::BrokenPipe)
    }

    /// Bytes as they are. False: nobody reads any more.
    pub fn bytes(&mut self, bytes: &[u8]) -> bool {
        let written = self.sink.write_all(bytes);
        !written.is_err_and(|e| e.kind() == ErrorKind::BrokenPipe)
    }

    /// Makes what was written visible.
    pub fn flush(&mut self) -> bool {
        !self
            .sink
            .flush()
            .is_err_and(|e| e.kind() == ErrorKind::BrokenPipe)
    }
}

/// A line for people, on standard error.
pub fn note(text: &str) {
    // Nothing sensible is left to do where even stderr is closed.
    let _closed = writeln!(std::io::stderr(), "{text}");
}

/// Columns of text, two spaces apart.
#[must_use]
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells
            .chain(head.get(column).map(|h| h.chars().count()))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    std::iter::once(&head)
        .chain(rows)
        .map(|row| line(row))
        .collect::<Vec<_>>()
        .join("\n")
}

/// How a listing is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Listing {
    /// For people.
    #[default]
    Table,
    /// One JSON object a line.
    Ndjson,
}
