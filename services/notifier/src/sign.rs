//! Signatures as Standard Webhooks has them: HMAC-SHA256 over "id.timestamp.body".

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

const PREFIX: &str = "whsec_";
/// Shortest key, bytes.
const KEY_BYTES_MIN: usize = 24;
/// Longest key, bytes.
const KEY_BYTES_MAX: usize = 64;

/// Most keys at a time.
const KEYS_MAX: usize = 8;

/// Signing keys: one, or several while they are rotated. Never printed.
#[derive(Clone)]
pub struct Secret(Vec<Vec<u8>>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Secret {
    /// Reads keys, with white space between them: "whsec_" and base64 of 24 to 64 bytes each.
    ///
    /// # Errors
    /// What is wrong, in words that do not repeat the secret.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let keys: Vec<_> = text.split_whitespace().map(key).collect::<Result<_, _>>()?;
        match keys.len() {
            0 => Err("the secret is empty"),
            1..=KEYS_MAX => Ok(Self(keys)),
            _ => Err("more than 8 signing keys"),
        }
    }

    /// The value of `webhook-signature` for a message sent at `seconds` since 1970: a signature a
    /// key, so that a receiver takes it with the old key and with the new one.
    #[must_use]
    pub fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> String {
        let signatures: Vec<_> = self
            .0
            .iter()
            .filter_map(|key| signature(key, id, seconds, body))
            .collect();
        signatures.join(" ")
    }
}

fn key(text: &str) -> Result<Vec<u8>, &'static str> {
    let encoded = text
        .strip_prefix(PREFIX)
        .ok_or("the secret does not start with whsec_")?;
    let key = STANDARD
        .decode(encoded)
        .map_err(|_| "the secret is no base64 after whsec_")?;
    if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()) {
        return Err("the secret must hold 24 to 64 bytes");
    }
    Ok(key)
}

fn signature(key: &[u8], id: &str, seconds: i64, body: &[u8]) -> Option<String> {
    // HMAC takes keys of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body);
    Some(format!(
        "v1,{}",
        STANDARD.encode(mac.finalize().into_bytes())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_the_example_of_the_specification() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = secret.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn while_keys_are_rotated_each_signs() {
        let (old, new) = (
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        );
        let sign = |text: &str| Secret::parse(text).unwrap().sign("id", 1, b"{}");
        let both = sign(&format!("{new}\n{old}\n"));
        assert_eq!(both, format!("{} {}", sign(new), sign(old)));
        assert!(Secret::parse(" \n").is_err());
        assert!(Secret::parse(&format!("{old} ").repeat(9)).is_err());
    }

    #[test]
    fn a_weak_or_broken_secret_is_refused_without_being_shown() {
        for text in [
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_%%",
            "whsec_c2hvcnQ=",
        ] {
            let refusal = Secret::parse(text).unwrap_err();
            assert!(!refusal.contains(text));
        }
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }
}
