//! The kinds of IP addresses: public, private, loopback, link-local, metadata.
//!
//! Does not say which addresses are allowed; [`crate::EgressPolicy`] does. An address that embeds an IPv4 address
//! (IPv4-mapped, IPv4-compatible, NAT64, 6to4, Teredo) is of the kind of the embedded one, since the packet is routed
//! there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kind of an IP address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressKind {
    /// A globally routed unicast address.
    Public,
    /// This machine: `127.0.0.0/8`, `::1`.
    Loopback,
    /// A private network, or a range set aside that some networks use as one.
    Private,
    /// Link-local: `169.254.0.0/16`, `fe80::/10`. The metadata services of cloud instances have such addresses.
    LinkLocal,
    /// A cloud's metadata or credential service outside the link-local ranges.
    Metadata,
    /// Not an address of one host: unspecified, multicast, broadcast.
    NotAHost,
}

impl AddressKind {
    /// Returns the kind of `address`.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => of_v4(v4),
            IpAddr::V6(v6) => of_v6(v6),
        }
    }

    /// Returns the kind's name in error messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Metadata => "cloud metadata",
            Self::NotAHost => "unspecified or multicast",
        }
    }
}

/// Returns the address that packets to `address` are routed to: the IPv4 address in a transition address, otherwise
/// `address` itself.
///
/// Sources: RFC 4291 §2.5.5 (mapped, compatible), RFC 6052 (NAT64), RFC 3056 (6to4), RFC 4380 (Teredo).
pub(crate) fn destination(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => embedded_v4(v6).map_or(address, IpAddr::V4),
    }
}

/// Metadata services outside 169.254/16: Azure's host, Alibaba's and Oracle's.
const METADATA_V4: [[u8; 4]; 3] = [[168, 63, 129, 16], [100, 100, 100, 200], [192, 0, 0, 192]];

fn of_v4(address: Ipv4Addr) -> AddressKind {
    let [a, b, c, d] = address.octets();
    match (a, b) {
        _ if METADATA_V4.contains(&[a, b, c, d]) => AddressKind::Metadata,
        (0, _) => AddressKind::NotAHost,
        (127, _) => AddressKind::Loopback,
        (169, 254) => AddressKind::LinkLocal,
        (10, _) | (172, 16..=31) | (192, 168) => AddressKind::Private,
        // Carrier-grade NAT, IETF assignments, benchmarking, documentation.
        (100, 64..=127) | (198, 18..=19) => AddressKind::Private,
        (192, 0) if c == 0 || c == 2 => AddressKind::Private,
        (198, 51) if c == 100 => AddressKind::Private,
        (203, 0) if c == 113 => AddressKind::Private,
        (224..=239, _) => AddressKind::NotAHost,
        (255, 255) if c == 255 && d == 255 => AddressKind::NotAHost,
        (240..=255, _) => AddressKind::Private,
        _ => AddressKind::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> AddressKind {
    if address == Ipv6Addr::LOCALHOST {
        return AddressKind::Loopback;
    }
    if address == Ipv6Addr::UNSPECIFIED || address.is_multicast() {
        return AddressKind::NotAHost;
    }
    if let Some(v4) = embedded_v4(address) {
        return of_v4(v4);
    }
    let s = address.segments();
    match s[0] {
        // AWS (instance metadata, DNS, time, pod identity), Oracle, Google.
        0xfd00 if s[1] == 0x0ec2 || s[1] == 0x00c1 => AddressKind::Metadata,
        0xfd20 if s[1] == 0x00ce => AddressKind::Metadata,
        0xfe80..=0xfebf => AddressKind::LinkLocal,
        // Unique local, and site-local, which was deprecated but still routes in places.
        0xfc00..=0xfdff | 0xfec0..=0xfeff => AddressKind::Private,
        // NAT64's prefix for local use (RFC 8215), discard-only, documentation (two ranges).
        0x0064 if s[1] == 0xff9b => AddressKind::Private,
        0x0100 if s[1] == 0 && s[2] == 0 && s[3] == 0 => AddressKind::Private,
        0x2001 if s[1] == 0x0db8 => AddressKind::Private,
        0x3fff if s[1] < 0x1000 => AddressKind::Private,
        // Only 2000::/3 is global unicast today.
        0x2000..=0x3fff => AddressKind::Public,
        _ => AddressKind::Private,
    }
}

fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let s = address.segments();
    let last = || from_halves(s[6], s[7]);
    match s {
        [0, 0, 0, 0, 0, 0xffff, _, _] => Some(last()),
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0, _, _] => Some(last()),
        [0x0064, 0xff9b, 0, 0, 0, 0, _, _] => Some(last()),
        [0x2002, high, low, ..] => Some(from_halves(high, low)),
        [0x2001, 0, ..] => Some(from_halves(!s[6], !s[7])),
        _ => None,
    }
}

