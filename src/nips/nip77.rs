//! NIP-77: two sides find out which events each of them lacks, by negentropy.
//! <https://github.com/nostr-protocol/nips/blob/master/77.md>
//!
//! Here is what goes over the wire; the reconciliation itself is the crate `negentropy`'s.

use nostr::Filter;
use serde_json::value::RawValue;

use super::nip01::{FilterError, MAX_SUBSCRIPTION_ID, parse_filter, subscription_id};

/// A message from a client.
#[derive(Debug)]
pub enum Message {
    /// `["NEG-OPEN", <subscription>, <filter>, <hex>]`
    Open {
        /// The client's name of the reconciliation.
        subscription: String,
        /// What it is about.
        filter: Box<Filter>,
        /// The first message, decoded.
        message: Vec<u8>,
    },
    /// `["NEG-MSG", <subscription>, <hex>]`
    Message {
        /// The client's name of the reconciliation.
        subscription: String,
        /// The message, decoded.
        message: Vec<u8>,
    },
    /// `["NEG-CLOSE", <subscription>]`
    Close(String),
}

/// Why a frame is not such a message.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Elements are missing.
    #[error("{0} is incomplete")]
    Incomplete(&'static str),
    /// The subscription id is not a string of 1 to 64 characters.
    #[error("a subscription id has 1 to {MAX_SUBSCRIPTION_ID} characters")]
    SubscriptionId,
    /// The filter is not one.
    #[error("{source}")]
    Filter {
        /// The subscription that the client named.
        subscription: String,
        /// What is wrong.
        source: FilterError,
    },
    /// The message is not hexadecimal.
    #[error("a negentropy message is written in hexadecimal digits")]
    Hex {
        /// The subscription that the client named.
        subscription: String,
    },
}

impl Error {
    /// The subscription that a `NEG-ERR` can name.
    #[must_use]
    pub fn subscription(&self) -> Option<&str> {
        match self {
            Self::Incomplete(_) | Self::SubscriptionId => None,
            Self::Filter { subscription, .. } | Self::Hex { subscription } => Some(subscription),
        }
    }
}

/// Whether a verb is one of these.
#[must_use]
pub fn is_verb(verb: &str) -> bool {
    matches!(verb, "NEG-OPEN" | "NEG-MSG" | "NEG-CLOSE")
}

/// Reads what follows the verb.
///
/// # Errors
/// When it is not a message.
pub fn parse(verb: &str, rest: &[&RawValue]) -> Result<Message, Error> {
    let (verb, wanted) = match verb {
        "NEG-OPEN" => ("NEG-OPEN", 3),
        "NEG-MSG" => ("NEG-MSG", 2),
        _ => ("NEG-CLOSE", 1),
    };
    let [name, elements @ ..] = rest else {
        return Err(Error::Incomplete(verb));
    };
    let name = subscription_id(name).map_err(|_| Error::SubscriptionId)?;
    if rest.len() < wanted {
        return Err(Error::Incomplete(verb));
    }
    Ok(match elements {
        [filter, message, ..] if verb == "NEG-OPEN" => match parse_filter(filter.get()) {
            Ok(filter) => Message::Open {
                message: decode(&name, message)?,
                subscription: name,
                filter: Box::new(filter),
            },
            Err(source) => {
                return Err(Error::Filter {
                    subscription: name,
                    source,
                });
            }
        },
        [message, ..] if verb == "NEG-MSG" => Message::Message {
            message: decode(&name, message)?,
            subscription: name,
        },
        _ => Message::Close(name),
    })
}

fn decode(name: &str, raw: &RawValue) -> Result<Vec<u8>, Error> {
    serde_json::from_str::<String>(raw.get())
        .ok()
        .and_then(|digits| hex::decode(digits).ok())
        .ok_or_else(|| Error::Hex {
            subscription: name.to_owned(),
        })
}

/// `["NEG-MSG", <subscription>, <hex>]`
#[must_use]
pub fn write_message(subscription: &str, message: &[u8]) -> String {
    let name = serde_json::Value::from(subscription);
    format!(r#"["NEG-MSG",{name},"{}"]"#, hex::encode(message))
}

/// `["NEG-ERR", <subscription>, <reason>]`
#[must_use]
pub fn write_error(subscription: &str, reason: &str) -> String {
    serde_json::json!(["NEG-ERR", subscription, reason]).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Message, Error> {
        let parts: Vec<&RawValue> = serde_json::from_str(text).unwrap();
        let verb: String = serde_json::from_str(parts[0].get()).unwrap();
        assert!(is_verb(&verb));
        parse(&verb, &parts[1..])
    }

    #[test]
    fn reads_every_message() {
        assert!(matches!(
            read(r#"["NEG-OPEN","a",{"kinds":[1]},"6100"]"#).unwrap(),
            Message::Open { subscription, message, .. } if subscription == "a" && message == [0x61, 0]
        ));
        assert!(matches!(
            read(r#"["NEG-MSG","a","61"]"#).unwrap(),
            Message::Message { message, .. } if message == [0x61]
        ));
        assert!(matches!(
            read(r#"["NEG-CLOSE","a"]"#).unwrap(),
            Message::Close(name) if name == "a"
        ));
    }

    #[test]
    fn says_whom_an_error_is_for() {
        for (text, named) in [
            (r#"["NEG-OPEN"]"#, None),
            (r#"["NEG-OPEN","a",{}]"#, None),
            (r#"["NEG-MSG","","61"]"#, None),
            (r#"["NEG-MSG","a"]"#, None),
            (r#"["NEG-MSG","a","6"]"#, Some("a")),
            (r#"["NEG-MSG","a",1]"#, Some("a")),
            (r#"["NEG-OPEN","a",{},"zz"]"#, Some("a")),
            (r#"["NEG-OPEN","a",[],"61"]"#, Some("a")),
            // The form of an earlier draft, with the size of ids before the message.
            (r#"["NEG-OPEN","a",{},16,"61"]"#, Some("a")),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.subscription(), named, "{text}: {error}");
        }
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(write_message("a\"", &[0x61]), r#"["NEG-MSG","a\"","61"]"#);
        assert_eq!(write_error("a\"", "x"), r#"["NEG-ERR","a\"","x"]"#);
    }
}
