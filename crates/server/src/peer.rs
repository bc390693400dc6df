//! Who is at the other end, as far as the connection tells, or a proxy that is believed.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use crate::certificate::{BadHeader, PeerCertificate, read_chain_header, read_header};

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub ip: IpAddr,
    /// The certificate whose key it has shown to have.
    pub certificate: Option<Arc<PeerCertificate>>,
}

impl From<IpAddr> for Peer {
    /// A peer without a certificate.
    fn from(ip: IpAddr) -> Self {
        Self { ip, certificate: None }
    }
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    /// IPv4 as in RFC 4291 §2.5.5.2, so that there is one kind.
    first: u128,
    /// How many bits of an address are the network's.
    bits: u32,
}

/// Why a text is no range of addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a network is an address and a number of bits, such as `10.0.0.0/8` or `::1/128`")]
pub struct BadNetwork;

/// An address as one of 128 bits, and how many of these its own kind has.
fn number(ip: IpAddr) -> (u128, u32) {
    match ip {
        IpAddr::V4(ip) => (ip.to_ipv6_mapped().to_bits(), 32),
        IpAddr::V6(ip) => (ip.to_bits(), 128),
    }
}

impl Network {
    fn contains(&self, ip: IpAddr) -> bool {
        let different = number(ip).0 ^ self.first;
        different.checked_shr(128 - self.bits).unwrap_or(0) == 0
    }
}

impl FromStr for Network {
    type Err = BadNetwork;

    /// An address without bits is a network of one.
    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let (first, width) = number(address.parse().map_err(|_| BadNetwork)?);
        let bits = match bits {
            Some(bits) if !bits.starts_with('+') => bits.parse().map_err(|_| BadNetwork)?,
            Some(_) => return Err(BadNetwork),
            None => width,
        };
        if bits > width {
            return Err(BadNetwork);
        }
        let this = Self { first, bits: bits + (128 - width) };
        // `10.0.0.1/8` is a mistake: who wrote it meant one address, or all.
        let host = first.checked_shl(this.bits).unwrap_or(0);
        (host == 0).then_some(this).ok_or(BadNetwork)
    }
}

/// The proxies at which the connections of clients end, and the header in which they pass certificates on.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    networks: Vec<Network>,
    certificate: Option<HeaderName>,
    chain: Option<HeaderName>,
}

impl Proxies {
    /// Proxies in these networks, and the header of the certificate, if they pass it on.
    ///
    /// With `Client-Cert` also `Client-Cert-Chain` is read (RFC 9440 §2.3). A proxy has to remove what clients send
    /// under these names.
    pub fn new(networks: Vec<Network>, certificate: Option<HeaderName>) -> Self {
        let rfc = certificate.as_ref().is_some_and(|name| name == "client-cert");
        let chain = rfc.then(|| HeaderName::from_static("client-cert-chain"));
        Self { networks, certificate, chain }
    }

    /// The certificate of the client of a request.
    ///
    /// From a proxy it is that of the header alone: the one of the connection is the proxy's own. From anybody else it
    /// is that of the connection alone, whatever the headers say (RFC 9700 §4.13).
    pub(crate) fn certificate(
        &self,
        peer: &Peer,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<PeerCertificate>>, BadHeader> {
        let trusted = || self.networks.iter().any(|network| network.contains(peer.ip));
        if !trusted() {
            return Ok(peer.certificate.clone());
        }
        let Some(name) = &self.certificate else { return Ok(None) };
        let mut values = headers.get_all(name).iter();
        let (first, second) = (values.next(), values.next());
        // Of two, one may be the client's own invention.
        if second.is_some() {
            return Err(BadHeader);
        }
        let own = first.map(|value| read_header(value.as_bytes())).transpose()?.flatten();
        let Some(own) = own else { return Ok(None) };
        let mut chain = vec![own];
        for value in self.chain.iter().flat_map(|name| headers.get_all(name)) {
            chain.extend(read_chain_header(value.as_bytes())?);
        }
        Ok(PeerCertificate::new(chain).map(Arc::new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_095_a_network_has_its_own_addresses_and_no_others() {
        let cases = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.1", "::1", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("::1/128", "::1", true),
            ("::1/128", "::2", false),
        ];
        for (network, address, is_in) in cases {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), is_in, "{network:?} {address}");
        }
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "::1/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "a/8",
            "10.0.0.0/8/8",
        ] {
            assert_eq!(bad.parse::<Network>(), Err(BadNetwork), "{bad}");
        }
    }
}
