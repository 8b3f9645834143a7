//! Job requests (kinds 5000–5999), read as real customers write them.

use nostr::{Event, EventId, Keys, Kind, PublicKey};

use super::{
    comparison::Comparison,
    encryption::{EncryptionError, Scheme},
};
use crate::nips::reference::named_keys;

/// The parameter that says who answers an agent's requests for permission.
pub const PERMISSIONS: &str = "permissions";
/// They are put to the owner.
pub const ASK: &str = "ask";
/// They are allowed, which is the usual.
pub const ALLOW: &str = "allow";
/// The parameter that names a command which is run on the result; it may stand several times.
pub const CHECK: &str = "check";
/// The most checks of one job.
pub const MAX_CHECKS: usize = 8;
/// The most bytes of one of them.
pub const MAX_CHECK: usize = 4096;

/// The parameter that says which hosts a job may reach; without it there is no network.
pub const NETWORK: &str = "network";

/// One input of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The text itself.
    Text(String),
    /// The content of an event.
    Event(EventId),
    /// The output of an earlier job.
    Job(EventId),
    /// A file that the provider has already.
    Blob {
        /// Its SHA-256, in lower case.
        sha256: String,
        /// What it is called.
        name: String,
    },
}

/// A job request, after decryption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRequest {
    /// The job: the id of the request.
    pub id: EventId,
    /// The request kind, 5000–5999.
    pub kind: Kind,
    /// Who asked.
    pub customer: PublicKey,
    /// Whom it asked; empty when the job is for anyone.
    pub providers: Vec<PublicKey>,
    /// How the request was written, and so how the answers are.
    pub scheme: Scheme,
    /// The inputs, in order.
    pub inputs: Vec<Input>,
    /// Parameters in order: name with `-` as `_`, then the values.
    pub params: Vec<(String, Vec<String>)>,
    /// Earlier events that the customer points at with `e`: a conversation goes on from a result.
    pub earlier: Vec<EventId>,
    /// The MIME type asked for.
    pub output: Option<String>,
    /// Which one it is, when several were asked the same.
    pub comparison: Option<Comparison>,
}

/// Why a request cannot be done, in words for the customer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The kind is not 5000–5999.
    #[error("kind {0} is not a job request")]
    Kind(Kind),
    /// The hidden part cannot be read.
    #[error("the encrypted request could not be read: {0}")]
    Encryption(#[from] EncryptionError),
    /// There is nothing to do.
    #[error("the job has no input: add an `i` tag with the text")]
    NoInput,
    /// A web address was given; agents have no network.
    #[error(
        "inputs of type `url` are not fetched, because jobs run without a network: send the text itself"
    )]
    Url,
    /// An input names something that is not an event id.
    #[error("an input of type `{0}` needs an event id")]
    NotAnId(String),
    /// An input type that NIP-90 does not know.
    #[error("unknown input type `{0}`: use text, event, job or blob")]
    UnknownType(String),
    /// A file is named by something that is no address.
    #[error("an input of type `blob` needs the SHA-256 of a file, in hexadecimal")]
    NotAHash,
}

