//! Bytes of the messages inside an event: identities, keys, labels, evidence, joins.

use std::borrow::Cow;

use balefire_event::{
    Assurance, CorrelationKey, Digest, EvidenceRef, Extension, Identity, IdentityKind, Join,
    KeyKind, Sealed, SubjectRef,
};

use crate::Error;
use crate::bytes_reader::Fields;
use crate::bytes_writer as put;

pub(crate) fn put_sealed(sealed: &Sealed<'_>, out: &mut Vec<u8>) {
    put::uint(1, u64::from(sealed.scheme), out);
    put::uint(2, u64::from(sealed.key_epoch), out);
    put::bytes(3, &sealed.data, out);
}

fn sealed(bytes: &[u8]) -> Result<Sealed<'_>, Error> {
    let mut sealed = Sealed {
        scheme: 0,
        key_epoch: 0,
        data: Cow::Borrowed(&[]),
    };
    let mut fields = Fields::of(bytes, "sealed");
    while let Some(field) = fields.next()? {
        match field.number {
            1 => sealed.scheme = field.uint32("sealed scheme")?,
            2 => sealed.key_epoch = field.uint32("sealed key_epoch")?,
            3 => sealed.data = Cow::Borrowed(field.bytes("sealed data")?),
            _ => {}
        }
    }
    Ok(sealed)
}

pub(crate) fn put_identity(identity: &Identity<'_>, out: &mut Vec<u8>) {
    put::present_bytes(1, &identity.subject_ref.0, out);
    put::enumeration(2, identity.kind.number(), out);
    put::enumeration(3, identity.assurance.number(), out);
    put::text(4, &identity.via, out);
    if let Some(label) = &identity.label {
        put::nested(5, out, |out| put_sealed(label, out));
    }
}

pub(crate) fn identity(bytes: &[u8]) -> Result<Identity<'_>, Error> {
    let (mut subject_ref, mut kind, mut assurance, mut via, mut label) =
        (None, None, None, "", None);
    let mut fields = Fields::of(bytes, "identity");
    while let Some(field) = fields.next()? {
        match field.number {
            1 => subject_ref = SubjectRef::from_slice(field.bytes("subject_ref")?).ok(),
            2 => kind = IdentityKind::from_number(field.number("identity kind")?),
            3 => assurance = Assurance::from_number(field.number("identity assurance")?),
            4 => via = field.text("identity via")?,
            5 => label = Some(sealed(field.bytes("identity label")?)?),
            _ => {}
        }
    }
    Ok(Identity {
        subject_ref: subject_ref.ok_or(Error::malformed("subject_ref"))?,
        kind: kind.ok_or(Error::malformed("identity kind"))?,
        assurance: assurance.ok_or(Error::malformed("identity assurance"))?,
        via: Cow::Borrowed(via),
        label,
    })
}

pub(crate) fn put_key(key: &CorrelationKey<'_>, out: &mut Vec<u8>) {
    put::enumeration(1, key.kind.number(), out);
    put::text(2, &key.value, out);
}

pub(crate) fn key(bytes: &[u8]) -> Result<CorrelationKey<'_>, Error> {
    let (mut kind, mut value) = (None, "");
    let mut fields = Fields::of(bytes, "correlation key");
    while let Some(field) = fields.next()? {
        match field.number {
            1 => kind = KeyKind::from_number(field.number("key kind")?),
            2 => value = field.text("key value")?,
            _ => {}
        }
    }
    Ok(CorrelationKey {
        kind: kind.ok_or(Error::malformed("key kind"))?,
        value: Cow::Borrowed(value),
    })
}

pub(crate) fn put_evidence(evidence: &EvidenceRef, out: &mut Vec<u8>) {
    put::present_bytes(1, &evidence.digest.0, out);
    put::uint(2, evidence.size_bytes, out);
    put::flag(3, evidence.truncated, out);
}

pub(crate) fn evidence(bytes: &[u8]) -> Result<EvidenceRef, Error> {
    let (mut digest, mut size_bytes, mut truncated) = (None, 0, false);
    let mut fields = Fields::of(bytes, "evidence");
    while let Some(field) = fields.next()? {
        match field.number {
            1 => digest = Digest::from_slice(field.bytes("evidence digest")?).ok(),
            2 => size_bytes = field.uint64("evidence size_bytes")?,
            3 => truncated = field.flag("evidence truncated")?,
            _ => {}
        }
    }
    Ok(EvidenceRef {
        digest: digest.ok_or(Error::malformed("evidence digest"))?,
        size_bytes,
        truncated,
    })
}

pub(crate) fn put_join(join: &Join, out: &mut Vec<u8>) {
    put::flag(1, join.partial, out);
    put::flag(2, join.amendment, out);
    for name in &join.filled {
        put::present_bytes(3, name.as_bytes(), out);
    }
}

pub(crate) fn join(bytes: &[u8]) -> Result<Join, Error> {
    let mut join = Join::default();
    let mut fields = Fields::of(bytes, "join");
    while let Some(field) = fields.next()? {
        match field.number {
            1 => join.partial = field.flag("join partial")?,
            2 => join.amendment = field.flag("join amendment")?,
            3 => join.filled.push(field.text("join filled")?.to_owned()),
            _ => {}
        }
    }
    Ok(join)
}

/// Labels and extensions are both a name and a value.
pub(crate) fn put_pair(name: &str, value: &str, out: &mut Vec<u8>) {
    put::text(1, name, out);
    put::text(2, value, out);
}

fn pair<'a>(bytes: &'a [u8], what: &'static str) -> Result<(&'a str, &'a str), Error> {
    let (mut name, mut value) = ("", "");
    let mut fields = Fields::of(bytes, what);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => name = field.text(what)?,
            2 => value = field.text(what)?,
            _ => {}
        }
    }
    Ok((name, value))
}

pub(crate) fn label(bytes: &[u8]) -> Result<(Cow<'_, str>, Cow<'_, str>), Error> {
    let (name, value) = pair(bytes, "label")?;
    Ok((Cow::Borrowed(name), Cow::Borrowed(value)))
}

pub(crate) fn extension(bytes: &[u8]) -> Result<Extension<'_>, Error> {
    let (name, json) = pair(bytes, "extension")?;
    Ok(Extension {
        name: Cow::Borrowed(name),
        json: Cow::Borrowed(json),
    })
}
