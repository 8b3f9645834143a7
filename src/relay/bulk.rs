//! Many events at once, from a file: the same door, verified in parallel, committed together, in their order.

use nostr::{Event, JsonUtil, Timestamp};
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::{
    Accepted, Rejection, Relay,
    ingest::{Admitted, Examined, Origin, Reply},
};

/// Events that one task verifies.
const CHUNK: usize = 32;

impl Relay {
    /// Publishes the events of these lines of JSON as [`Self::publish`] does, and says what became of each. The next
    /// lines are best brought when this returns: then what was taken is safe.
    pub async fn publish_lines(&self, lines: Vec<String>) -> Vec<Result<Accepted, Rejection>> {
        let now = Timestamp::now().as_secs();
        let count = lines.len();
        let mut in_flight = self.shared.ingest.announce(count);
        let mut lines = lines.into_iter();
        let mut chunks = Vec::with_capacity(count.div_ceil(CHUNK));
        while lines.len() > 0 {
            let chunk: Vec<String> = lines.by_ref().take(CHUNK).collect();
            let size = chunk.len();
            let relay = self.clone();
            let examined = tokio::spawn(async move {
                chunk
                    .iter()
                    .map(|line| relay.examine(line, now))
                    .collect::<Vec<_>>()
            });
            chunks.push((AbortOnDropHandle::new(examined), size));
        }
        let mut waiting = Vec::with_capacity(count);
        for (chunk, size) in chunks {
            // A task that panicked says nothing about its lines.
            let examined = chunk
                .await
                .unwrap_or_else(|_| (0..size).map(|_| Err(Rejection::Stopping)).collect());
            for examined in examined {
                in_flight.done();
                waiting.push(match examined {
                    Ok(Examined::New(admitted)) => self.hand_over(*admitted).await.map(Some),
                    Ok(Examined::Known(_)) => Ok(None),
                    Err(rejection) => Err(rejection),
                });
            }
        }
        let mut outcomes = Vec::with_capacity(count);
        for receiver in waiting {
            outcomes.push(match receiver {
                Ok(Some(receiver)) => receiver.await.unwrap_or(Err(Rejection::Stopping)),
                Ok(None) => Ok(Accepted::Duplicate),
                Err(rejection) => Err(rejection),
            });
        }
        outcomes
    }

    fn examine(&self, line: &str, now: u64) -> Result<Examined, Rejection> {
        let event =
            Event::from_json(line).map_err(|error| Rejection::Malformed(error.to_string()))?;
        self.shared.ingest.examine(event, Origin::Internal, now)
    }

    async fn hand_over(
        &self,
        admitted: Admitted,
    ) -> Result<oneshot::Receiver<Result<Accepted, Rejection>>, Rejection> {
        let (sender, receiver) = oneshot::channel();
        let reply = Reply::Task(sender);
        self.shared.ingest.submit(admitted, reply).await?;
        Ok(receiver)
    }
}
