//! Filters, out of the query of a URL.

use hyper::Uri;
use nostr::{Filter, Url};
use serde_json::{Map, Value, json};

use super::answer::Refusal;
use crate::{nips::nip01, relay::Rejection};

/// A query: filters, and from where a stream goes on.
#[derive(Debug)]
pub(super) struct Asked {
    /// One at least.
    pub(super) filters: Vec<Filter>,
    pub(super) after: Option<u64>,
}

/// Reads a query. What it does not know it refuses: a filter without the field that was misspelt would match more than
/// was asked for.
pub(super) fn read(uri: &Uri, streams: bool) -> Result<Asked, Refusal> {
    let url = format!("http://x/?{}", uri.query().unwrap_or_default());
    let url = Url::parse(&url).map_err(|_| Refusal::bad("this is no query"))?;
    let mut fields = Map::new();
    let mut filters = Vec::new();
    let mut after = None;
    for (name, value) in url.query_pairs() {
        match &*name {
            "filter" => filters.push(filter(&value)?),
            "after" if streams => {
                if after.replace(number("after", &value)?).is_some() {
                    return Err(twice(&name));
                }
            }
            "since" | "until" | "limit" => {
                let value = json!(number(&name, &value)?);
                if fields.insert(name.to_string(), value).is_some() {
                    return Err(twice(&name));
                }
            }
            "search" => {
                let value = Value::String(value.into_owned());
                if fields.insert(name.to_string(), value).is_some() {
                    return Err(twice(&name));
                }
            }
            "kinds" => {
                for kind in value.split(',') {
                    add(&mut fields, "kinds", json!(number("each of kinds", kind)?));
                }
            }
            "ids" | "authors" => {
                for one in value.split(',') {
                    add(&mut fields, &name, json!(one));
                }
            }
            tag => {
                let letter = tag.strip_prefix('#').unwrap_or(tag);
                if !matches!(letter.as_bytes(), [letter] if letter.is_ascii_alphabetic()) {
                    let name: String = name.chars().take(32).collect();
                    return Err(Refusal::bad(format!("there is no parameter {name:?}")));
                }
                // Whole: a tag's value may hold a comma.
                add(&mut fields, &format!("#{letter}"), json!(&*value));
            }
        }
    }
    if !filters.is_empty() && !fields.is_empty() {
        return Err(Refusal::bad(
            "give `filter`, or its fields as parameters, not both",
        ));
    }
    if filters.is_empty() {
        filters.push(filter(&Value::Object(fields).to_string())?);
    }
    Ok(Asked { filters, after })
}

fn filter(json: &str) -> Result<Filter, Refusal> {
    let filter = nip01::parse_known_filter(json);
    filter.map_err(|error| Rejection::Filter(error.to_string()).into())
}

fn add(fields: &mut Map<String, Value>, name: &str, value: Value) {
    let values = fields.entry(name).or_insert_with(|| json!([]));
    if let Value::Array(values) = values {
        values.push(value);
    }
}

/// A number in digits alone.
pub(super) fn number(name: &str, text: &str) -> Result<u64, Refusal> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits.then(|| text.parse().ok()).flatten())
        .ok_or_else(|| Refusal::bad(format!("{name} is a number")))
}

fn twice(name: &str) -> Refusal {
    Refusal::bad(format!("{name} is here twice"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Result<Vec<String>, Refusal> {
        use nostr::JsonUtil as _;
        let uri = format!("/events?{query}").parse().unwrap();
        let asked = read(&uri, false)?;
        Ok(asked.filters.iter().map(Filter::as_json).collect())
    }

    #[test]
    fn fields_and_filters_say_the_same() {
        let id = "ab".repeat(32);
        for (query, filter) in [
            (String::new(), "{}".to_owned()),
            (
                "kinds=1,2&kinds=7".to_owned(),
                r#"{"kinds":[1,2,7]}"#.to_owned(),
            ),
            (format!("ids={id}"), format!(r#"{{"ids":["{id}"]}}"#)),
            (
                "since=1&until=2&limit=3".to_owned(),
                r#"{"since":1,"until":2,"limit":3}"#.to_owned(),
            ),
            (
                "t=a%2Cb&t=c".to_owned(),
                r##"{"#t":["a,b","c"]}"##.to_owned(),
            ),
            ("%23t=x".to_owned(), r##"{"#t":["x"]}"##.to_owned()),
            (
                "search=two+words".to_owned(),
                r#"{"search":"two words"}"#.to_owned(),
            ),
            (
                "filter=%7B%22kinds%22%3A%5B1%5D%7D".to_owned(),
                r#"{"kinds":[1]}"#.to_owned(),
            ),
        ] {
            assert_eq!(of(&query).unwrap(), [filter], "{query}");
        }
        assert_eq!(of("filter={}&filter={}").unwrap().len(), 2);
    }

    #[test]
    fn what_is_not_known_is_not_passed_over() {
        for query in [
            "author=x",
            "kinds=",
            "kinds=65536",
            "kinds=x",
            "kinds=%2B1",
            "ids=xyz",
            "authors=",
            "since=-1",
            "since=1&since=2",
            "limit=1.5",
            "filter=",
            "filter=[]",
            "filter={\"kinds\":1}",
            "filter={\"kindz\":[1],\"limit\":1}",
            "filter={\"kinds\":[1],\"x\":1}",
            "filter={}&kinds=1",
            "after=1",
            "ee=1",
            "=1",
        ] {
            let query = query
                .replace('"', "%22")
                .replace('{', "%7B")
                .replace('}', "%7D");
            assert!(of(&query).is_err(), "{query}");
        }
    }

    #[test]
    fn it_is_said_whether_a_parameter_is_not_there_or_there_twice() {
        let said = |query: &str| {
            let uri = format!("/events/stream?{query}").parse().unwrap();
            match read(&uri, true).unwrap_err() {
                Refusal::Http { sentence, .. } => sentence,
                Refusal::Relay(rejection) => rejection.to_string(),
            }
        };
        let said = ["author=x", "after=1&after=2", "since=1&since=2"].map(said);
        insta::assert_snapshot!(said.join("\n"), @r#"
        there is no parameter "author"
        after is here twice
        since is here twice
        "#);
    }
}
