//! The text of a turn as it grows: live deltas and parts for the customer, never a part of a secret.

use std::time::Duration;

use nostr::PublicKey;
use tokio::time::Instant;

use super::{saying::MAX_ANSWER, session::Session};
use crate::{agent::claims::Calls, nips::session::live_delta, recorder::Redactor};

/// When a customer gets a part of the answer, after the beginning; then at the last distance again.
const PARTIALS: [Duration; 4] = [
    Duration::from_secs(2),
    Duration::from_secs(6),
    Duration::from_secs(14),
    Duration::from_secs(30),
];

/// What stands between two messages.
const BETWEEN: &str = "\n\n";

/// The text of a turn as it grows.
pub(super) struct Growing {
    /// What the agent said so far.
    pub(super) text: String,
    /// Up to where it is on the record.
    recorded: usize,
    /// Up to where live text went out, in the redacted text that was settled then.
    shown: String,
    stream_seq: u64,
    partials: usize,
    next_partial: Instant,
    reported: usize,
    /// How long the text was when it was looked at for live text, and for a part.
    looked: (usize, usize),
    /// What the agent said about the tools that it is using.
    pub(super) calls: Calls,
    /// How many tools the agent said that it used.
    pub(super) tools: usize,
}

impl Growing {
    pub(super) fn new(began: Instant) -> Self {
        Self {
            text: String::new(),
            recorded: 0,
            shown: String::new(),
            stream_seq: 0,
            partials: 0,
            next_partial: began + PARTIALS[0],
            reported: 0,
            looked: (0, 0),
            calls: Calls::default(),
            tools: 0,
        }
    }

    /// What the agent says.
    pub(super) fn say(&mut self, text: &str) {
        let more = match self.text.ends_with(BETWEEN) {
            true => text.trim_start_matches('\n'),
            false => text,
        };
        self.text.push_str(more);
    }

    /// The agent does something: what it says next is another message.
    pub(super) fn ends_message(&mut self) {
        if self.text.trim().is_empty() || self.text.ends_with(BETWEEN) {
            return;
        }
        let begun = self.text.ends_with('\n');
        self.text.push_str(&BETWEEN[usize::from(begun)..]);
    }

    /// Nothing follows any more: nothing stands behind the last message.
    pub(super) fn ends(&mut self) {
        if self.text.ends_with(BETWEEN) {
            self.text.truncate(self.text.trim_end().len());
            self.recorded = self.recorded.min(self.text.len());
        }
    }

    /// What of the text is on no record yet; all of it where that is nothing.
    pub(super) fn unrecorded(&self) -> &str {
        let rest = &self.text[self.recorded..];
        if rest.trim().is_empty() {
            &self.text
        } else {
            rest.trim_start()
        }
    }

    /// What was said since the last time, for the record, if it was anything.
    pub(super) fn take_unrecorded(&mut self) -> Option<String> {
        let rest = self.text[self.recorded..].trim();
        let rest = (!rest.is_empty()).then(|| rest.to_owned());
        self.recorded = self.text.len();
        rest
    }

    /// Sends live text that cannot turn out to be the beginning of a secret.
    pub(super) async fn show(&mut self, session: &Session, customer: &PublicKey, whole: bool) {
        // Redacting takes time, and a text only grows.
        if session.private || (!whole && self.looked.0 == self.text.len()) {
            return;
        }
        self.looked.0 = self.text.len();
        let redactor = &session.context.redactor;
        let settled = if whole {
            Some(redactor.redact(&self.text).into_owned())
        } else {
            redactor.shown(&self.text)
        };
        let Some(settled) = settled else {
            return;
        };
        let Some(new) = settled
            .strip_prefix(self.shown.as_str())
            .filter(|new| !new.is_empty())
        else {
            return;
        };
        let draft = live_delta(&session.root, self.stream_seq, customer, new);
        self.stream_seq += 1;
        if let Err(error) = session
            .context
            .publisher
            .say(draft, session.log.keys())
            .await
        {
            tracing::debug!(%error, "live text was not sent");
        }
        self.shown = settled;
    }

    /// Sends what is left when the text is complete.
    pub(super) async fn flush(&mut self, session: &Session, customer: &PublicKey) {
        self.show(session, customer, true).await;
    }

    /// The text so far, when it is time for a part and there is something new.
    pub(super) fn partial(&mut self, redactor: &Redactor) -> Option<String> {
        let now = Instant::now();
        if now < self.next_partial || self.looked.1 == self.text.len() {
            return None;
        }
        self.looked.1 = self.text.len();
        let text = redactor.shown(&self.text)?;
        if text.len() <= self.reported {
            return None;
        }
        self.partials += 1;
        self.next_partial = now + PARTIALS[self.partials.min(PARTIALS.len() - 1)];
        self.reported = text.len();
        let cut = text.floor_char_boundary(MAX_ANSWER);
        Some(text[..cut].to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_apart_and_nothing_stands_behind_the_last_one() {
        let mut growing = Growing::new(Instant::now());
        growing.ends_message();
        assert_eq!(growing.text, "");
        for piece in ["I will ", "write it."] {
            growing.say(piece);
        }
        growing.ends_message();
        growing.ends_message();
        growing.say("\nDone.\n");
        growing.ends_message();
        assert_eq!(growing.text, "I will write it.\n\nDone.\n\n");
        let said = growing.take_unrecorded();
        assert_eq!(said.as_deref(), Some("I will write it.\n\nDone."));
        growing.ends();
        assert_eq!(growing.text, "I will write it.\n\nDone.");
        assert_eq!(growing.unrecorded(), growing.text);
    }
}
