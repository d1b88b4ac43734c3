//! [`InstanceId`]: who holds a lease. It outlives the process, so that a restarted one takes its
//! own leases back at once.

use std::fmt;
use std::io::Write as _;
use std::path::Path;

use crate::error::Error;

const FILE: &str = "instance";

/// An instance of a service: 16 bytes that stay with its data dir.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub [u8; 16]);

impl InstanceId {
    /// The one that `dir` keeps; `fresh` (random bytes) where it keeps none yet, or none that can
    /// be read. A data dir that was copied must lose its file `instance`: two processes of one id
    /// take their partitions from each other, which is slow though not wrong.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be kept.
    pub fn of_dir(dir: &Path, fresh: [u8; 16]) -> Result<Self, Error> {
        let path = dir.join(FILE);
        if let Some(kept) = std::fs::read_to_string(&path)
            .ok()
            .and_then(|text| Self::parse(text.trim()))
        {
            return Ok(kept);
        }
        let fresh = Self(fresh);
        let unfinished = dir.join(format!("{FILE}.new"));
        let write = || {
            std::fs::create_dir_all(dir)?;
            let mut file = std::fs::File::create(&unfinished)?;
            writeln!(file, "{fresh}")?;
            file.sync_all()?;
            std::fs::rename(&unfinished, &path)
        };
        write().map_err(|source| Error::Io {
            doing: "keep the instance id in",
            path: path.clone(),
            source,
        })?;
        Ok(fresh)
    }

    /// From 32 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.is_ascii() {
            return None;
        }
        let mut bytes = [0; 16];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_dir_keeps_its_instance() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let first = InstanceId::of_dir(&data, [7; 16]).unwrap();
        assert_eq!(first, InstanceId([7; 16]));
        assert_eq!(InstanceId::of_dir(&data, [8; 16]).unwrap(), first);
        std::fs::write(data.join(FILE), "garbage").unwrap();
        let fresh = InstanceId::of_dir(&data, [9; 16]).unwrap();
        assert_eq!(fresh, InstanceId([9; 16]));
        assert_eq!(InstanceId::of_dir(&data, [1; 16]).unwrap(), fresh);
    }
}
