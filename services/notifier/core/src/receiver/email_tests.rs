use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::classify::Verdict;
use crate::samples::{escalation, hostile, nasty, of_kind, view};

fn config() -> Config {
    Config {
        from: "balefire@soc.example".into(),
        to: "a@soc.example, b@soc.example".into(),
    }
}

/// Reads base64 back, for the check.
fn unbase64(text: &str) -> Vec<u8> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for c in text.bytes().filter(|b| *b != b'=') {
        let digit = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            other => panic!("{other} in base64"),
        };
        bits = (bits << 6) | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 255).unwrap());
        }
    }
    bytes
}

/// Headers and text of a message.
fn read(message: &[u8]) -> (BTreeMap<String, String>, String) {
    let text = std::str::from_utf8(message).unwrap();
    assert!(text.is_ascii());
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let unfolded = head.replace("\r\n ", " ");
    let mut headers = BTreeMap::new();
    for header in unfolded.split("\r\n") {
        let (name, value) = header.split_once(": ").unwrap();
        assert_eq!(headers.insert(name.to_owned(), value.to_owned()), None);
    }
    for line in text.split("\r\n") {
        assert!(line.len() <= 998 && !line.contains(['\r', '\n']));
    }
    let body: String = body.split("\r\n").collect();
    (headers, String::from_utf8(unbase64(&body)).unwrap())
}

fn subject(headers: &BTreeMap<String, String>) -> String {
    let words = headers["Subject"].split(' ').map(|word| {
        assert!(word.len() <= 75, "{word}");
        let inner = word.strip_prefix("=?UTF-8?B?").unwrap();
        String::from_utf8(unbase64(inner.strip_suffix("?=").unwrap())).unwrap()
    });
    words.collect()
}

const NAMES: [&str; 9] = [
    "Auto-Submitted",
    "Content-Transfer-Encoding",
    "Content-Type",
    "Date",
    "From",
    "MIME-Version",
    "Message-ID",
    "Subject",
    "To",
];

#[test]
fn a_message_is_what_a_mail_reader_expects() {
    let call = encode(&config(), &view(&escalation()));
    let (headers, text) = read(&call.body);
    let names: Vec<&str> = headers.keys().map(String::as_str).collect();
    assert_eq!(names, NAMES);
    assert_eq!(headers["Date"], "Wed, 11 Feb 2026 14:30:00 +0000");
    let id = "ab".repeat(16);
    assert_eq!(headers["Message-ID"], format!("<{id}@soc.example>"));
    assert_eq!(headers["To"], "a@soc.example, b@soc.example");
    assert!(subject(&headers).starts_with("HIGH "));
    assert!(text.contains("What to do first: "));
    let closed = encode(&config(), &of_kind(EscalationKind::Closed));
    let (headers, _) = read(&closed.body);
    let thread = format!("<{}@soc.example>", "cd".repeat(16));
    assert_eq!(headers["References"], thread);
    assert_eq!(headers["In-Reply-To"], thread);
    assert_eq!(
        headers["Message-ID"],
        format!("<{id}.closed.0@soc.example>")
    );
}

/// The page of e-mail shows the message as it is read.
#[test]
fn the_page_shows_a_message_as_it_is_read() {
    let page = include_str!("../../../../../docs/receivers/email.md");
    let config = Config {
        to: "oncall@soc.example, lead@soc.example".into(),
        ..config()
    };
    let (headers, text) = read(&encode(&config, &view(&escalation())).body);
    for (name, value) in &headers {
        let value = match name.as_str() {
            "Subject" => subject(&headers),
            _ => value.clone(),
        };
        assert!(page.contains(&format!("\n{name}: {value}\n")), "{name}");
    }
    assert!(page.contains(text.replace("\r\n", "\n").trim_end()));
}

proptest! {
    /// parse(encode(x)) = x, and no header more than there should be.
    #[test]
    fn hostile_text_stays_text(user in nasty(), text in nasty()) {
        let mut record = hostile(&user, &text);
        record.title = text.clone();
        let seen = view(&record);
        let (headers, body) = read(&encode(&config(), &seen).body);
        let names: Vec<&str> = headers.keys().map(String::as_str).collect();
        prop_assert_eq!(names, NAMES);
        let story = Story::of(&seen);
        prop_assert_eq!(subject(&headers), clip(&story.headline, SUBJECT_CHARS_MAX));
        prop_assert_eq!(body, story.text(TEXT_CHARS_MAX).replace('\n', "\r\n"));
    }

    #[test]
    fn base64_is_read_back(bytes in prop::collection::vec(any::<u8>(), 0..70)) {
        prop_assert_eq!(unbase64(&base64(&bytes)), bytes);
    }
}

fn told(address: &str, code: u16) -> Told {
    Told {
        address: format!("{address}@soc.example"),
        code,
        text: "said".into(),
    }
}

#[test]
fn each_recipient_has_it_once() {
    let seen = view(&escalation());
    let config = config();
    let sum = |handle: &str, told: &[Told]| outcome(&config, &seen, handle, told);
    let both = sum("", &[told("a", 250), told("b", 250)]);
    assert_eq!(both.verdict, Verdict::Delivered);
    assert_eq!((both.handle.as_str(), both.error.as_str()), ("", ""));
    let one = sum("", &[told("a", 250), told("b", 451)]);
    assert_eq!(one.verdict, Verdict::Retry { after: None });
    assert_eq!(still(&config, &seen, &one.handle), ["b@soc.example"]);
    assert_eq!(
        still(&config, &of_kind(EscalationKind::Closed), &one.handle).len(),
        2
    );
    let then = sum(&one.handle, &[told("b", 550)]);
    assert_eq!(then.verdict, Verdict::Permanent);
    assert!(then.error.contains("told: a@soc.example"), "{}", then.error);
    assert_eq!(still(&config, &seen, &then.handle), ["b@soc.example"]);
    let nobody = sum("", &[told("a", 550), told("b", 0)]);
    assert_eq!(nobody.verdict, Verdict::Retry { after: None });
    assert_eq!(nobody.handle, "");
}

#[test]
fn addresses_cannot_end_a_command_or_a_header() {
    for bad in [
        "",
        "a",
        "@b",
        "a@",
        "a b@c",
        "a@b>\r\nRCPT TO:<x@y",
        "a@b,c@d",
        "ä@b",
        "a@b@c",
    ] {
        assert!(!is_address(bad), "{bad:?}");
    }
    assert_eq!(config().fault(), None);
    let none = Config {
        to: " , ".into(),
        ..config()
    };
    assert!(none.fault().is_some());
}
