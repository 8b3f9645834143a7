//! From a name to a connection: looked up once, every address checked, connected to what was checked.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::future::BoxFuture;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};

use super::{
    Settings,
    address::{self, Reach},
    head,
    host::{Host, Place},
};

/// How long a look-up, one connection, and a further proxy's answer may take.
const LOOK: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(6);
const PROXY: Duration = Duration::from_secs(20);
/// Addresses of one name that are tried.
const TRIED: usize = 6;
/// Bytes of a further proxy's answer.
const ANSWER: usize = 8 * 1024;
/// Look-ups at once: the system's resolver takes a thread for each.
const LOOKUPS: usize = 16;

/// How names are looked up.
pub(super) type Lookup =
    Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The system's own way.
pub(super) fn system() -> Lookup {
    let places = Arc::new(Semaphore::new(LOOKUPS));
    Arc::new(move |host, port| {
        let places = places.clone();
        Box::pin(async move {
            let place = places.acquire_owned().await.map_err(io::Error::other)?;
            // The thread works on when nobody waits any more, and keeps its place until then.
            let looking = tokio::spawn(async move {
                let found = tokio::net::lookup_host((host.as_str(), port))
                    .await
                    .map(Iterator::collect);
                drop(place);
                found
            });
            looking.await.map_err(io::Error::other)?
        })
    })
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreached {
    /// It leads to this computer or into a private network.
    Private,
    /// Nobody knows the name.
    Unknown,
    /// Nobody answers.
    Silent,
}

/// Where a connection goes.
#[derive(Debug)]
pub(super) enum Way {
    /// To one of these, all of which were checked.
    Addresses(Vec<SocketAddr>, Named),
    /// To the owner's proxy, which looks the name up.
    Proxy(Place),
}

/// Whether the owner's settings name host and port as one in a private network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Named(bool);

/// Looks a place up and checks what it leads to.
pub(super) async fn look(settings: &Settings, place: &Place) -> Result<Way, Unreached> {
    let named = Named(settings.private.contains(place));
    if let Some(proxy) = settings.proxy.as_ref().filter(|_| !named.0) {
        return Ok(Way::Proxy(proxy.clone()));
    }
    let addresses = match &place.host {
        Host::V4(address) => vec![SocketAddr::from((*address, place.port))],
        Host::V6(address) => vec![SocketAddr::from((*address, place.port))],
        Host::Name(_) => {
            let found = timeout(LOOK, (settings.lookup)(place.host.bare(), place.port)).await;
            match found {
                Ok(Ok(found)) => found,
                Ok(Err(_)) | Err(_) => return Err(Unreached::Unknown),
            }
        }
    };
    if addresses.is_empty() {
        return Err(Unreached::Unknown);
    }
    // A public name of which one address is private is not what its owner says it is.
    if addresses.iter().any(|at| !may_be_reached(at.ip(), named)) {
        return Err(Unreached::Private);
    }
    Ok(Way::Addresses(
        addresses.into_iter().take(TRIED).collect(),
        named,
    ))
}

fn may_be_reached(address: IpAddr, Named(named): Named) -> bool {
    match address::reach(address) {
        Reach::Public => named || !address::is_own(address),
        Reach::Private => named,
        Reach::Never => false,
    }
}

/// Connects. What is written to it goes to the host itself, but for a plain request by way of a proxy.
pub(super) async fn connect(way: &Way, place: &Place, plain: bool) -> Result<TcpStream, Unreached> {
    match way {
        Way::Addresses(addresses, Named(named)) => {
            for address in addresses {
                let Ok(Ok(stream)) = timeout(CONNECT, TcpStream::connect(address)).await else {
                    continue;
                };
                // Where it comes out at the address that it left from, it never left this computer.
                let own = match (stream.peer_addr(), stream.local_addr()) {
                    (Ok(peer), Ok(local)) => peer.ip().to_canonical() == local.ip().to_canonical(),
                    _ => true,
                };
                if own && !named {
                    return Err(Unreached::Private);
                }
                return Ok(stream);
            }
            Err(Unreached::Silent)
        }
        Way::Proxy(proxy) => {
            let asking = by_proxy(proxy, place, plain);
            match timeout(PROXY, asking).await {
                Ok(Ok(Some(stream))) => Ok(stream),
                Ok(Ok(None) | Err(_)) | Err(_) => Err(Unreached::Silent),
            }
        }
    }
}

/// A connection to the owner's proxy, with the way through it opened unless it is asked for one request.
async fn by_proxy(proxy: &Place, place: &Place, plain: bool) -> io::Result<Option<TcpStream>> {
    let mut stream = TcpStream::connect((proxy.host.bare(), proxy.port)).await?;
    if plain {
        return Ok(Some(stream));
    }
    stream
        .write_all(&head::connect(&place.host, place.port))
        .await?;
    let mut answer = Vec::new();
    // Byte by byte: what comes after it is the host's.
    while head::end(&answer, answer.len().saturating_sub(1)).is_none() {
        if answer.len() == ANSWER {
            return Ok(None);
        }
        answer.push(stream.read_u8().await?);
    }
    Ok(head::is_open(&answer).then_some(stream))
}