impl JobRequest {
    /// Reads a request. `keys` are the service provider's, for encrypted jobs.
    ///
    /// # Errors
    /// What is wrong, in a sentence for the customer.
    pub fn parse(event: &Event, keys: &Keys) -> Result<Self, RequestError> {
        if !super::super::kind::is_job_request(event.kind) {
            return Err(RequestError::Kind(event.kind));
        }
        let scheme = Scheme::of(event);
        let hidden = scheme.decrypt_tags(keys, event)?;
        let open: Vec<&[String]> = event.tags.iter().map(nostr::Tag::as_slice).collect();
        let all = || {
            open.iter()
                .copied()
                .chain(hidden.iter().map(Vec::as_slice))
                .filter(|tag| !tag.is_empty())
        };

        let mut inputs = Vec::new();
        for tag in all() {
            if let Some(input) = parse_input(tag)? {
                inputs.push(input);
            }
        }
        if inputs.is_empty() && scheme == Scheme::Plain && !event.content.trim().is_empty() {
            inputs.push(Input::Text(event.content.clone()));
        }
        if inputs.is_empty() {
            return Err(RequestError::NoInput);
        }
        Ok(Self {
            id: event.id,
            kind: event.kind,
            customer: event.pubkey,
            providers: named_keys(event),
            scheme,
            inputs,
            params: all()
                .filter(|tag| tag[0] == "param" && tag.len() >= 3)
                .map(|tag| (tag[1].replace('-', "_"), tag[2..].to_vec()))
                .collect(),
            earlier: all()
                .filter(|tag| tag[0] == "e")
                .filter_map(|tag| EventId::from_hex(tag.get(1)?).ok())
                .collect(),
            output: all()
                .find(|tag| tag[0] == "output")
                .and_then(|tag| tag.get(1).cloned()),
            comparison: Comparison::find(all()),
        })
    }

    /// The files that are attached: their addresses and names.
    pub fn blobs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.inputs.iter().filter_map(|input| match input {
            Input::Blob { sha256, name } => Some((sha256.as_str(), name.as_str())),
            _ => None,
        })
    }

    /// The parameters but for the checks: what an open session cannot be given anew for its next job.
    #[must_use]
    pub fn lasting(&self) -> Vec<(String, Vec<String>)> {
        let all = self.params.iter();
        all.filter(|(key, _)| key != CHECK).cloned().collect()
    }

    /// The commands that are to be run on the result, in order.
    pub fn checks(&self) -> impl Iterator<Item = &str> {
        let named = self.params.iter().filter(|(key, _)| key == CHECK);
        named.filter_map(|(_, values)| values.first().map(String::as_str))
    }

    /// The first value of a parameter; `-` and `_` in its name are the same.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params
            .iter()
            .find(|(key, _)| key == name)
            .and_then(|(_, values)| values.first())
            .map(String::as_str)
    }

    /// The first value of a parameter as a number; nonsense counts as absent.
    #[must_use]
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.param(name)?.trim().parse().ok()
    }
}

/// `["i", data, type?, relay?, marker?]`, and the `["input", type, data]` that a few customers send.
fn parse_input(tag: &[String]) -> Result<Option<Input>, RequestError> {
    let (data, kind) = match (
        tag[0].as_str(),
        tag.get(1),
        tag.get(2).map_or("", String::as_str),
    ) {
        ("i", Some(data), kind) => (data.as_str(), kind),
        ("input", Some(kind), data) if is_type(kind) => (data, kind.as_str()),
        ("input", Some(data), kind) => (data.as_str(), kind),
        _ => return Ok(None),
    };
    let id = || EventId::from_hex(data).map_err(|_| RequestError::NotAnId(kind.to_owned()));
    match kind {
        "" | "text" | "prompt" => Ok(Some(Input::Text(data.to_owned()))),
        "event" => Ok(Some(Input::Event(id()?))),
        "job" => Ok(Some(Input::Job(id()?))),
        "url" => Err(RequestError::Url),
        "blob" => {
            let is_hash = data.len() == 64 && data.bytes().all(|b| b.is_ascii_hexdigit());
            if !is_hash {
                return Err(RequestError::NotAHash);
            }
            Ok(Some(Input::Blob {
                sha256: data.to_ascii_lowercase(),
                name: tag.get(4).cloned().unwrap_or_default(),
            }))
        }
        other => Err(RequestError::UnknownType(other.chars().take(32).collect())),
    }
}

