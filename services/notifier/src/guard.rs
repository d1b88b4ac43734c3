//! Which addresses a call may reach: the URL's own, and every one that its name leads to. A name is
//! looked up once, and what was looked up is connected to.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use balefire_notifier_core::address::AddressPolicy;
use balefire_notifier_core::receiver::Target;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONNECTION, HeaderMap, HeaderValue};
use reqwest::{Client, Url};
use rustls::pki_types::CertificateDer;

const CONNECT_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub(crate) struct Guard {
    pub(crate) policy: Arc<AddressPolicy>,
    pub(crate) plain: Plain,
}

/// What may be called without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plain {
    /// Nothing: it is TLS.
    No,
    /// This host.
    Loopback,
    /// This host and the networks that were allowed, where they were.
    Allowed,
}

/// An address that may not be called.
#[derive(Debug, thiserror::Error)]
#[error("{address} may not be called: {reason}")]
pub(crate) struct Refused {
    address: IpAddr,
    reason: &'static str,
}

impl Guard {
    pub(crate) fn check(&self, address: IpAddr) -> Result<(), Refused> {
        let reason = match self.policy.refusal(address) {
            Some(reason) => reason,
            None if self.plain == Plain::Loopback && !address.to_canonical().is_loopback() => {
                "without TLS only this host may be called"
            }
            None if self.plain == Plain::Allowed && !self.policy.is_named(address) => {
                "without TLS only this host and allowed networks may be called"
            }
            None => return Ok(()),
        };
        Err(Refused { address, reason })
    }
}

/// Looks a name up and lets through what the guard allows.
#[derive(Debug)]
pub(crate) struct GuardedResolver(Guard);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let (mut allowed, mut refused) = (Vec::new(), None);
            for address in found {
                match guard.check(address.ip()) {
                    Ok(()) => allowed.push(address),
                    Err(refusal) => refused = Some(refusal),
                }
            }
            match refused {
                Some(refusal) if allowed.is_empty() => Err(refusal.into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

/// Whether a URL may be spoken to without TLS.
pub(crate) fn plain(url: &Url, target: &Target, policy: &AddressPolicy) -> Result<Plain, String> {
    match (url.scheme(), target) {
        ("tcp", Target::Syslog(_)) if url.port().is_none() => {
            Err("a syslog URL names its port: tcp://host:514".into())
        }
        ("tcp", Target::Syslog(_)) => Ok(Plain::Allowed),
        ("tls", Target::Syslog(_)) => Ok(Plain::No),
        (_, Target::Syslog(_)) => Err("a syslog URL is tcp://host:port or tls://host:port".into()),
        ("smtps", Target::Email(_)) => Ok(Plain::No),
        // Without STARTTLS only this host and allowed networks: seen when it answers.
        ("smtp", Target::Email(_)) if policy.loopback || !policy.networks.is_empty() => {
            Ok(Plain::Allowed)
        }
        ("smtp", Target::Email(_)) => Ok(Plain::No),
        (_, Target::Email(_)) => {
            Err("an e-mail URL is smtp://host:port or smtps://host:port".into())
        }
        ("file", Target::Ocsf(_)) => Ok(Plain::Allowed),
        ("https", _) => Ok(Plain::No),
        ("http", _) if policy.loopback => Ok(Plain::Loopback),
        ("http", _) => Err("the URL must be https".into()),
        (other, _) => Err(format!("{other} is not spoken; use https")),
    }
}

pub(crate) fn literal(url: &Url) -> Result<Option<IpAddr>, String> {
    if url.scheme() == "file" {
        return Ok(None);
    }
    let host = url.host_str().ok_or("the URL names no host")?;
    Ok(host.trim_matches(['[', ']']).parse().ok())
}

pub(crate) fn client(
    guard: &Guard,
    roots: &[CertificateDer<'static>],
    deadline: Duration,
) -> Result<Client, reqwest::Error> {
    // HTTP/1.1 gives an answer to whoever called last on the connection: a receiver that answers
    // once too often would acknowledge a call that it never read. HTTP/2 names the call, and its
    // connection is kept: there this header is left out.
    let close = (CONNECTION, HeaderValue::from_static("close"));
    let mut builder = Client::builder().default_headers(HeaderMap::from_iter([close]));
    if !roots.is_empty() {
        let each = roots
            .iter()
            .map(|root| reqwest::Certificate::from_der(root));
        builder = builder.tls_certs_merge(each.collect::<Result<Vec<_>, _>>()?);
    }
    builder
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .timeout(deadline)
        .connect_timeout(CONNECT_MAX.min(deadline))
        .user_agent(concat!("balefire/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Arc::new(GuardedResolver(guard.clone())))
        .build()
}
