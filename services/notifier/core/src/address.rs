//! Which addresses a receiver may have. A URL is written by people and resolved by a name server;
//! neither may lead a notifier to its own host or network unless that was allowed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

impl Network {
    /// Reads "10.1.0.0/16", "fd00::/8" or one address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address.parse().ok()?, Some(prefix.parse().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let longest = match address {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        let prefix = prefix.unwrap_or(longest);
        (prefix <= longest).then_some(Self { address, prefix })
    }

    /// Whether an address lies in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(one)) => {
                let differing = u32::from(net) ^ u32::from(one);
                differing.checked_shr(32 - self.prefix).unwrap_or(0) == 0
            }
            (IpAddr::V6(net), IpAddr::V6(one)) => {
                let differing = u128::from(net) ^ u128::from(one);
                differing.checked_shr(128 - self.prefix).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// What is allowed beyond public addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressPolicy {
    /// This host, over plain HTTP too.
    pub loopback: bool,
    /// Networks that are ours though they are private.
    pub networks: Vec<Network>,
}

impl AddressPolicy {
    /// Whether an address was allowed by name, and not only because it is public.
    #[must_use]
    pub fn is_named(&self, address: IpAddr) -> bool {
        let address = embedded(address);
        (self.loopback && address.is_loopback())
            || self.networks.iter().any(|net| net.contains(address))
    }

    /// Why an address is refused; `None`: it may be called.
    #[must_use]
    pub fn refusal(&self, address: IpAddr) -> Option<&'static str> {
        let address = embedded(address);
        if address.is_loopback() {
            return (!self.loopback).then_some("loopback address");
        }
        if self.networks.iter().any(|net| net.contains(address)) {
            return None;
        }
        match address {
            IpAddr::V4(address) => refusal_v4(address),
            IpAddr::V6(address) => refusal_v6(address),
        }
    }
}

/// The IPv4 address that an IPv6 address stands for (mapped, 6to4, NAT64), else itself.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = address else {
        return address;
    };
    if six.is_loopback() || six.is_unspecified() {
        return address;
    }
    let [a, b, c, d, e, f, g, h] = six.segments();
    let (high, low) = match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff | 0] | [0x64, 0xff9b, 0, 0, 0, 0] => (g, h),
        [0x2002, high, low, ..] => (high, low),
        _ => return address,
    };
    IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
}

fn refusal_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (169, 254, _) => Some("link-local or metadata address"),
        (168, 63, 129) => Some("platform metadata address"),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Some("private address"),
        (100, 64..=127, _) => Some("shared address space"),
        (0, ..) | (192, 0, 0) | (198, 18..=19, _) | (240..=255, ..) => Some("reserved address"),
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => Some("documentation address"),
        (224..=239, ..) => Some("multicast address"),
        _ => None,
    }
}

fn refusal_v6(address: Ipv6Addr) -> Option<&'static str> {
    let [a, b, ..] = address.segments();
    if address.is_unspecified() {
        Some("reserved address")
    } else if a & 0xfe00 == 0xfc00 {
        Some("private address")
    } else if a & 0xffc0 == 0xfe80 {
        Some("link-local or metadata address")
    } else if a & 0xff00 == 0xff00 {
        Some("multicast address")
    } else if (a, b) == (0x2001, 0xdb8) {
        Some("documentation address")
    } else if a & 0xe000 != 0x2000 {
        Some("reserved address")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(policy: &AddressPolicy, address: &str) -> bool {
        policy.refusal(address.parse().unwrap()).is_some()
    }

    #[test]
    fn own_host_and_network_are_refused_in_every_spelling() {
        let policy = AddressPolicy::default();
        for address in [
            "127.0.0.1",
            "127.8.8.8",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "0.0.0.0",
            "::",
            "10.0.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "168.63.129.16",
            "100.100.100.200",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "224.0.0.1",
            "255.255.255.255",
            "203.0.113.7",
            "2001:db8::1",
        ] {
            assert!(refused(&policy, address), "{address}");
        }
        for address in ["1.1.1.1", "172.32.0.1", "2606:4700::1111", "93.184.216.34"] {
            assert!(!refused(&policy, address), "{address}");
        }
    }

    #[test]
    fn what_was_allowed_is_called() {
        let policy = AddressPolicy {
            loopback: true,
            networks: vec![Network::parse("10.1.0.0/16").unwrap()],
        };
        assert!(!refused(&policy, "127.0.0.1"));
        assert!(!refused(&policy, "::ffff:127.0.0.1"));
        assert!(!refused(&policy, "10.1.255.1"));
        assert!(refused(&policy, "10.2.0.1"));
    }

    #[test]
    fn a_network_is_read_or_refused() {
        let all = Network::parse("0.0.0.0/0").unwrap();
        assert!(all.contains("8.8.8.8".parse().unwrap()));
        let one = Network::parse("fd00::1").unwrap();
        assert!(one.contains("fd00::1".parse().unwrap()));
        assert!(!one.contains("fd00::2".parse().unwrap()));
        for text in ["10.0.0.0/33", "fd00::/129", "ten", "", "10.0.0.0/", "/8"] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
    }
}
