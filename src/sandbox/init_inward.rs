//! The inside of [`super::inward`]: what PID 1 of a sandbox does on a stream that the host opened.
//!
//! It connects to a port of the sandbox's own loopback and copies, or says on which ports something listens. Only
//! the host opens such streams; a program inside has no way to them.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::compat::FuturesAsyncReadCompatExt;

use super::duplex::Duplex;
use super::inward::{Ask, MAX_INWARD, MAX_PORTS, Reply};
use super::{MODEL_PORT, PROXY_PORT};

/// How long the host may take to say what it wants, and a program to take a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that are read of a table of connections; those that listen come first.
const TABLE: u64 = 256 * 1024;
/// `TCP_LISTEN` as the kernel's tables write it.
const LISTENING: &str = "0A";

/// Serves the streams that the host opened, until there are no more. Further ones than the host allows itself are
/// dropped, which resets them.
pub(super) async fn serve(mut streams: mpsc::Receiver<yamux::Stream>) {
    let permits = Arc::new(Semaphore::new(MAX_INWARD + 8));
    let mut open = JoinSet::new();
    while let Some(stream) = streams.recv().await {
        while open.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            continue;
        };
        open.spawn(async move {
            // Whoever left in the middle is the host's or the program's own affair.
            let _ = answer(Duplex::new(stream.compat())).await;
            drop(permit);
        });
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    match timeout(PATIENCE, Ask::read(&mut stream)).await?? {
        Some(Ask::Connect(port)) => connect(stream, port).await,
        Some(Ask::Ports) => {
            let ports = listening();
            let mut bytes = vec![u8::try_from(ports.len()).unwrap_or(MAX_PORTS)];
            bytes.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
            stream.write_all(&bytes).await?;
            stream.shutdown().await
        }
        None => Ok(()),
    }
}

async fn connect(mut stream: impl AsyncRead + AsyncWrite + Unpin, port: u16) -> io::Result<()> {
    let Some(mut socket) = reach(port).await else {
        stream.write_u8(Reply::Refused as u8).await?;
        return stream.shutdown().await;
    };
    socket.set_nodelay(true)?;
    stream.write_u8(Reply::Connected as u8).await?;
    stream.flush().await?;
    let (mut from_host, mut to_host) = tokio::io::split(stream);
    let (mut from_program, mut to_program) = socket.split();
    let inward = async { tokio::io::copy(&mut from_host, &mut to_program).await };
    let outward = async {
        tokio::io::copy(&mut from_program, &mut to_host).await?;
        to_host.shutdown().await
    };
    let mut inward = std::pin::pin!(inward);
    tokio::select! {
        // The host is done with both directions: it never closes one alone.
        done = &mut inward => done.map(drop),
        done = outward => {
            done?;
            inward.await.map(drop)
        }
    }
}

/// A connection to what listens on the loopback, whichever of the two it listens on.
async fn reach(port: u16) -> Option<TcpStream> {
    let addresses = [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        Ipv6Addr::LOCALHOST.into(),
    ];
    for address in addresses {
        if let Ok(Ok(socket)) = timeout(PATIENCE, TcpStream::connect((address, port))).await {
            return Some(socket);
        }
    }
    None
}

/// The ports of the loopback on which something listens, without our own; no more than an answer names.
fn listening() -> BTreeSet<u16> {
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    let ports = tables.into_iter().flat_map(|table| {
        let mut text = String::new();
        // A kernel without IPv6 has no such table; a cut line is no line.
        let read =
            std::fs::File::open(table).and_then(|file| file.take(TABLE).read_to_string(&mut text));
        if read.is_err() {
            text.clear();
        }
        of_table(&text)
    });
    let ports: BTreeSet<u16> = ports
        .filter(|port| !matches!(*port, MODEL_PORT | PROXY_PORT))
        .collect();
    ports.into_iter().take(usize::from(MAX_PORTS)).collect()
}

/// The ports in one of the kernel's tables (proc(5)) at which the loopback reaches something that listens.
fn of_table(text: &str) -> BTreeSet<u16> {
    let listening = text.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (address, port) = fields.nth(1)?.split_once(':')?;
        (fields.nth(1)? == LISTENING).then_some(())?;
        let address = parse_address(address)?;
        (address.is_unspecified() || is_ours(address)).then_some(())?;
        u16::from_str_radix(port, 16).ok()
    });
    listening.collect()
}

/// Whether it is one of the two addresses that [`reach`] tries.
fn is_ours(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address == Ipv4Addr::LOCALHOST || address.is_unspecified(),
        IpAddr::V6(address) => address == Ipv6Addr::LOCALHOST,
    }
}

/// An address as the tables write it: words of 32 bits in the machine's own order.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| -> Option<[u8; 4]> {
        let word = u32::from_str_radix(hex.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let words = [word(0)?, word(1)?, word(2)?, word(3)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n";

    #[test]
    #[cfg(target_endian = "little")]
    fn what_listens_where_the_loopback_reaches_it_is_found() {
        let v4 = format!(
            "{HEAD}\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 1\n\
             1: 00000000:1435 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 1\n\
             2: 0200007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000 0 1\n\
             3: 0100007F:9999 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000 0 1\n\
             4: 0100007F:12"
        );
        assert_eq!(of_table(&v4), BTreeSet::from([0x1f90, 0x1435]));
        let v6 = format!(
            "{HEAD}\
             0: 00000000000000000000000001000000:0BB8 0:0 0A 0 0\n\
             1: 00000000000000000000000000000000:0BB9 0:0 0A 0 0\n\
             2: 0000000000000000FFFF00000100007F:0BBA 0:0 0A 0 0\n\
             3: 000080FE000000000000000001000000:0BBB 0:0 0A 0 0\n"
        );
        assert_eq!(of_table(&v6), BTreeSet::from([3000, 3001, 3002]));
    }

    #[test]
    fn a_table_that_is_none_has_no_ports() {
        for text in ["", "\n", "x y z\nx y z\n", "h\n: : :\n", "h\n0: é:0 0 0A"] {
            assert!(of_table(text).is_empty(), "{text:?}");
        }
    }
}
