//! A file that is in memory, on its way to a browser.
//!
//! A browser may take it as slowly as it likes, and an agent's own page can ask for as many as there are connections.
//! What is long keeps its place among the few that a preview may hold until it was taken, and goes when nobody takes
//! any of it for a while.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};

use crate::preview::body::{Body, full};

/// Long files that a preview holds at once.
pub(super) const AT_ONCE: usize = 2;
/// What has at most so many bytes is not long.
const SHORT: usize = 256 << 10;
/// What is handed on at once.
const PIECE: usize = 64 << 10;
/// How long a browser may take none of it.
const STALLED: Duration = Duration::from_secs(60);

/// The body with these bytes.
pub(super) fn body(bytes: Vec<u8>, place: Option<OwnedSemaphorePermit>) -> Body {
    match place {
        Some(place) if bytes.len() > SHORT => long(bytes, place, STALLED),
        _ => full(bytes),
    }
}

fn long(bytes: Vec<u8>, place: OwnedSemaphorePermit, stalled: Duration) -> Body {
    let (pieces, taken) = mpsc::channel(1);
    tokio::spawn(async move {
        let _place = place;
        for piece in bytes.chunks(PIECE) {
            // A part of the whole would keep all of it.
            let sent = pieces.send(Ok(Frame::data(Bytes::copy_from_slice(piece))));
            if !matches!(timeout(stalled, sent).await, Ok(Ok(()))) {
                tracing::debug!("nobody takes a file of a preview any more");
                break;
            }
        }
    });
    let frames = stream::unfold(taken, async |mut taken| {
        let piece = taken.recv().await?;
        Some((piece, taken))
    });
    StreamBody::new(frames).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    async fn free(places: &Semaphore) {
        let free = places.acquire();
        drop(timeout(Duration::from_secs(10), free).await.unwrap());
    }

    #[tokio::test]
    async fn a_long_file_has_its_place_until_it_was_taken() {
        let places = Arc::new(Semaphore::new(1));
        let take = async || places.clone().acquire_owned().await.ok();
        let bytes: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect();
        let mut sent = body(bytes.clone(), take().await);
        let first = sent.frame().await.unwrap().unwrap().into_data().unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(places.available_permits(), 0, "it is in memory still");
        let rest = sent.collect().await.unwrap().to_bytes();
        assert_eq!([first, rest].concat(), bytes);
        free(&places).await;
        // A browser that leaves, and one that takes nothing.
        drop(body(bytes.clone(), take().await));
        free(&places).await;
        let kept = long(
            bytes,
            places.clone().acquire_owned().await.unwrap(),
            Duration::from_millis(50),
        );
        free(&places).await;
        assert!(kept.collect().await.unwrap().to_bytes().len() < 5_000_000);
        // What is short keeps nobody waiting.
        let _kept = body(vec![0; 1000], take().await);
        free(&places).await;
    }
}
