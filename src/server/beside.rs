//! The port beside ours: where `localhost` may lead, too.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::net::{TcpListener, TcpStream};

/// What the system says where IPv6 is switched off.
const NO_SUCH_FAMILY: i32 = rustix::io::Errno::AFNOSUPPORT.raw_os_error();

/// The next connection, wherever it comes in.
pub(super) async fn accept(
    listener: &TcpListener,
    other: Option<&TcpListener>,
) -> io::Result<(TcpStream, SocketAddr)> {
    match other {
        None => listener.accept().await,
        Some(other) => tokio::select! {
            accepted = listener.accept() => accepted,
            accepted = other.accept() => accepted,
        },
    }
}

/// The same port of the other loopback: nobody else shall answer there to who types `localhost`.
pub(super) struct Beside {
    /// Where `localhost` may lead a browser first.
    pub(super) listener: Option<TcpListener>,
    pub(super) localhost: Localhost,
}

/// Who is where `localhost` and our port lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Localhost {
    /// Nobody but us.
    Ours,
    /// Another program may be on one of the loopbacks.
    Taken,
    /// Nobody looked: we do not listen there ourselves, or in a way that does not tell.
    Unknown,
}

impl Beside {
    pub(super) async fn of(address: SocketAddr) -> Self {
        let other: IpAddr = match address.ip() {
            IpAddr::V4(Ipv4Addr::LOCALHOST | Ipv4Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::LOCALHOST) => Ipv4Addr::LOCALHOST.into(),
            _ => return Self::none(Localhost::Unknown),
        };
        let error = match TcpListener::bind((other, address.port())).await {
            Ok(listener) => {
                return Self {
                    listener: Some(listener),
                    localhost: Localhost::Ours,
                };
            }
            Err(error) => error,
        };
        let is_none = error.kind() == io::ErrorKind::AddrNotAvailable
            || error.raw_os_error() == Some(NO_SUCH_FAMILY);
        if is_none {
            tracing::debug!(%error, %other, "there is no such loopback");
            return Self::none(Localhost::Ours);
        }
        let port = address.port();
        tracing::warn!(%error, %other, port, "another program may be behind localhost");
        Self::none(Localhost::Taken)
    }

    const fn none(localhost: Localhost) -> Self {
        Self {
            listener: None,
            localhost,
        }
    }
}
