//! Owns an address block (`10.0.0.0/8`, `2001:db8::/32`) and says whether an address lies in it.

use std::net::{IpAddr, Ipv4Addr};

/// A CIDR block. Addresses that are IPv4 inside IPv6 (`::ffff:10.0.0.1`) count as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cidr {
    network: u128,
    mask: u128,
    v4: bool,
}

impl Cidr {
    /// Parses `address/bits`, or a lone address as a block of one. `None`: it is neither, or the
    /// bits do not fit.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().ok()?)),
            None => (text, None),
        };
        let address = address.parse::<IpAddr>().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        if bits > width {
            return None;
        }
        // An IPv4 block lies in the last 32 bits of the 128.
        let host = width - bits;
        let mask = u128::MAX.checked_shl(host).unwrap_or(0);
        let (value, v4) = number(address);
        Some(Self {
            network: value & mask,
            mask,
            v4,
        })
    }

    /// Whether the text is an address in the block. Text that is no address is in none.
    pub(crate) fn contains(&self, text: &str) -> bool {
        text.trim().parse::<IpAddr>().is_ok_and(|address| {
            let (value, v4) = number(address.to_canonical());
            v4 == self.v4 && value & self.mask == self.network
        })
    }
}

fn number(address: IpAddr) -> (u128, bool) {
    match address {
        IpAddr::V4(v4) => (u128::from(Ipv4Addr::to_bits(v4)), true),
        IpAddr::V6(v6) => (v6.to_bits(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(block: &str, address: &str) -> bool {
        Cidr::parse(block).expect("a block").contains(address)
    }

    #[test]
    fn addresses_lie_in_their_blocks_only() {
        assert!(within("10.0.0.0/8", "10.255.0.1"));
        assert!(!within("10.0.0.0/8", "11.0.0.1"));
        assert!(within("10.0.0.7", "10.0.0.7") && !within("10.0.0.7", "10.0.0.8"));
        assert!(within("0.0.0.0/0", "203.0.113.9") && !within("0.0.0.0/0", "2001:db8::1"));
        assert!(within("2001:db8::/32", "2001:db8:1::1"));
        assert!(within("::/0", "2001:db8::1") && !within("::/0", "10.0.0.1"));
        assert!(within("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(!within("10.0.0.0/8", "not an address"));
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for text in ["10.0.0.0/33", "::/129", "ten", "10.0.0.0/", "10.0.0/8"] {
            assert_eq!(Cidr::parse(text), None, "{text}");
        }
    }
}
