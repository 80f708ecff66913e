//! Which addresses are public.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// The addresses of IPv4 that are not public, from IANA's special-purpose registry (RFC 6890).
const SPECIAL_V4: &[(Ipv4Net, &str)] = &[
    (v4([0, 0, 0, 0], 8), "an unspecified address"),
    (v4([10, 0, 0, 0], 8), "a private address"),
    (v4([100, 64, 0, 0], 10), "an address behind a carrier's NAT"),
    (v4([127, 0, 0, 0], 8), "a loopback address"),
    (v4([169, 254, 0, 0], 16), "a link-local address"),
    (v4([172, 16, 0, 0], 12), "a private address"),
    (v4([192, 0, 0, 0], 24), "a reserved address"),
    (v4([192, 0, 2, 0], 24), "a documentation address"),
    (v4([192, 88, 99, 0], 24), "a 6to4 address"),
    (v4([192, 168, 0, 0], 16), "a private address"),
    (v4([198, 18, 0, 0], 15), "a benchmarking address"),
    (v4([198, 51, 100, 0], 24), "a documentation address"),
    (v4([203, 0, 113, 0], 24), "a documentation address"),
    (v4([224, 0, 0, 0], 4), "a multicast address"),
    (v4([255, 255, 255, 255], 32), "a broadcast address"),
    (v4([240, 0, 0, 0], 4), "a reserved address"),
];

/// The addresses of IPv6 that are not public, from the same registry. What none of these holds is
/// public only inside of [`GLOBAL_V6`]. `<< 96` marks the first 32 of 128 bits.
const SPECIAL_V6: &[(Ipv6Net, &str)] = &[
    (v6(1, 128), "a loopback address"),
    (v6(0, 128), "an unspecified address"),
    (v6(0, 96), "an IPv4-compatible address"),
    (v6(0xffff_0000_0000, 96), "an IPv4-mapped address"),
    (v6(0x0064_ff9b << 96, 32), "a NAT64 address"),
    (v6(0x2001_0000 << 96, 32), "a Teredo address"),
    (v6(0x2001_0000 << 96, 23), "a reserved address"),
    (v6(0x2001_0db8 << 96, 32), "a documentation address"),
    (v6(0x2002_0000 << 96, 16), "a 6to4 address"),
    (v6(0x3fff_0000 << 96, 20), "a documentation address"),
    (v6(0xfc00_0000 << 96, 7), "a private address"),
    (v6(0xfe80_0000 << 96, 10), "a link-local address"),
    (v6(0xff00_0000 << 96, 8), "a multicast address"),
];

/// The part of IPv6 from which public addresses are given (RFC 4291).
const GLOBAL_V6: Ipv6Net = v6(0x2000_0000 << 96, 3);

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(bits: u128, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), length)
}

/// What `address` is instead of a public one.
pub(super) fn special(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => {
            SPECIAL_V4.iter().find(|(net, _)| net.contains(&address)).map(|&(_, what)| what)
        }
        IpAddr::V6(address) => SPECIAL_V6
            .iter()
            .find(|(net, _)| net.contains(&address))
            .map(|&(_, what)| what)
            .or_else(|| (!GLOBAL_V6.contains(&address)).then_some("a reserved address")),
    }
}
