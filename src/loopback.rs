//! Places for connections on the loopback, some of which only the own user's programs can take.
//!
//! Every user of a machine can connect to its loopback. Without a reserve, another one could take all places, and
//! keep the owner out of the own treefort.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One place in so many is kept for the own user.
const RESERVE: usize = 8;

/// A bounded number of connections.
#[derive(Debug, Clone)]
pub struct Places {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

impl Places {
    /// So many in all.
    #[must_use]
    pub fn new(most: usize) -> Self {
        let own = most / RESERVE;
        Self {
            all: Arc::new(Semaphore::new(most - own)),
            own: Arc::new(Semaphore::new(own)),
        }
    }

    /// A place for a connection, as long as the permit lives; none when they are taken.
    #[must_use]
    pub fn take(&self, peer: SocketAddr, local: SocketAddr) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.all).try_acquire_owned() {
            return Some(place);
        }
        // Looked at only now, since it costs a millisecond.
        if self.own.available_permits() > 0 && user_of(peer, local) == own_user() {
            return Arc::clone(&self.own).try_acquire_owned().ok();
        }
        None
    }
}

#[cfg(target_os = "linux")]
fn own_user() -> Option<u32> {
    Some(rustix::process::geteuid().as_raw())
}

/// Who has the other end of a connection on this machine.
#[cfg(target_os = "linux")]
fn user_of(peer: SocketAddr, local: SocketAddr) -> Option<u32> {
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    tables.iter().find_map(|table| {
        let text = std::fs::read_to_string(table).ok()?;
        text.lines().skip(1).find_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let ends = (address(fields.next()?)?, address(fields.next()?)?);
            let user = fields.nth(4)?.parse().ok()?;
            (ends == (plain(peer), plain(local))).then_some(user)
        })
    })
}

/// Where nobody can say who it is, nobody has a reserve.
#[cfg(not(target_os = "linux"))]
fn own_user() -> Option<u32> {
    Some(0)
}

#[cfg(not(target_os = "linux"))]
fn user_of(_peer: SocketAddr, _local: SocketAddr) -> Option<u32> {
    None
}

fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// An address as the kernel writes it: words of the machine's own byte order, and the port, in hexadecimal.
#[cfg(target_os = "linux")]
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let digits = host.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    let ip = match host.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at)?);
            }
            IpAddr::from(bytes)
        }
        _ => return None,
    };
    Some(plain(SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, TcpListener, TcpStream};

    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_own_user_has_places_that_nobody_else_can_take() {
        for ip in [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            Ipv6Addr::LOCALHOST.into(),
        ] {
            let listener = TcpListener::bind((ip, 0)).unwrap();
            let local = listener.local_addr().unwrap();
            let _client = TcpStream::connect(local).unwrap();
            let (_stream, peer) = listener.accept().unwrap();
            assert_eq!(user_of(peer, local), own_user());
            // Nobody's connection.
            let other = SocketAddr::from((Ipv4Addr::new(127, 1, 2, 3), peer.port()));
            assert_eq!(user_of(other, local), None);
            let places = Places::new(16);
            let _taken: Vec<_> = (0..14)
                .map(|_| places.take(other, local).unwrap())
                .collect();
            assert!(places.take(other, local).is_none());
            let _own = [places.take(peer, local), places.take(peer, local)].map(Option::unwrap);
            assert!(places.take(peer, local).is_none());
        }
    }
}
