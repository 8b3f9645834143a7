//! What the service provider answers: feedback (kind 7000) and results (kinds 6000–6999).
//!
//! Tag order is part of the contract: NDK, Coracle and Amethyst each take the first `e` for the job, and
//! Coracle the first element of a decrypted feedback for the status (`nips/90.md`).

use nostr::{Event, EventId, JsonUtil, Keys, PublicKey};
use serde::{Deserialize, Serialize};

use super::encryption::{EncryptionError, Scheme};
use crate::nips::{Draft, Reference, kind};

/// A request longer than this many bytes of JSON is quoted once in its result, in `request`: clients refuse
/// events that are too long.
const MAX_QUOTED_TWICE: usize = 64 << 10;

/// The five status words of NIP-90.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Payment is asked for. treefort never sends it, and reads it.
    PaymentRequired,
    /// The job is being worked on.
    Processing,
    /// The job ended without a result.
    Error,
    /// The job ended; its result was published before this.
    Success,
    /// A part of the result.
    Partial,
}

impl Status {
    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PaymentRequired => "payment-required",
            Self::Processing => "processing",
            Self::Error => "error",
            Self::Success => "success",
            Self::Partial => "partial",
        }
    }

    /// Reads the word; anything else is no status of NIP-90.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::PaymentRequired,
            Self::Processing,
            Self::Error,
            Self::Success,
            Self::Partial,
        ]
        .into_iter()
        .find(|status| status.as_str() == word)
    }
}

/// The answer to a cancellation of a job that was deleted before it was read: whoever waits for an end gets one.
#[must_use]
pub fn cancelled_unread(job: &EventId, customer: &PublicKey, relay: &str) -> Draft {
    let sentence = "the job was taken back before it began";
    Draft::new(kind::JOB_FEEDBACK)
        .tag(["status", Status::Error.as_str(), sentence])
        .tag(["code", "cancelled"])
        .tag(["e", &job.to_hex(), relay])
        .tag(["p", &customer.to_hex()])
        .tag(["alt", "Job feedback: error"])
        .content(sentence)
}

/// Writes the answers to one job.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    /// The job, as it was signed.
    pub request: &'a Event,
    /// How the answers are written: as the request was.
    pub scheme: Scheme,
    /// Where the answers can be read.
    pub relay: &'a str,
    /// The service provider's keys.
    pub keys: &'a Keys,
}

