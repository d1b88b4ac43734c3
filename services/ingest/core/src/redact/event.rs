//! Which fields of an event are masked, and how far.

use std::borrow::Cow;

use balefire_event::event::Text;
use balefire_event::{Event, Extension, IdentityKind, Sealed};

use super::glance::{Names, holds_nothing};
use super::sign::Signs;
use super::{Depth, Masked, masked, masked_suspect};
use crate::flatten::map_strings;
use crate::json::{quoted, unquoted};

/// Masks an event in place. Returns what was masked.
pub fn event(event: &mut Event<'_>) -> Masked {
    let mut count = Masked::default();
    for name in [
        &mut event.model,
        &mut event.judge_model,
        &mut event.judge_verdict,
        &mut event.policy_violated,
        &mut event.guardrail_result,
        &mut event.endpoint,
        &mut event.tool,
        &mut event.attack_type,
    ] {
        text(name, Depth::Name, &mut count);
    }
    text(&mut event.reason, Depth::Text, &mut count);
    api_key_label(event, &mut count);
    labels(&mut event.labels, &mut count);
    extensions(&mut event.extensions, &mut count);
    count
}

fn text(text: &mut Text<'_>, depth: Depth, count: &mut Masked) {
    if !text.is_empty()
        && let Some(new) = masked(text, depth)
    {
        count.count(text, &new);
        *text = Cow::Owned(new);
    }
}

/// A key sent where its id belongs: its subject is a hash and stays, what people see is masked.
fn api_key_label(event: &mut Event<'_>, count: &mut Masked) {
    let api_keys = event
        .actors
        .iter_mut()
        .filter(|actor| actor.kind == IdentityKind::ApiKey);
    for actor in api_keys {
        let label = actor.readable().unwrap_or_default();
        if let Some(new) = masked(label, Depth::Name) {
            count.count(label, &new);
            actor.label = Some(Sealed::plain(Cow::Owned(new)));
        }
    }
}

fn labels(labels: &mut [(Text<'_>, Text<'_>)], count: &mut Masked) {
    let mut renamed = false;
    for (name, value) in labels.iter_mut() {
        text(value, Depth::Text, count);
        if let Some(new) = masked(name, Depth::Text) {
            count.count(name, &new);
            *name = Cow::Owned(new);
            renamed = true;
        }
    }
    if renamed {
        labels.sort_by(|(one, _), (other, _)| one.cmp(other));
        distinct(labels.iter_mut().map(|(name, _)| name));
    }
}

fn extensions(extensions: &mut [Extension<'_>], count: &mut Masked) {
    for extension in extensions.iter_mut() {
        if let Some(json) = masked_json(&extension.json) {
            count.count(&extension.json, &json);
            extension.json = Cow::Owned(json);
        }
    }
    let mut names = Names::default();
    let mut texts = extensions.iter().map(|extension| extension.name.as_bytes());
    if !texts.all(|name| names.holds_nothing(name)) {
        rename(extensions, count);
    }
}

#[inline(never)]
fn rename(extensions: &mut [Extension<'_>], count: &mut Masked) {
    let mut renamed = false;
    for extension in extensions.iter_mut() {
        if let Some(new) = masked(&extension.name, Depth::Text) {
            count.count(&extension.name, &new);
            extension.name = Cow::Owned(new);
            renamed = true;
        }
    }
    if renamed {
        extensions.sort_by(|one, other| one.name.cmp(&other.name));
        distinct(extensions.iter_mut().map(|extension| &mut extension.name));
    }
}

/// Numbers names that masking made the same, in names sorted again, so that none is lost.
fn distinct<'n, 'a: 'n>(names: impl Iterator<Item = &'n mut Text<'a>>) {
    let (mut last, mut count) = (String::new(), 1);
    for name in names {
        if *name == last {
            count += 1;
            *name = Cow::Owned(format!("{last}#{count}"));
        } else {
            last = name.clone().into_owned();
            count = 1;
        }
    }
}

/// JSON text with every string of it masked, names too; text that is no JSON is masked whole.
#[must_use]
pub fn json(text: &str) -> String {
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    let new = match is_json {
        true => masked_json(text),
        false => masked(text, Depth::Text),
    };
    new.unwrap_or_else(|| text.to_owned())
}

/// Masks each string literal of JSON text; `None` where there is nothing to mask.
fn masked_json(json: &str) -> Option<String> {
    // Numbers stay; nor is there text in what is none, a list or an object.
    if !matches!(json.as_bytes(), [b'"' | b'[' | b'{', ..]) || holds_nothing(json.as_bytes()) {
        return None;
    }
    mask_strings(json)
}

#[inline(never)]
fn mask_strings(json: &str) -> Option<String> {
    if json.starts_with('"')
        && let Some(inner) = unquoted(json)
    {
        return masked_suspect(&inner, Depth::Text).map(|new| quoted(&new));
    }
    if !Signs::of_json(json).any() {
        return None;
    }
    let mut changed = false;
    let new = map_strings(json, |literal, out| {
        match masked(&unquoted(literal)?, Depth::Text) {
            Some(new) => {
                changed = true;
                out.push_str(&quoted(&new));
            }
            None => out.push_str(literal),
        }
        Some(())
    })?;
    changed.then_some(new)
}
