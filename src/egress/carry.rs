//! Moves the bytes of one connection: counted, within what the job may send and receive, and only while nothing stands
//! still.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

use super::network::{Line, Way};

/// What is moved at once.
const PIECE: usize = 16 * 1024;
/// A connection on which nothing moves for this long is ended.
const IDLE: Duration = Duration::from_secs(300);

/// Moves bytes both ways until both sides are done, one is gone, or the job may move no more. Of a plain request no
/// more than `body` bytes are sent.
pub(super) async fn carry<S>(line: &Line<'_>, inside: S, mut outside: TcpStream, body: Option<u64>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (mut from_agent, mut to_agent) = tokio::io::split(inside);
    let (mut from_host, mut to_host) = outside.split();
    let outward = async {
        copy(
            line,
            Way::Out,
            &mut from_agent,
            &mut to_host,
            body.unwrap_or(u64::MAX),
        )
        .await?;
        // A server may take the end of a request's half for the end of all; of a tunnel it is what the agent said.
        match body {
            None => to_host.shutdown().await,
            Some(_) => Ok(()),
        }
    };
    let inward = async {
        copy(line, Way::In, &mut from_host, &mut to_agent, u64::MAX).await?;
        to_agent.shutdown().await
    };
    let both = async {
        let mut outward = std::pin::pin!(outward);
        let mut inward = std::pin::pin!(inward);
        tokio::select! {
            done = &mut inward => match body {
                // The answer is there: nothing of the request matters any more.
                Some(_) => done,
                None => match done {
                    Ok(()) => outward.await,
                    Err(error) => Err(error),
                },
            },
            done = &mut outward => match done {
                Ok(()) => inward.await,
                Err(error) => Err(error),
            },
        }
    };
    let idle = async {
        loop {
            let before = line.moved();
            tokio::time::sleep(IDLE).await;
            if line.moved() == before && !line.stands_still() {
                return;
            }
        }
    };
    // Why it ended is the affair of the two sides.
    tokio::select! {
        _ended = both => {}
        () = idle => {}
    }
}

async fn copy(
    line: &Line<'_>,
    way: Way,
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut left: u64,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    while left > 0 {
        line.goes_on().await;
        let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let read = from.read(&mut piece[..most]).await?;
        if read == 0 {
            return Ok(());
        }
        // It may have been stopped while this waited.
        line.goes_on().await;
        if !line.spends(way, read) {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        to.write_all(&piece[..read]).await?;
        to.flush().await?;
        left -= u64::try_from(read).unwrap_or(left);
    }
    Ok(())
}
