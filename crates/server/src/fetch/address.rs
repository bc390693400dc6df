//! Which addresses are public (the special-purpose registries of RFC 6890), and which the operator has allowed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use tokenry_core::realm::is_host;

/// Where a connection may go though it is not public.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Allowed {
    /// The host of this name, wherever it is.
    Host(String),
    /// Any host in this network.
    Network {
        /// The first address of the network.
        first: IpAddr,
        /// How many of its bits all addresses of the network have in common.
        bits: u8,
    },
}

/// Neither a host nor a network.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("neither a host name in lower case nor an address nor a network such as `10.0.0.0/8`")]
pub struct NotAllowable;

impl Allowed {
    /// Whether it is about this address of this host.
    pub(super) fn admits(&self, host: &str, address: IpAddr) -> bool {
        match self {
            Self::Host(name) => name == host,
            Self::Network { first, bits } => match (*first, plain(address)) {
                (IpAddr::V4(first), IpAddr::V4(address)) => within_v4(address, first, *bits),
                (IpAddr::V6(first), IpAddr::V6(address)) => within_v6(address, first, *bits),
                _ => false,
            },
        }
    }
}

/// A host name in lower case, an IP address, or a network in the form `10.0.0.0/8` of which only the network's bits are
/// set.
impl FromStr for Allowed {
    type Err = NotAllowable;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let Ok(first) = address.parse::<IpAddr>() else {
            // What looks like an address is none: a name service may still read `10.1` as one.
            let name =
                bits.is_none() && is_host(text) && !text.starts_with('[') && !is_numeric(text);
            return if name { Ok(Self::Host(text.to_owned())) } else { Err(NotAllowable) };
        };
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| NotAllowable)?;
        let whole = match first {
            _ if bits > most => false,
            IpAddr::V4(first) => first.to_bits() & !mask_v4(bits) == 0,
            IpAddr::V6(first) => first.to_bits() & !mask_v6(bits) == 0,
        };
        if whole { Ok(Self::Network { first, bits }) } else { Err(NotAllowable) }
    }
}

/// Whether the last label is a number, as it is in no name.
fn is_numeric(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    last.starts_with("0x") || last.bytes().all(|b| b.is_ascii_digit())
}