fn is_type(word: &str) -> bool {
    matches!(word, "text" | "prompt" | "event" | "job" | "url")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nips::Draft;

    fn parse(draft: &Draft) -> Result<JobRequest, RequestError> {
        let event = draft.sign(&Keys::generate(), 1).unwrap();
        JobRequest::parse(&event, &Keys::generate())
    }

    fn job() -> Draft {
        Draft::new(5050)
    }

    #[test]
    fn reads_a_prompt_as_text_and_both_spellings_of_a_parameter() {
        let request = parse(
            &job()
                .tag(["i", "hello", "prompt"])
                .tag(["i", "world"])
                .tag(["param", "top-k", "7"])
                .tag(["param", "temperature", "0.5"])
                .tag(["output", "text/plain"]),
        )
        .unwrap();
        assert_eq!(
            request.inputs,
            [Input::Text("hello".into()), Input::Text("world".into())]
        );
        assert_eq!(request.number::<u32>("top_k"), Some(7));
        assert_eq!(request.number::<f32>("temperature"), Some(0.5));
        assert_eq!(request.output.as_deref(), Some("text/plain"));
    }

    #[test]
    fn a_file_has_an_address_and_perhaps_a_name() {
        let hash = "AB".repeat(32);
        let request = parse(
            &job()
                .tag(["i", "look", "text"])
                .tag(["i", &hash, "blob", "", "a b.png"])
                .tag(["i", &hash, "blob"]),
        )
        .unwrap();
        let hash = hash.to_lowercase();
        let blobs: Vec<_> = request.blobs().collect();
        assert_eq!(blobs, [(hash.as_str(), "a b.png"), (hash.as_str(), "")]);
    }

    #[test]
    fn survives_the_broken_tags_of_real_customers() {
        let request = parse(
            &job()
                .tag(["input", "text", "a"])
                .tag(["wss://a", "wss://b"])
                .tag(["relays", "[\"wss://a\"]"])
                .tag(["bid", "1", "2"])
                .tag(["param"])
                .tag(["p"]),
        )
        .unwrap();
        assert_eq!(request.inputs, [Input::Text("a".into())]);
        assert!(request.providers.is_empty());
    }

    #[test]
    fn takes_the_content_when_there_is_no_input() {
        assert_eq!(
            parse(&job().content("hi")).unwrap().inputs,
            [Input::Text("hi".into())]
        );
        assert!(matches!(
            parse(&job().content("  ")),
            Err(RequestError::NoInput)
        ));
    }

    #[test]
    fn refuses_what_it_cannot_do_with_a_reason() {
        assert!(matches!(
            parse(&job().tag(["i", "https://x", "url"])),
            Err(RequestError::Url)
        ));
        assert!(matches!(
            parse(&job().tag(["i", "zz", "event"])),
            Err(RequestError::NotAnId(_))
        ));
        for wrong in ["zz", "../../etc/passwd", &"g".repeat(64)] {
            assert!(matches!(
                parse(&job().tag(["i", wrong, "blob"])),
                Err(RequestError::NotAHash)
            ));
        }
        assert!(matches!(
            parse(&job().tag(["i", "zz", "smell"])),
            Err(RequestError::UnknownType(_))
        ));
        assert!(matches!(
            parse(&Draft::new(1).content("x")),
            Err(RequestError::Kind(_))
        ));
    }

    #[test]
    fn reads_both_encryption_schemes_and_hidden_tags() {
        let (customer, provider) = (Keys::generate(), Keys::generate());
        for scheme in [Scheme::Nip04, Scheme::Nip44] {
            let hidden =
                r#"[["i","secret","text"],["param","top_p","0.9"],["output","text/plain"]]"#;
            let content = scheme
                .encrypt(&customer, &provider.public_key(), hidden)
                .unwrap();
            let event = job()
                .tag(["p", &provider.public_key().to_hex()])
                .tag(["encrypted"])
                .content(content)
                .sign(&customer, 1)
                .unwrap();
            let request = JobRequest::parse(&event, &provider).unwrap();
            assert_eq!(request.scheme, scheme);
            assert_eq!(request.inputs, [Input::Text("secret".into())]);
            assert_eq!(request.output.as_deref(), Some("text/plain"));
            assert!(matches!(
                JobRequest::parse(&event, &Keys::generate()),
                Err(RequestError::Encryption(_))
            ));
        }
    }
}
