//! Where a preview listens: a name and a port that are its alone.
//!
//! Cookies and storage belong to a host name, whatever the port, so `127.0.0.1` would share them with every other
//! program of this machine, treefort's page included. A random name below `.localhost` shares them with nobody,
//! and browsers look such names up as the loopback by themselves. For programs that do not, Linux has a
//! loopback of sixteen million addresses, of which a preview gets a random one.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::net::TcpListener;

use super::random_hex;

/// Ports that are tried.
const TRIES: u32 = 16;

/// Listeners on one port of the loopback, and the values of `Host` that lead there: the name's, then the address's
/// where there is one.
pub(super) async fn on_loopback() -> io::Result<(Vec<TcpListener>, Vec<String>)> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..TRIES {
        match on_one_port().await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
            done => return done,
        }
    }
    Err(last)
}

async fn on_one_port() -> io::Result<(Vec<TcpListener>, Vec<String>)> {
    let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let port = v4.local_addr()?.port();
    let mut listeners = vec![v4];
    let mut hosts = vec![format!("{}.localhost:{port}", random_hex()?)];
    // A browser may try this one first: nobody else may have it.
    match TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
        Ok(v6) => listeners.push(v6),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
        Err(error) => tracing::debug!(%error, "there is no IPv6 loopback"),
    }
    if cfg!(target_os = "linux") {
        let address = SocketAddr::from((random_loopback()?, port));
        match TcpListener::bind(address).await {
            Ok(own) => {
                listeners.push(own);
                hosts.push(address.to_string());
            }
            Err(error) => tracing::debug!(%error, "the loopback has one address only"),
        }
    }
    Ok((listeners, hosts))
}

/// An address of 127.0.0.0/8 that nothing uses by habit: none of 127.0.0.0/16, no network's first or last.
fn random_loopback() -> io::Result<Ipv4Addr> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).map_err(io::Error::from)?;
    let [_, second, third, fourth] = bytes;
    Ok(Ipv4Addr::new(
        127,
        second.max(1),
        third,
        fourth.clamp(1, 254),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_preview_has_a_name_of_its_own_and_listens_on_the_loopback_only() {
        let (listeners, hosts) = on_loopback().await.unwrap();
        let (_others, other_hosts) = on_loopback().await.unwrap();
        assert_ne!(hosts[0], other_hosts[0]);
        let ports: Vec<SocketAddr> = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
        for address in &ports {
            assert!(address.ip().is_loopback() && address.port() == ports[0].port());
        }
        let (name, port) = hosts[0].rsplit_once(':').unwrap();
        assert_eq!(port, ports[0].port().to_string());
        // A label of a name has 63 characters at most.
        let label = name.strip_suffix(".localhost").unwrap();
        assert_eq!(label.len(), 32);
        for host in &hosts[1..] {
            let address: SocketAddr = host.parse().unwrap();
            assert!(ports.contains(&address) && address.ip() != Ipv4Addr::LOCALHOST);
        }
    }
}