/// IPv4 networks in which nobody is reached over the public network.
const NOT_PUBLIC_V4: [(Ipv4Addr, u8); 16] = [
    // "This network" (RFC 791 §3.2); Linux takes 0.0.0.0 for itself.
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    // Private (RFC 1918), here and below.
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    // Behind a carrier's NAT (RFC 6598), and where one cloud has its metadata.
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    // Loopback (RFC 1122 §3.2.1.3).
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local (RFC 3927), and where most clouds have their metadata.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    // A public address by number, but that of the host below a virtual machine of one cloud.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    // Protocol assignments (RFC 6890 §2.1), and where one cloud has its metadata.
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    // Documentation (RFC 5737), here and below.
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    // Relays of 6to4, which are no more (RFC 7526).
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    // Benchmarks (RFC 2544).
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast (RFC 5771).
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    // Reserved (RFC 1112 §4), and the broadcast address.
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// What has been given out for use on the public network (RFC 4291 §2.4): all else is loopback, unspecified, unique
/// local, link-local, site-local, multicast, discard-only, an IPv4 address in disguise, or not given out yet.
const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Networks within it in which nobody is reached, or somebody else than it seems.
const NOT_PUBLIC_V6: [(Ipv6Addr, u8); 4] = [
    // Protocol assignments (RFC 2928): Teredo, which has an IPv4 address within, benchmarks, ORCHID.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // Documentation (RFC 3849, RFC 9637).
    (Ipv6Addr::new(0x2001, 0x0db8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    // 6to4, which has an IPv4 address within, and whose relays are no more (RFC 7526).
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
];

/// How NAT64 writes an IPv4 address (RFC 6052 §2.1).
const NAT64: (Ipv6Addr, u8) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Whether an address is one of the public network.
pub(super) fn is_public(address: IpAddr) -> bool {
    match plain(address) {
        IpAddr::V4(v4) => !NOT_PUBLIC_V4.iter().any(|(first, bits)| within_v4(v4, *first, *bits)),
        IpAddr::V6(v6) => {
            within_v6(v6, GLOBAL_V6.0, GLOBAL_V6.1)
                && !NOT_PUBLIC_V6.iter().any(|(first, bits)| within_v6(v6, *first, *bits))
        }
    }
}

/// The IPv4 address that a connection to this IPv6 address would end at, where there is one.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(mapped) = v6.to_ipv4_mapped() {
        return mapped.into();
    }
    if within_v6(v6, NAT64.0, NAT64.1) {
        let [.., a, b, c, d] = v6.octets();
        return Ipv4Addr::new(a, b, c, d).into();
    }
    address
}

fn within_v4(address: Ipv4Addr, first: Ipv4Addr, bits: u8) -> bool {
    (address.to_bits() ^ first.to_bits()) & mask_v4(bits) == 0
}

fn within_v6(address: Ipv6Addr, first: Ipv6Addr, bits: u8) -> bool {
    (address.to_bits() ^ first.to_bits()) & mask_v6(bits) == 0
}

fn mask_v4(bits: u8) -> u32 {
    u32::MAX.checked_shl(32_u32.saturating_sub(bits.into())).unwrap_or(0)
}

fn mask_v6(bits: u8) -> u128 {
    u128::MAX.checked_shl(128_u32.saturating_sub(bits.into())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_170_only_public_addresses_are_connected_to() {
        let not_public = "0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.100.100.200 100.127.255.255 \
            127.0.0.1 127.255.255.255 168.63.129.16 169.254.0.0 169.254.169.254 169.254.255.255 172.16.0.0 172.31.255.255 \
            192.0.0.0 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 \
            198.51.100.7 203.0.113.7 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 \
            :: ::1 ::7f00:1 ::808:808 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:0:7f00:1 \
            64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b::c0a8:1 64:ff9b:1::808:808 64:ff9b::1:808:808 \
            100::1 2001::1 2001:0:7f00:1:: 2001:2::1 2001:10::1 2001:20::1 2001:1ff:ffff:: 2001:db8::1 \
            2002:7f00:1:: 2002:a9fe:a9fe:: 2002:808:808:: 3fff::1 3fff:fff:ffff:: 4000::1 5f00::1 fc00::1 fd00:ec2::254 \
            fdff:ffff:: fe80::1 febf::1 fec0::1 feff::1 ff02::1 ffff::1 1fff:ffff::1";
        for text in not_public.split_whitespace() {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        let public = "1.0.0.0 1.1.1.1 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 \
            168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 \
            192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 198.51.101.0 203.0.112.0 203.0.114.0 223.255.255.255 \
            ::ffff:8.8.8.8 64:ff9b::808:808 2001:200::1 2001:db7:: 2001:db9:: 2003::1 2606:4700:4700::1111 2a00:1450::1 \
            3ffe:ffff:: 3fff:1000::1";
        for text in public.split_whitespace() {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn an_operator_allows_hosts_addresses_and_networks() {
        let cases = [
            ("kubernetes.default.svc", "kubernetes.default.svc", "10.96.0.1", true),
            ("kubernetes.default.svc", "x.kubernetes.default.svc", "10.96.0.1", false),
            ("kubernetes.default.svc", "default.svc", "10.96.0.1", false),
            ("10.96.0.0/12", "a.example", "10.111.255.255", true),
            ("10.96.0.0/12", "a.example", "10.112.0.0", false),
            ("10.96.0.0/12", "a.example", "::ffff:10.96.0.1", true),
            ("10.96.0.1", "a.example", "10.96.0.1", true),
            ("10.96.0.1", "a.example", "10.96.0.2", false),
            ("0.0.0.0/0", "a.example", "127.0.0.1", true),
            ("0.0.0.0/0", "a.example", "::1", false),
            ("::1", "localhost", "::1", true),
            ("::1", "localhost", "::2", false),
            ("fd00::/8", "a.example", "fdff::1", true),
            ("fd00::/8", "a.example", "fc00::1", false),
            ("::/0", "a.example", "fe80::1", true),
        ];
        for (allowed, host, address, expected) in cases {
            let rule: Allowed = allowed.parse().unwrap();
            assert_eq!(
                rule.admits(host, address.parse().unwrap()),
                expected,
                "{allowed} {address}"
            );
        }
        for bad in [
            "",
            "*",
            "*.svc",
            "A.example",
            "a.example:443",
            "https://a.example",
            "a/8",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0",
            "::1/129",
            "fd00::1/8",
            "[::1]",
            "a b",
            "0x7f.1",
        ] {
            assert_eq!(bad.parse::<Allowed>(), Err(NotAllowable), "{bad}");
        }
    }
}
