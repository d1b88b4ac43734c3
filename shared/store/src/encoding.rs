//! Bytes of a state, by serde.

use serde::{Serialize, de::DeserializeOwned};

use crate::error::Error;

/// Encodes a state. Compact, not self-describing: put a version beside it.
///
/// # Errors
/// [`Error::Encoding`] where serde refuses.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, Error> {
    bincode::serde::encode_to_vec(value, bincode::config::standard()).map_err(|e| Error::Encoding {
        doing: "encode",
        reason: e.to_string(),
    })
}

/// The same behind what `bytes` hold already.
pub(crate) fn encode_into<T: Serialize>(value: &T, bytes: &mut Vec<u8>) -> Result<(), Error> {
    let config = bincode::config::standard();
    match bincode::serde::encode_into_std_write(value, bytes, config) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::Encoding {
            doing: "encode",
            reason: error.to_string(),
        }),
    }
}

/// Decodes what [`encode`] wrote.
///
/// # Errors
/// [`Error::Encoding`] for bytes of anything else, trailing bytes included.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let mut rest = bytes;
    let value = decode_next(&mut rest)?;
    if !rest.is_empty() {
        return Err(refused(format!("{} bytes too many", rest.len())));
    }
    Ok(value)
}

/// Decodes the first of what was encoded one behind the other; `bytes` are those behind it then.
///
/// # Errors
/// [`Error::Encoding`] for bytes of anything else.
pub fn decode_next<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<T, Error> {
    let (value, read) = bincode::serde::decode_from_slice(bytes, bincode::config::standard())
        .map_err(|e| refused(e.to_string()))?;
    *bytes = bytes.get(read..).unwrap_or_default();
    Ok(value)
}

const fn refused(reason: String) -> Error {
    Error::Encoding {
        doing: "decode",
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_it_encoded_and_nothing_else() {
        let value = (7u64, "seven".to_owned(), vec![Some(-7i64), None]);
        let mut bytes = encode(&value).unwrap();
        assert_eq!(
            decode::<(u64, String, Vec<Option<i64>>)>(&bytes).unwrap(),
            value
        );
        let both = [bytes.clone(), encode(&9u8).unwrap()].concat();
        let mut rest = both.as_slice();
        assert_eq!(
            decode_next::<(u64, String, Vec<Option<i64>>)>(&mut rest).unwrap(),
            value
        );
        assert_eq!(decode_next::<u8>(&mut rest).unwrap(), 9);
        assert!(rest.is_empty() && decode_next::<u8>(&mut rest).is_err());
        bytes.push(0);
        assert!(decode::<(u64, String, Vec<Option<i64>>)>(&bytes).is_err());
        assert!(decode::<(u64, String, Vec<Option<i64>>)>(&bytes[..3]).is_err());
    }
}