fn from_halves(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, expected: AddressKind) {
        assert_eq!(AddressKind::of(address.parse().unwrap()), expected, "{address}");
    }

    #[test]
    fn ipv4_ranges() {
        check("8.8.8.8", AddressKind::Public);
        check("172.32.0.1", AddressKind::Public);
        check("192.0.1.1", AddressKind::Public);
        check("127.0.0.1", AddressKind::Loopback);
        check("127.255.255.254", AddressKind::Loopback);
        check("10.0.0.1", AddressKind::Private);
        check("172.16.0.1", AddressKind::Private);
        check("192.168.1.1", AddressKind::Private);
        check("100.64.0.1", AddressKind::Private);
        check("203.0.113.9", AddressKind::Private);
        check("240.0.0.1", AddressKind::Private);
        check("169.254.169.254", AddressKind::LinkLocal);
        check("169.254.170.2", AddressKind::LinkLocal);
        check("168.63.129.16", AddressKind::Metadata);
        check("100.100.100.200", AddressKind::Metadata);
        check("192.0.0.192", AddressKind::Metadata);
        check("0.0.0.0", AddressKind::NotAHost);
        check("224.0.0.1", AddressKind::NotAHost);
        check("255.255.255.255", AddressKind::NotAHost);
    }

    #[test]
    fn ipv6_ranges() {
        check("2606:4700::1111", AddressKind::Public);
        check("::1", AddressKind::Loopback);
        check("::", AddressKind::NotAHost);
        check("ff02::1", AddressKind::NotAHost);
        check("fe80::1", AddressKind::LinkLocal);
        check("fc00::1", AddressKind::Private);
        check("fd12:3456::1", AddressKind::Private);
        check("fd00:ec2::254", AddressKind::Metadata);
        check("fd00:ec2::23", AddressKind::Metadata);
        check("fd20:ce::254", AddressKind::Metadata);
        check("fd00:c1::a9fe:a9fe", AddressKind::Metadata);
        check("2001:db8::1", AddressKind::Private);
        check("64:ff9b:1::1", AddressKind::Private);
    }

    #[test]
    fn an_address_inside_an_address_is_what_counts() {
        check("::ffff:127.0.0.1", AddressKind::Loopback);
        check("::ffff:169.254.169.254", AddressKind::LinkLocal);
        check("::ffff:8.8.8.8", AddressKind::Public);
        check("::127.0.0.1", AddressKind::Loopback);
        check("64:ff9b::a9fe:a9fe", AddressKind::LinkLocal);
        check("64:ff9b::808:808", AddressKind::Public);
        check("2002:7f00:1::", AddressKind::Loopback);
        check("2002:a9fe:a9fe::1", AddressKind::LinkLocal);
        // Teredo keeps the client's address inverted in its last 32 bits.
        check("2001:0:1:2:3:4:80ff:fffe", AddressKind::Loopback);
    }
}