impl Reply<'_> {
    /// Feedback: `status` with a sentence for people, a machine word for errors, for `partial` the text
    /// so far, and what else programs read.
    ///
    /// # Errors
    /// When an encrypted job's customer cannot be written to.
    pub fn feedback(
        &self,
        status: Status,
        sentence: &str,
        code: Option<&str>,
        text: &str,
        tags: Vec<Vec<String>>,
    ) -> Result<Draft, EncryptionError> {
        let mut said = vec![vec!["status".to_owned(), status.as_str().to_owned()]];
        if !sentence.is_empty() {
            said[0].push(sentence.to_owned());
        }
        said.extend(code.map(|code| vec!["code".to_owned(), code.to_owned()]));
        said.extend(tags);
        let addressed = [
            vec![
                "e".to_owned(),
                self.request.id.to_hex(),
                self.relay.to_owned(),
            ],
            vec!["p".to_owned(), self.request.pubkey.to_hex()],
        ];
        let alt = format!("Job feedback: {}", status.as_str());
        if self.scheme.is_private() {
            if !text.is_empty() {
                said.push(vec!["content".to_owned(), text.to_owned()]);
            }
            let hidden = serde_json::to_string(&said).map_err(EncryptionError::NotTags)?;
            let content = self
                .scheme
                .encrypt(self.keys, &self.request.pubkey, &hidden)?;
            return Ok(Draft::new(kind::JOB_FEEDBACK)
                .tags(addressed)
                .tag(["encrypted"])
                .tag(["alt", "Job feedback"])
                .content(content));
        }
        Ok(Draft::new(kind::JOB_FEEDBACK)
            .tags(said)
            .tags(addressed)
            .tag(["alt".to_owned(), alt])
            .content(if text.is_empty() { sentence } else { text }))
    }

    /// The result: the request verbatim, the job first among the `e` tags, and `q` for the session's own
    /// result that it rests on. The inputs are repeated as `i` unless the request is long.
    ///
    /// # Errors
    /// When an encrypted job's customer cannot be written to, or the text passes NIP-44's bound.
    pub fn result(
        &self,
        text: &str,
        inner: Option<&Reference>,
        extra: Vec<Vec<String>>,
    ) -> Result<Draft, EncryptionError> {
        let request = self.request.as_json();
        let short = request.len() <= MAX_QUOTED_TWICE;
        let mut draft = Draft::new(kind::result_of(self.request.kind).as_u16())
            .tag(["e", &self.request.id.to_hex(), self.relay])
            .tag(["p", &self.request.pubkey.to_hex()])
            .tag(["request".to_owned(), request]);
        if self.scheme.is_private() {
            draft = draft.tag(["encrypted"]);
        } else if short {
            draft = draft.tags(
                self.request
                    .tags
                    .iter()
                    .map(|tag| tag.as_slice().to_vec())
                    .filter(|tag| tag[0] == "i"),
            );
        }
        draft = draft
            .tag(["status", Status::Success.as_str()])
            .tags(inner.map(|inner| inner.tag("q")))
            .tags(extra)
            .tag(["alt", "Job result"]);
        Ok(draft.content(self.scheme.encrypt(self.keys, &self.request.pubkey, text)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(scheme: Scheme, customer: &Keys, provider: &Keys) -> Event {
        let mut draft = Draft::new(5050).tag(["p", &provider.public_key().to_hex()]);
        if scheme.is_private() {
            draft = draft.tag(["encrypted"]).content(
                scheme
                    .encrypt(customer, &provider.public_key(), r#"[["i","x","text"]]"#)
                    .unwrap(),
            );
        } else {
            draft = draft.tag(["i", "x", "text"]);
        }
        draft.sign(customer, 7).unwrap()
    }

    #[test]
    fn a_plain_result_carries_the_request_verbatim_and_the_job_first() {
        let (customer, provider) = (Keys::generate(), Keys::generate());
        let request = job(Scheme::Plain, &customer, &provider);
        let reply = Reply {
            request: &request,
            scheme: Scheme::Plain,
            relay: "ws://r",
            keys: &provider,
        };
        let result = reply.result("done", None, Vec::new()).unwrap();
        assert_eq!(result.kind, 6050);
        let e = result.tags.iter().find(|tag| tag[0] == "e").unwrap();
        assert_eq!(e[1], request.id.to_hex());
        let json = &result.tags.iter().find(|tag| tag[0] == "request").unwrap()[1];
        let copy = Event::from_json(json).unwrap();
        assert_eq!(copy, request);
        copy.verify().unwrap();
        assert!(
            result
                .tags
                .contains(&vec!["i".into(), "x".into(), "text".into()])
        );
    }

    #[test]
    fn a_long_request_is_quoted_once() {
        let (customer, provider) = (Keys::generate(), Keys::generate());
        let prompt = "x".repeat(MAX_QUOTED_TWICE);
        let request = Draft::new(5050)
            .tag(["i", &prompt, "text"])
            .sign(&customer, 7)
            .unwrap();
        let reply = Reply {
            request: &request,
            scheme: Scheme::Plain,
            relay: "ws://r",
            keys: &provider,
        };
        let result = reply.result("done", None, Vec::new()).unwrap();
        assert!(result.tags.iter().all(|tag| tag[0] != "i"));
        let json = &result.tags.iter().find(|tag| tag[0] == "request").unwrap()[1];
        assert_eq!(Event::from_json(json).unwrap(), request);
    }

    #[test]
    fn encrypted_answers_hide_everything_and_begin_with_the_status() {
        let (customer, provider) = (Keys::generate(), Keys::generate());
        for scheme in [Scheme::Nip04, Scheme::Nip44] {
            let request = job(scheme, &customer, &provider);
            let reply = Reply {
                request: &request,
                scheme,
                relay: "ws://r",
                keys: &provider,
            };
            let feedback = reply
                .feedback(Status::Partial, "half", None, "some text", Vec::new())
                .unwrap();
            assert!(feedback.tags.iter().all(|tag| tag[0] != "status"));
            let plain = scheme
                .decrypt(&customer, &provider.public_key(), &feedback.content)
                .unwrap();
            let tags: Vec<Vec<String>> = serde_json::from_str(&plain).unwrap();
            assert_eq!(tags[0], ["status", "partial", "half"]);
            assert_eq!(tags[1], ["content", "some text"]);

            let result = reply.result("answer", None, Vec::new()).unwrap();
            assert!(result.tags.iter().all(|tag| tag[0] != "i"));
            assert_eq!(
                scheme
                    .decrypt(&customer, &provider.public_key(), &result.content)
                    .unwrap(),
                "answer"
            );
        }
    }

    #[test]
    fn knows_only_the_five_words() {
        for word in [
            "payment-required",
            "processing",
            "error",
            "success",
            "partial",
        ] {
            assert_eq!(Status::parse(word).unwrap().as_str(), word);
        }
        assert_eq!(Status::parse("chain-scheduled"), None);
    }
}
