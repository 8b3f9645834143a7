//! What the dispatcher decided is stored, and then done.

use nostr::EventId;

use super::{
    Error,
    answers::{send_all, sign},
    dispatcher::{Dispatcher, Response},
    executor::Command,
};
use crate::{
    job::{Effect, JobRecord, Outcome, State},
    nips::nip90::Status,
};

impl Dispatcher {
    /// Stores what changed, then runs the effects.
    ///
    /// # Errors
    /// When the ledger cannot be written or the executor is gone.
    pub(super) async fn perform(&mut self, response: Response) -> Result<(), Error> {
        let cursor = if response.changed.is_empty() && response.refused.is_empty() {
            response.cursor
        } else {
            Some(self.cursor)
        };
        let changed: Vec<JobRecord> = response
            .changed
            .iter()
            .filter_map(|id| self.ledger.get(id).cloned())
            .collect();
        self.store(changed, response.refused, cursor).await?;

        // Nothing waits for an acknowledgement, but for a result that another job starts with.
        let done = |id| {
            self.ledger
                .get(id)
                .is_some_and(|record| record.job.is_done())
        };
        let (at_once, then) = if response.changed.iter().any(done) {
            (Vec::new(), response.commands)
        } else {
            (response.commands, Vec::new())
        };
        self.command(at_once).await?;

        let publisher = &self.context.publisher;
        for event in response.fleeting {
            if let Err(error) = publisher.publish(event).await {
                tracing::warn!(%error, "failed to publish a part of an answer");
            }
        }
        // Within a job in order (the result before its success), jobs beside one another.
        let outboxes = response.changed.iter().filter_map(|id| {
            let outbox = self.ledger.get(id)?.outbox.clone();
            Some(async move { (*id, send_all(publisher, id, outbox).await) })
        });
        let kept = futures_util::future::join_all(outboxes).await;
        let refused = kept.iter().any(|(_, sent)| sent.refused.is_some());
        // A note quotes a result: none where the relay did not take it.
        for event in response.afterwards.into_iter().filter(|_| !refused) {
            if let Err(error) = publisher.publish(event).await {
                tracing::warn!(%error, "failed to publish a note");
            }
        }
        self.command(then).await?;

        // What is published leaves the outbox; the ledger on disk follows with the job's next change. A
        // finished job has no next change, so it is stored once more.
        let mut finished = Vec::new();
        for (id, sent) in kept {
            let Some(record) = self.ledger.get_mut(&id) else {
                continue;
            };
            record.outbox = sent.waiting;
            if let Some(sentence) = sent.refused {
                self.take_back(&id, sentence).await?;
            }
            if let Some(record) = self.ledger.get(&id)
                && record.is_settled()
            {
                finished.push(record.clone());
            }
        }
        if !finished.is_empty() {
            for record in &finished {
                self.ledger.remove(&record.id());
            }
            self.store(finished, Vec::new(), None).await?;
        }
        Ok(())
    }

    async fn command(&self, commands: Vec<Command>) -> Result<(), Error> {
        for command in commands {
            if self.commands.send(command).await.is_err() {
                return Err(Error::Ended("executor"));
            }
        }
        Ok(())
    }

    /// A result that the relay does not take is no result: the customer gets an error in its place.
    async fn take_back(&mut self, id: &EventId, sentence: String) -> Result<(), Error> {
        let Some(record) = self.ledger.get_mut(id) else {
            return Ok(());
        };
        record.result = None;
        record.job.state = State::Done(Outcome::Failed {
            code: "input".to_owned(),
        });
        let effect = Effect::Feedback {
            status: Status::Error,
            sentence: format!("the answer could not be published: {sentence}"),
            code: Some("input"),
            text: String::new(),
            tags: Vec::new(),
        };
        let (event, _) = sign(record, &self.context, effect)?;
        record.outbox = vec![event];
        let changed = vec![record.clone()];
        let outbox = record.outbox.clone();
        self.store(changed, Vec::new(), None).await?;
        let sent = send_all(&self.context.publisher, id, outbox).await;
        if let Some(record) = self.ledger.get_mut(id) {
            record.outbox = sent.waiting;
        }
        Ok(())
    }

    async fn store(
        &mut self,
        records: Vec<JobRecord>,
        refused: Vec<EventId>,
        cursor: Option<u64>,
    ) -> Result<(), Error> {
        if records.is_empty() && refused.is_empty() && cursor.is_none() {
            return Ok(());
        }
        let state = self.context.state.clone();
        // sled waits for the disk.
        tokio::task::spawn_blocking(move || state.commit(&records, &refused, cursor))
            .await
            .map_err(|_| Error::Ended("state"))??;
        if let Some(cursor) = cursor {
            self.stored_cursor = cursor;
        }
        Ok(())
    }
}
