//! Which addresses are a destination: after a name was looked up, whatever the name is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// What an address is to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Anywhere on the internet.
    Public,
    /// This computer, a private network, or what is on no public one: only where the owner's settings name host and port.
    Private,
    /// Never: link-local (where clouds keep their metadata), multicast, or an address inside another.
    Never,
}

/// What it is, as far as the address alone says.
#[must_use]
pub fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
    }
}

fn v4(address: Ipv4Addr) -> Reach {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        // "This network", link-local, 6to4's anycast, multicast and broadcast.
        (0, _, _) | (169, 254, _) | (192, 88, 99) | (224..=239, _, _) | (255, 255, 255) => Reach::Never,
        (10 | 127, _, _) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _)
        // Protocol assignments, documentation, benchmarks, reserved: on no internet, so on somebody's own network.
        | (192, 0, 0 | 2)
        | (198, 18 | 19, _)
        | (198, 51, 100)
        | (203, 0, 113)
        | (240.., _, _) => Reach::Private,
        _ => Reach::Public,
    }
}

fn v6(address: Ipv6Addr) -> Reach {
    let words = address.segments();
    let inner = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        v4(Ipv4Addr::new(a, b, c, d))
    };
    match words {
        [0, 0, 0, 0, 0, 0, 0, 1] | [0xfc00..=0xfdff, ..] => Reach::Private,
        // NAT64: a name on the internet, as a network without IPv4 sees it.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => match inner(high, low) {
            Reach::Public => Reach::Public,
            Reach::Private | Reach::Never => Reach::Never,
        },
        // Protocol assignments with Teredo, documentation, 6to4.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => {
            Reach::Never
        }
        // ISATAP: an IPv4 address in the lower half.
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] if inner(high, low) != Reach::Public => {
            Reach::Never
        }
        [0x2000..=0x3fff, ..] => Reach::Public,
        // Mapped and compatible IPv4, link- and site-local, multicast, and what was given to nobody.
        _ => Reach::Never,
    }
}

/// Whether it is one of this computer's own, whatever network it is in.
#[must_use]
pub fn is_own(address: IpAddr) -> bool {
    let binds = |address: IpAddr| UdpSocket::bind((address, 0)).is_ok();
    // Only an own address can be bound; where the system lets everything be, it says nothing, and the connection
    // itself does ([`super::reach`]).
    binds(address) && !binds(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        let of = |text: &str| reach(text.parse().unwrap());
        for text in [
            "1.1.1.1",
            "151.101.0.162",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "2a04:4e42::649",
            "64:ff9b::101:101",
        ] {
            assert_eq!(of(text), Reach::Public, "{text}");
        }
        for text in [
            "127.0.0.1",
            "127.255.0.3",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "192.0.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.9",
            "240.0.0.1",
            "::1",
            "fd00:ec2::254",
            "fc00::1",
        ] {
            assert_eq!(of(text), Reach::Private, "{text}");
        }
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.0.1",
            "192.88.99.1",
            "224.0.0.1",
            "239.1.1.1",
            "255.255.255.255",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:1.1.1.1",
            "::127.0.0.1",
            "::1.1.1.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:101:101::",
            "2001::1",
            "2001:20::1",
            "2001:db8::1",
            "3fff::1",
            "2606:4700::5efe:a00:1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "5f00::1",
            "100::1",
        ] {
            assert_eq!(of(text), Reach::Never, "{text}");
        }
    }

    #[test]
    fn an_own_address_is_known_and_a_foreign_one_is_not_own() {
        assert!(is_own(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert!(!is_own("1.1.1.1".parse().unwrap()));
    }
}
