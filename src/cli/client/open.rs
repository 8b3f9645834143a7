//! What a connection has asked and not yet ended, and the proof of our key that the relay may want first (NIP-42).
//!
//! The relay may end a question with `auth-required:` at any time until our key is proved, also while its answer is not
//! what the command waits for. Such a question is asked once more, under its own name, as soon as the proof is accepted.
//! Nothing is sent here: what is owed to the relay is in [`Open::owed`].

use std::collections::{HashMap, VecDeque};

use nostr::{EventId, JsonUtil as _, Keys, SubscriptionId, Timestamp, message::ClientMessage};

use super::{Error, Refused};
use crate::nips::{Draft, kind};

/// How far the proof of our key is.
#[derive(Debug)]
enum Proof {
    /// No challenge came.
    None,
    /// This event answered the last one.
    Sent(EventId),
    Accepted,
    Refused(Refused),
}

/// A question that is open.
#[derive(Debug)]
struct Asked {
    /// As it was sent.
    text: String,
    /// Whether it is to be asked once more when our key is proved.
    waits: bool,
    /// Whether it was, or is to be.
    again: bool,
}

/// What is open on one connection.
pub(super) struct Open {
    keys: Option<Keys>,
    proof: Proof,
    asked: HashMap<SubscriptionId, Asked>,
    /// What is to be sent to the relay.
    pub(super) owed: VecDeque<String>,
    /// What ended, and why; whoever waits for it is told.
    pub(super) ended: VecDeque<(SubscriptionId, Refused)>,
}

impl Open {
    pub(super) fn new(keys: Option<Keys>) -> Self {
        Self {
            keys,
            proof: Proof::None,
            asked: HashMap::new(),
            owed: VecDeque::new(),
            ended: VecDeque::new(),
        }
    }

    /// Whether there is a key that could be proved.
    pub(super) fn has_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// Remembers a question; it is to be sent.
    pub(super) fn ask(&mut self, id: SubscriptionId, message: &ClientMessage<'_>) {
        let text = message.as_json();
        self.owed.push_back(text.clone());
        let asked = Asked {
            text,
            waits: false,
            again: false,
        };
        self.asked.insert(id, asked);
    }

    /// Forgets a question that was answered.
    pub(super) fn done(&mut self, id: &SubscriptionId) {
        self.asked.remove(id);
    }

    /// Whether our key is proved; nothing while that is not known.
    pub(super) fn is_proved(&self) -> Option<Result<(), Refused>> {
        match &self.proof {
            Proof::Accepted => Some(Ok(())),
            Proof::Refused(refused) => Some(Err(refused.clone())),
            Proof::None => Some(Err(Refused::new(
                "auth-required: treefort gave no challenge",
            ))),
            Proof::Sent(_) => None,
        }
    }

    /// Answers a challenge.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub(super) fn challenged(&mut self, challenge: &str, url: &str) -> Result<(), Error> {
        let Some(keys) = &self.keys else {
            return Ok(());
        };
        let event = Draft::new(kind::CLIENT_AUTH)
            .tag(["relay", url])
            .tag(["challenge", challenge])
            .sign(keys, Timestamp::now().as_secs())?;
        self.proof = Proof::Sent(event.id);
        self.owed.push_back(ClientMessage::auth(event).as_json());
        Ok(())
    }

    /// What the relay said to an event, which may be our proof.
    pub(super) fn answered(&mut self, event: EventId, answer: &Result<(), Refused>) {
        if !matches!(self.proof, Proof::Sent(id) if id == event) {
            return;
        }
        self.proof = match answer {
            Ok(()) => Proof::Accepted,
            Err(refused) => Proof::Refused(refused.clone()),
        };
        let waited: Vec<SubscriptionId> = (self.asked.iter())
            .filter(|(_, asked)| asked.waits)
            .map(|(id, _)| id.clone())
            .collect();
        for id in waited {
            match answer {
                Ok(()) => self.ask_again(&id),
                Err(refused) => self.over(id, refused.clone()),
            }
        }
    }

    /// The relay ended a question. It is asked again if the relay did not know us yet.
    pub(super) fn closed(&mut self, id: SubscriptionId, refused: Refused) {
        let has_keys = self.has_keys();
        let Some(asked) = self.asked.get_mut(&id) else {
            // Nobody waits for it any more.
            return;
        };
        if asked.again || !has_keys || !refused.wants_auth() {
            return self.over(id, refused);
        }
        asked.again = true;
        match self.proof {
            Proof::Sent(_) => asked.waits = true,
            // It was refused before the proof had arrived.
            Proof::Accepted => self.ask_again(&id),
            Proof::None | Proof::Refused(_) => self.over(id, refused),
        }
    }

    fn ask_again(&mut self, id: &SubscriptionId) {
        if let Some(asked) = self.asked.get_mut(id) {
            asked.waits = false;
            self.owed.push_back(asked.text.clone());
        }
    }

    fn over(&mut self, id: SubscriptionId, refused: Refused) {
        self.asked.remove(&id);
        self.ended.push_back((id, refused));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants() -> Refused {
        Refused::new("auth-required: who are you")
    }

    /// One with a question, its answer to a challenge, and that question as it was sent.
    fn challenged() -> (Open, SubscriptionId, EventId, String) {
        let mut open = Open::new(Some(Keys::generate()));
        let id = SubscriptionId::new("a");
        open.ask(
            id.clone(),
            &ClientMessage::req(id.clone(), vec![nostr::Filter::new()]),
        );
        let text = open.owed.pop_front().unwrap();
        open.challenged("c", "ws://x").unwrap();
        let ClientMessage::Auth(proof) =
            ClientMessage::from_json(open.owed.pop_front().unwrap()).unwrap()
        else {
            panic!("no proof");
        };
        (open, id, proof.id, text)
    }

    #[test]
    fn whenever_the_proof_is_accepted_what_was_refused_is_asked_once_more_and_not_twice() {
        for late in [false, true] {
            let (mut open, id, proof, text) = challenged();
            if late {
                open.answered(proof, &Ok(()));
                open.closed(id.clone(), wants());
            } else {
                open.closed(id.clone(), wants());
                assert!(open.owed.is_empty(), "the relay does not know us yet");
                open.answered(proof, &Ok(()));
            }
            assert_eq!(open.owed.pop_front(), Some(text));
            assert!(open.owed.is_empty() && open.ended.is_empty());
            open.closed(id.clone(), wants());
            assert!(open.owed.is_empty());
            assert_eq!(open.ended.pop_front().unwrap().0, id);
        }
    }

    #[test]
    fn a_proof_that_is_refused_ends_what_waited_for_it() {
        let (mut open, id, proof, _) = challenged();
        open.closed(id.clone(), wants());
        assert!(open.is_proved().is_none());
        open.answered(proof, &Err(Refused::new("restricted: not you")));
        let (ended, why) = open.ended.pop_front().unwrap();
        assert_eq!(ended, id);
        assert!(why.message.contains("not you"));
        assert!(open.is_proved().unwrap().is_err() && open.owed.is_empty());
    }

    #[test]
    fn what_ended_for_another_reason_or_for_nobody_is_not_asked_again() {
        let (mut open, id, ..) = challenged();
        open.closed(SubscriptionId::new("other"), wants());
        assert!(open.ended.is_empty());
        open.closed(id.clone(), Refused::new("error: too slow"));
        assert_eq!(open.ended.pop_front().unwrap().0, id);
        assert!(open.owed.is_empty());
    }
}
