//! A receiver's secret, and how it goes along with a call. Never printed, never in an error.

use balefire_notifier_core::receiver::{Auth, Target};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;

use crate::sign::Secret;

/// Longest secret, bytes.
const SECRET_BYTES_MAX: usize = 4096;

/// A secret in its place.
#[derive(Clone)]
pub enum Key {
    /// There is none.
    None,
    /// Signs.
    Signing(Secret),
    /// Goes into Authorization: the whole value, and what is hidden in errors.
    Header(HeaderValue, String),
    /// The first field of a JSON body: its name, its value.
    Field(&'static str, String),
    /// Part of the URL.
    Path(String),
    /// Buys tokens.
    Client(String),
    /// User and password.
    Login(String, String),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// Of the text that a file or a variable holds.
    ///
    /// # Errors
    /// What is wrong, in words that do not repeat the secret.
    pub fn of(target: &Target, text: Option<&str>) -> Result<Self, &'static str> {
        let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
            return match target.needs_secret() {
                true => Err("this target needs secret_file or secret_env"),
                false => Ok(Self::None),
            };
        };
        if let Auth::Signature = target.auth() {
            return Secret::parse(text).map(Self::Signing);
        }
        if text.len() > SECRET_BYTES_MAX || text.chars().any(char::is_control) {
            return Err("the secret is longer than 4096 bytes or more than one line");
        }
        let header = |value: String| HeaderValue::from_str(&value);
        let value = match target.auth() {
            Auth::Authorization(word) => header(format!("{word} {text}")),
            Auth::Basic if !text.contains(':') => return Err("the secret is no user:password"),
            Auth::Basic => header(format!("Basic {}", STANDARD.encode(text))),
            Auth::Login => {
                let Some((user, password)) = text.split_once(':') else {
                    return Err("the secret is no user:password");
                };
                return Ok(Self::Login(user.to_owned(), password.to_owned()));
            }
            Auth::Field(name) => return Ok(Self::Field(name, text.to_owned())),
            Auth::Path => return path(text),
            Auth::ClientCredentials { .. } => return Ok(Self::Client(text.to_owned())),
            Auth::None | Auth::Signature => return Err("this target takes no secret"),
        };
        let value = value.map_err(|_| "the secret cannot stand in a header")?;
        Ok(Self::Header(value, text.to_owned()))
    }

    /// The part of the URL that is secret.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Path(path) => Some(path),
            Self::None
            | Self::Signing(_)
            | Self::Header(..)
            | Self::Field(..)
            | Self::Login(..)
            | Self::Client(_) => None,
        }
    }

    /// What buys tokens.
    #[must_use]
    pub fn client_secret(&self) -> Option<&str> {
        match self {
            Self::Client(secret) => Some(secret),
            Self::None
            | Self::Signing(_)
            | Self::Header(..)
            | Self::Field(..)
            | Self::Login(..)
            | Self::Path(_) => None,
        }
    }

    /// User and password.
    #[must_use]
    pub fn login(&self) -> Option<(&str, &str)> {
        match self {
            Self::Login(user, password) => Some((user, password)),
            Self::None
            | Self::Signing(_)
            | Self::Header(..)
            | Self::Field(..)
            | Self::Path(_)
            | Self::Client(_) => None,
        }
    }

    /// The value of Authorization.
    #[must_use]
    pub fn authorization(&self) -> Option<HeaderValue> {
        match self {
            Self::Header(value, _) => Some(value.clone()),
            Self::None
            | Self::Signing(_)
            | Self::Field(..)
            | Self::Path(_)
            | Self::Login(..)
            | Self::Client(_) => None,
        }
    }

    /// The signature of a webhook.
    #[must_use]
    pub fn signature(&self, id: &str, seconds: i64, body: &[u8]) -> Option<String> {
        match self {
            Self::Signing(secret) => Some(secret.sign(id, seconds, body)),
            Self::None
            | Self::Header(..)
            | Self::Field(..)
            | Self::Path(_)
            | Self::Login(..)
            | Self::Client(_) => None,
        }
    }

    /// The body that goes out: with the secret in it where that is its place.
    #[must_use]
    pub fn into_body(&self, body: Vec<u8>) -> Vec<u8> {
        let (Self::Field(name, value), Some((b'{', rest))) = (self, body.split_first()) else {
            return body;
        };
        let value = serde_json::Value::from(value.as_str());
        let mut whole = format!("{{\"{name}\":{value}").into_bytes();
        if rest != b"}" {
            whole.push(b',');
        }
        whole.extend_from_slice(rest);
        whole
    }

    /// A text with the secret taken out.
    #[must_use]
    pub fn hide(&self, text: &str) -> String {
        match self {
            Self::Header(_, secret)
            | Self::Field(_, secret)
            | Self::Path(secret)
            | Self::Client(secret)
            | Self::Login(_, secret) => text.replace(secret, "[secret]"),
            Self::None | Self::Signing(_) => text.to_owned(),
        }
    }
}

fn path(text: &str) -> Result<Key, &'static str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_');
    if text.bytes().all(plain) {
        Ok(Key::Path(text.trim_matches('/').to_owned()))
    } else {
        Err("the secret is the part of the URL behind /services/ and nothing else")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(target: &Target, text: &str) -> Result<Key, &'static str> {
        Key::of(target, Some(text))
    }

    #[test]
    fn each_target_gets_its_secret_where_it_looks_for_it() {
        let splunk = key(&Target::Splunk(Default::default()), "tok\n").unwrap();
        assert_eq!(splunk.authorization().unwrap(), "Splunk tok");
        let jira = key(&Target::Jira(Default::default()), "a@b:c").unwrap();
        assert_eq!(jira.authorization().unwrap(), "Basic YUBiOmM=");
        let pager = key(&Target::Pagerduty(Default::default()), "R\"1").unwrap();
        let body = pager.into_body(br#"{"a":1}"#.to_vec());
        assert_eq!(body, br#"{"routing_key":"R\"1","a":1}"#);
        assert_eq!(
            pager.into_body(b"{}".to_vec()),
            br#"{"routing_key":"R\"1"}"#
        );
        let slack = key(&Target::SlackWebhook(Default::default()), "/T/B/x").unwrap();
        assert_eq!(slack.path(), Some("T/B/x"));
    }

    #[test]
    fn a_secret_is_refused_hidden_and_never_printed() {
        assert!(Key::of(&Target::Pagerduty(Default::default()), None).is_err());
        assert!(key(&Target::Jira(Default::default()), "nocolon").is_err());
        assert!(key(&Target::SlackWebhook(Default::default()), "T?x=1").is_err());
        assert!(key(&Target::Splunk(Default::default()), "a\nb").is_err());
        let splunk = key(&Target::Splunk(Default::default()), "hunter2").unwrap();
        assert_eq!(splunk.hide("bad token hunter2"), "bad token [secret]");
        assert!(!format!("{splunk:?}").contains("hunter2"));
    }
}
