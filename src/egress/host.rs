//! Hosts and ports as a request or a rule names them. Strict: what two programs could read in two ways is refused.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

/// Bytes of a name, and of one of its labels.
const NAME: usize = 253;
const LABEL: usize = 63;

/// A host: a name in lower case, or an address that is written as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Host {
    /// A name; letters of other scripts as punycode (`xn--…`).
    Name(String),
    /// Four decimal numbers.
    V4(Ipv4Addr),
    /// In brackets.
    V6(Ipv6Addr),
}

/// Why something is no host, or no host and port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Odd {
    /// There is nothing.
    #[error("it has no host")]
    Empty,
    /// A byte that no name has; letters of other scripts are written as punycode.
    #[error("its host has a character that no name on the network has")]
    Character,
    /// An empty label: a dot at its end or two in a row.
    #[error("its host has a dot too many")]
    Dot,
    /// Longer than a name may be.
    #[error("its host is too long")]
    Long,
    /// A number where a name ends, which some programs read as an address.
    #[error("its host is an address in an unusual notation")]
    Number,
    /// No port, or none that there is.
    #[error("its port is missing or is no port")]
    Port,
}

impl Host {
    /// Reads one.
    ///
    /// # Errors
    /// When it is written in a way that is not the plain one.
    pub fn parse(text: &str) -> Result<Self, Odd> {
        if text.is_empty() {
            return Err(Odd::Empty);
        }
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(Odd::Character)?;
            return inner.parse().map(Self::V6).map_err(|_| Odd::Number);
        }
        if text.len() > NAME {
            return Err(Odd::Long);
        }
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !text.bytes().all(known) {
            return Err(Odd::Character);
        }
        for label in text.split('.') {
            match label.len() {
                0 => return Err(Odd::Dot),
                1..=LABEL => {}
                _ => return Err(Odd::Long),
            }
            if label.starts_with('-') || label.ends_with('-') {
                return Err(Odd::Character);
            }
        }
        let last = text.rsplit('.').next().unwrap_or_default();
        let hexadecimal = last.len() >= 2
            && last.as_bytes()[0] == b'0'
            && matches!(last.as_bytes()[1], b'x' | b'X');
        if hexadecimal || last.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::V4).map_err(|_| Odd::Number);
        }
        Ok(Self::Name(text.to_ascii_lowercase()))
    }

    /// Whether it is an address and no name.
    #[must_use]
    pub fn is_address(&self) -> bool {
        !matches!(self, Self::Name(_))
    }

    /// As a resolver takes it: an address without brackets.
    pub(super) fn bare(&self) -> String {
        match self {
            Self::Name(name) => name.clone(),
            Self::V4(address) => address.to_string(),
            Self::V6(address) => address.to_string(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => write!(f, "[{address}]"),
        }
    }
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The host.
    pub host: Host,
    /// The port.
    pub port: u16,
}

impl Place {
    /// Reads `host:port`; without a port it is `usual`.
    ///
    /// # Errors
    /// When it is written in a way that is not the plain one, or there is no port.
    pub fn parse(text: &str, usual: Option<u16>) -> Result<Self, Odd> {
        let (host, port) = split(text)?;
        let port = port.or(usual).ok_or(Odd::Port)?;
        Ok(Self {
            host: Host::parse(host)?,
            port,
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The host and the port of a text, when it names one.
pub(super) fn split(text: &str) -> Result<(&str, Option<u16>), Odd> {
    let (host, port) = match text.rfind(']') {
        // What follows the brackets of an address.
        Some(end) => text.split_at(end + 1),
        None => match text.find(':') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        },
    };
    let Some(port) = port.strip_prefix(':') else {
        return match port {
            "" => Ok((host, None)),
            _ => Err(Odd::Port),
        };
    };
    let digits = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
    let number = port.parse().ok().filter(|port| digits && *port != 0);
    Ok((host, Some(number.ok_or(Odd::Port)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_and_addresses_only_what_everyone_reads_alike() {
        let host = |text: &str| Host::parse(text).map(|host| host.to_string());
        assert_eq!(host("Registry.NPMJS.org").unwrap(), "registry.npmjs.org");
        assert_eq!(
            host("xn--bcher-kva.example").unwrap(),
            "xn--bcher-kva.example"
        );
        assert_eq!(host("127.0.0.1").unwrap(), "127.0.0.1");
        assert_eq!(host("[::1]").unwrap(), "[::1]");
        for (text, why) in [
            ("", Odd::Empty),
            ("a.com.", Odd::Dot),
            (".a.com", Odd::Dot),
            ("a..com", Odd::Dot),
            ("bücher.example", Odd::Character),
            ("a.com#b.com", Odd::Character),
            ("user@a.com", Odd::Character),
            ("a.com\\b", Odd::Character),
            ("a%2ecom", Odd::Character),
            ("-a.com", Odd::Character),
            ("::1", Odd::Character),
            ("127.1", Odd::Number),
            ("2130706433", Odd::Number),
            ("0177.0.0.1", Odd::Number),
            ("0x7f.0.0.1", Odd::Number),
            ("0x7f000001", Odd::Number),
            ("127.0.0.0x1", Odd::Number),
            ("127.0.0.1.2", Odd::Number),
            ("[fe80::1%eth0]", Odd::Number),
            ("[::ffff:127.0.0.1", Odd::Character),
        ] {
            assert_eq!(Host::parse(text), Err(why), "{text}");
        }
        assert_eq!(Host::parse(&"a".repeat(64)), Err(Odd::Long));
        assert_eq!(Host::parse(&"a.".repeat(130)), Err(Odd::Long));
    }

    #[test]
    fn a_port_is_digits_and_there_is_one() {
        let place = |text: &str| Place::parse(text, None).map(|place| place.to_string());
        assert_eq!(place("a.com:443").unwrap(), "a.com:443");
        assert_eq!(place("[::1]:8080").unwrap(), "[::1]:8080");
        assert_eq!(Place::parse("a.com", Some(80)).unwrap().port, 80);
        for text in [
            "a.com",
            "a.com:",
            "a.com:0",
            "a.com:65536",
            "a.com:+80",
            "a.com:80:80",
            "[::1]80",
            "a.com:000080",
        ] {
            assert!(place(text).is_err(), "{text}");
        }
    }
}
