//! NIP-01: what clients and relays say to each other, and when an event matches a filter.
//! <https://github.com/nostr-protocol/nips/blob/master/01.md>
//!
//! [`ClientMessage`] borrows from the text of a frame and leaves events unparsed, so that a relay can
//! verify them elsewhere. Relay messages are written by the functions of [`mod@write`].

use std::collections::{BTreeMap, BTreeSet};

use nostr::{Event, EventId, Filter, Kind, PublicKey, SingleLetterTag, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{nip50, nip77};

/// The longest subscription id.
pub const MAX_SUBSCRIPTION_ID: usize = 64;

/// A message from a client. Events stay unparsed JSON.
#[derive(Debug)]
pub enum ClientMessage<'a> {
    /// `["EVENT", <event>]`
    Event(&'a RawValue),
    /// `["REQ", <subscription>, <filter>...]`
    Req {
        /// The client's name of the subscription.
        subscription: String,
        /// The filters, one or more.
        filters: Vec<Filter>,
    },
    /// `["COUNT", <subscription>, <filter>...]` (NIP-45)
    Count {
        /// The client's name of the query.
        subscription: String,
        /// The filters, one or more.
        filters: Vec<Filter>,
    },
    /// `["CLOSE", <subscription>]`
    Close(String),
    /// `["AUTH", <event>]` (NIP-42)
    Auth(&'a RawValue),
    /// `["NEG-…", …]` (NIP-77)
    Negentropy(nip77::Message),
}

/// Why a frame is not a message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Not a JSON array.
    #[error("a message is a JSON array")]
    NotAnArray(#[source] serde_json::Error),
    /// The array is empty or its first element is not a string.
    #[error("a message starts with its verb")]
    NoVerb,
    /// A verb that this relay does not know.
    #[error("unknown verb {0:?}")]
    UnknownVerb(String),
    /// Elements are missing.
    #[error("{0} is incomplete")]
    Incomplete(&'static str),
    /// The subscription id is not a string of 1 to 64 characters.
    #[error("a subscription id has 1 to {MAX_SUBSCRIPTION_ID} characters")]
    SubscriptionId,
    /// A filter of a subscription is not one.
    #[error("{source}")]
    Filter {
        /// The subscription that the client named.
        subscription: String,
        /// What is wrong.
        source: FilterError,
    },
    /// What is wrong with a message of NIP-77.
    #[error(transparent)]
    Negentropy(#[from] nip77::Error),
}

/// What a filter may say, beside tags.
const FILTER_FIELDS: [&str; 7] = [
    "ids", "authors", "kinds", "since", "until", "limit", "search",
];

/// Why a filter is not one.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// Not a JSON object.
    #[error("a filter is a JSON object")]
    NotAnObject(#[source] serde_json::Error),
    /// A field has the wrong shape.
    #[error("the filter's {name:?} is not understood")]
    Field {
        /// The field.
        name: String,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// `#` and more than one letter.
    #[error("only single-letter tags can be asked for, not {0:?}")]
    Tag(String),
    /// There is no such field, and whoever asked is to know it.
    #[error(
        "a filter has no {0:?}; there are ids, authors, kinds, since, until, limit, search and tags such as \"#t\""
    )]
    Unknown(String),
    /// What to look for is too long (NIP-50).
    #[error("{0}")]
    Search(#[from] nip50::SearchError),
}

impl<'a> ClientMessage<'a> {
    /// Reads one text frame.
    ///
    /// # Errors
    /// When it is not a message; [`MessageError::Filter`] names the subscription to close.
    pub fn parse(text: &'a str) -> Result<Self, MessageError> {
        let parts: Vec<&RawValue> = serde_json::from_str(text).map_err(MessageError::NotAnArray)?;
        let (verb, rest) = parts.split_first().ok_or(MessageError::NoVerb)?;
        let verb: String = serde_json::from_str(verb.get()).map_err(|_| MessageError::NoVerb)?;
        match verb.as_str() {
            "EVENT" => Ok(Self::Event(
                rest.first().ok_or(MessageError::Incomplete("EVENT"))?,
            )),
            "AUTH" => Ok(Self::Auth(
                rest.first().ok_or(MessageError::Incomplete("AUTH"))?,
            )),
            "REQ" => {
                let (subscription, filters) = query(rest, "REQ")?;
                Ok(Self::Req {
                    subscription,
                    filters,
                })
            }
            "COUNT" => {
                let (subscription, filters) = query(rest, "COUNT")?;
                Ok(Self::Count {
                    subscription,
                    filters,
                })
            }
            "CLOSE" => Ok(Self::Close(subscription_id(
                rest.first().ok_or(MessageError::Incomplete("CLOSE"))?,
            )?)),
            verb if nip77::is_verb(verb) => Ok(Self::Negentropy(nip77::parse(verb, rest)?)),
            _ => Err(MessageError::UnknownVerb(verb.chars().take(32).collect())),
        }
    }
}

pub(super) fn subscription_id(raw: &RawValue) -> Result<String, MessageError> {
    let id: String = serde_json::from_str(raw.get()).map_err(|_| MessageError::SubscriptionId)?;
    if id.is_empty() || id.chars().count() > MAX_SUBSCRIPTION_ID {
        return Err(MessageError::SubscriptionId);
    }
    Ok(id)
}

fn query(rest: &[&RawValue], verb: &'static str) -> Result<(String, Vec<Filter>), MessageError> {
    let (id, filters) = rest.split_first().ok_or(MessageError::Incomplete(verb))?;
    let subscription = subscription_id(id)?;
    if filters.is_empty() {
        return Err(MessageError::Incomplete(verb));
    }
    let filters: Result<Vec<Filter>, FilterError> = filters
        .iter()
        .map(|filter| parse_filter(filter.get()))
        .collect();
    match filters {
        Ok(filters) => Ok((subscription, filters)),
        Err(source) => Err(MessageError::Filter {
            subscription,
            source,
        }),
    }
}

/// Reads one filter. Unknown fields are ignored, as NIP-01 clients expect; an unknown `#` tag is refused,
/// since ignoring it would answer with events that the client did not ask for.
///
/// # Errors
/// When it is not an object or a field has the wrong shape.
pub fn parse_filter(json: &str) -> Result<Filter, FilterError> {
    let fields: BTreeMap<String, &RawValue> =
        serde_json::from_str(json).map_err(FilterError::NotAnObject)?;
    let mut filter = Filter::new();
    for (name, raw) in &fields {
        let raw = raw.get();
        match name.as_str() {
            "ids" => filter.ids = Some(field::<BTreeSet<EventId>>(name, raw)?),
            "authors" => filter.authors = Some(field::<BTreeSet<PublicKey>>(name, raw)?),
            // `Kind` itself would take numbers beyond 65535.
            "kinds" => {
                let kinds = field::<BTreeSet<u16>>(name, raw)?;
                filter.kinds = Some(kinds.into_iter().map(Kind::from).collect());
            }
            "since" => filter.since = Some(field::<Timestamp>(name, raw)?),
            "until" => filter.until = Some(field::<Timestamp>(name, raw)?),
            "limit" => filter.limit = Some(field::<usize>(name, raw)?),
            "search" => {
                let text = field::<String>(name, raw)?;
                // One that asks for nothing is none (NIP-50).
                filter.search = nip50::Search::parse(&text)?.map(|_| text);
            }
            tag => {
                if let Some(letter) = tag.strip_prefix('#') {
                    let letter: SingleLetterTag = letter
                        .parse()
                        .map_err(|_| FilterError::Tag(tag.chars().take(32).collect()))?;
                    filter
                        .generic_tags
                        .insert(letter, field::<BTreeSet<String>>(name, raw)?);
                }
            }
        }
    }
    Ok(filter)
}

/// Whether a filter may say something under this name: all else is passed over by [`parse_filter`], so that it would match
/// more than was meant.
#[must_use]
pub fn is_filter_field(name: &str) -> bool {
    FILTER_FIELDS.contains(&name) || name.starts_with('#')
}

/// Reads one filter of whom NIP-01 leaves nothing to expect: a field that is not known is refused.
///
/// # Errors
/// As [`parse_filter`], and [`FilterError::Unknown`].
pub fn parse_known_filter(json: &str) -> Result<Filter, FilterError> {
    let filter = parse_filter(json)?;
    let fields: BTreeMap<String, &RawValue> =
        serde_json::from_str(json).map_err(FilterError::NotAnObject)?;
    match fields.into_keys().find(|name| !is_filter_field(name)) {
        Some(name) => Err(FilterError::Unknown(name.chars().take(32).collect())),
        None => Ok(filter),
    }
}

fn field<'de, T: Deserialize<'de>>(name: &str, raw: &'de str) -> Result<T, FilterError> {
    serde_json::from_str(raw).map_err(|source| FilterError::Field {
        name: name.to_owned(),
        source,
    })
}

/// Whether an event matches a filter. Unlike `nostr::Filter::match_event`, an empty list matches nothing.
#[must_use]
pub fn matches(filter: &Filter, event: &Event) -> bool {
    fields_match(filter, event)
        && filter.search.as_ref().is_none_or(|text| {
            nip50::Search::parse(text)
                .is_ok_and(|search| search.is_none_or(|search| search.matches(event)))
        })
}

/// Whether an event matches a filter, whatever it searches for.
#[must_use]
pub fn fields_match(filter: &Filter, event: &Event) -> bool {
    filter
        .ids
        .as_ref()
        .is_none_or(|ids| ids.contains(&event.id))
        && filter
            .kinds
            .as_ref()
            .is_none_or(|kinds| kinds.contains(&event.kind))
        && filter
            .authors
            .as_ref()
            .is_none_or(|authors| authors.contains(&event.pubkey))
        && filter.since.is_none_or(|since| event.created_at >= since)
        && filter.until.is_none_or(|until| event.created_at <= until)
        && filter.generic_tags.iter().all(|(letter, values)| {
            let name = letter.as_str();
            event.tags.iter().any(|tag| match tag.as_slice() {
                [first, value, ..] => first == name && values.contains(value),
                _ => false,
            })
        })
}

/// Whether a filter can match anything at all.
#[must_use]
pub fn is_satisfiable(filter: &Filter) -> bool {
    filter.ids.as_ref().is_none_or(|set| !set.is_empty())
        && filter.kinds.as_ref().is_none_or(|set| !set.is_empty())
        && filter.authors.as_ref().is_none_or(|set| !set.is_empty())
        && filter.generic_tags.values().all(|set| !set.is_empty())
        && !matches!((filter.since, filter.until), (Some(since), Some(until)) if since > until)
}

/// The id that an event claims, when at least that can be read.
#[must_use]
pub fn claimed_id(json: &str) -> Option<EventId> {
    #[derive(Deserialize)]
    struct Claim {
        id: EventId,
    }
    serde_json::from_str::<Claim>(json)
        .ok()
        .map(|claim| claim.id)
}

/// The address `kind:author:d` of a replaceable or addressable event, without the author.
///
/// Replaceable kinds have an empty `d`; `None` for every other kind.
#[must_use]
pub fn identifier(event: &Event) -> Option<&str> {
    if event.kind.is_replaceable() {
        Some("")
    } else if event.kind.is_addressable() {
        Some(first_tag(event, "d").unwrap_or_default())
    } else {
        None
    }
}

/// The first value of the first tag with a name.
#[must_use]
pub fn first_tag<'a>(event: &'a Event, name: &str) -> Option<&'a str> {
    event.tags.iter().find_map(|tag| match tag.as_slice() {
        [first, value, ..] if first == name => Some(value.as_str()),
        _ => None,
    })
}

/// Whether one of an event's tags has this name and first value.
#[must_use]
pub fn has_tag(event: &Event, name: &str, wanted: &str) -> bool {
    event.tags.iter().any(|tag| match tag.as_slice() {
        [first, value, ..] => first == name && value == wanted,
        _ => false,
    })
}

/// A string as JSON, for the messages below.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Messages from a relay, as the text of a frame.
pub mod write {
    use super::quoted;
    use nostr::EventId;

    /// `["OK", <id>, <accepted>, <message>]`
    #[must_use]
    pub fn ok(id: &EventId, accepted: bool, message: &str) -> String {
        format!(r#"["OK","{id}",{accepted},{}]"#, quoted(message))
    }

    /// `["EOSE", <subscription>]`
    #[must_use]
    pub fn eose(subscription: &str) -> String {
        format!(r#"["EOSE",{}]"#, quoted(subscription))
    }

    /// `["CLOSED", <subscription>, <message>]`
    #[must_use]
    pub fn closed(subscription: &str, message: &str) -> String {
        format!(r#"["CLOSED",{},{}]"#, quoted(subscription), quoted(message))
    }

    /// `["NOTICE", <message>]`
    #[must_use]
    pub fn notice(message: &str) -> String {
        format!(r#"["NOTICE",{}]"#, quoted(message))
    }

    /// `["AUTH", <challenge>]` (NIP-42)
    #[must_use]
    pub fn auth(challenge: &str) -> String {
        format!(r#"["AUTH",{}]"#, quoted(challenge))
    }

    /// `["COUNT", <subscription>, {"count": <n>}]` (NIP-45)
    #[must_use]
    pub fn count(subscription: &str, count: u64) -> String {
        format!(r#"["COUNT",{},{{"count":{count}}}]"#, quoted(subscription))
    }

    /// `["EVENT", <subscription>,` — the event's JSON and `]` follow.
    #[must_use]
    pub fn event_prefix(subscription: &str) -> String {
        format!(r#"["EVENT",{},"#, quoted(subscription))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_verb() {
        assert!(matches!(
            ClientMessage::parse(r#"["EVENT",{"id":"x"}]"#).unwrap(),
            ClientMessage::Event(raw) if raw.get() == r#"{"id":"x"}"#
        ));
        assert!(matches!(
            ClientMessage::parse(r#" ["REQ","a",{"kinds":[1]},{"limit":0}] "#).unwrap(),
            ClientMessage::Req { subscription, filters } if subscription == "a" && filters.len() == 2
        ));
        assert!(matches!(
            ClientMessage::parse(r#"["CLOSE","a"]"#).unwrap(),
            ClientMessage::Close(id) if id == "a"
        ));
    }

    #[test]
    fn refuses_what_is_no_message() {
        for text in [
            "",
            "{}",
            "[]",
            "[1]",
            r#"["EVENT"]"#,
            r#"["REQ"]"#,
            r#"["REQ","a"]"#,
            r#"["REQ","",{}]"#,
            r#"["REQ",1,{}]"#,
            r#"["NOPE"]"#,
            r#"["REQ","a",[]]"#,
            r##"["REQ","a",{"#foo":["x"]}]"##,
            r#"["REQ","a",{"search":1}]"#,
            r#"["REQ","a",{"kinds":[70000]}]"#,
            r#"["REQ","a",{"limit":-1}]"#,
            r#"["REQ","a",{"ids":["abc"]}]"#,
        ] {
            assert!(ClientMessage::parse(text).is_err(), "{text}");
        }
        let long = "x".repeat(64);
        assert!(ClientMessage::parse(&format!(r#"["CLOSE","{long}"]"#)).is_ok());
        assert!(ClientMessage::parse(&format!(r#"["CLOSE","{long}x"]"#)).is_err());
    }

    #[test]
    fn upper_and_lower_case_tags_differ() {
        let filter = parse_filter(r##"{"#E":["1"],"#e":["2"],"unknown":3}"##).unwrap();
        assert_eq!(filter.generic_tags.len(), 2);
    }

    #[test]
    fn an_empty_list_matches_nothing() {
        for json in [
            r#"{"kinds":[]}"#,
            r#"{"ids":[]}"#,
            r##"{"#e":[]}"##,
            r#"{"authors":[]}"#,
        ] {
            assert!(!is_satisfiable(&parse_filter(json).unwrap()), "{json}");
        }
        assert!(is_satisfiable(&parse_filter("{}").unwrap()));
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(write::eose("a\"b"), r#"["EOSE","a\"b"]"#);
    }
}
