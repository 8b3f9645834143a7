//! Relays that others name: for the answers to their job, and for what is said to them.
//!
//! Off unless the owner opts in. What they name is hostile: ten thousand relays, one relay in many spellings, one that
//! somebody else is to be flooded through, names that lead into this computer. So each naming is read within bounds
//! ([`of_job`], [`of_list`]), the places are few ([`Places`]), and an address is held to more than one of the owner's
//! ([`NamedBy::Other`](super::address::NamedBy)).

mod follow;
mod places;
mod unplaced;

use nostr::Event;

pub(super) use self::follow::run;
use super::address::RelayUrl;

/// Of what somebody names so much is looked at; the rest is not read.
const LOOKED_AT: usize = 64;

/// The relays on which whoever asks waits for the answer (NIP-90, `relays`): the first few that others may name, each host
/// once.
pub(super) fn of_job(job: &Event, most: usize) -> Vec<RelayUrl> {
    let mut found = Vec::new();
    let tags = job.tags.iter().map(nostr::Tag::as_slice);
    let named = tags.filter(|tag| tag[0] == "relays");
    let values = named.flat_map(|tag| &tag[1..]).take(LOOKED_AT);
    for value in values {
        // Real customers write the list as JSON in one value, too.
        match serde_json::from_str::<Vec<String>>(value) {
            Ok(list) => list
                .iter()
                .take(LOOKED_AT)
                .for_each(|text| add(&mut found, text, most)),
            Err(_) => add(&mut found, value, most),
        }
        if found.len() >= most {
            break;
        }
    }
    found
}

/// Where the author of a list of relays reads (NIP-65).
pub(super) fn of_list(list: &Event, most: usize) -> Vec<RelayUrl> {
    let mut found = Vec::new();
    let tags = list.tags.iter().map(nostr::Tag::as_slice);
    let named = tags.filter(|tag| tag[0] == "r").take(LOOKED_AT);
    for tag in named {
        let reads = tag.get(2).is_none_or(|marker| marker != "write");
        if let (true, Some(text)) = (reads, tag.get(1)) {
            add(&mut found, text, most);
        }
    }
    found
}

fn add(found: &mut Vec<RelayUrl>, text: &str, most: usize) {
    if found.len() >= most {
        return;
    }
    match RelayUrl::parse_of_others(text) {
        // Many paths of one host are one host that is spoken to many times.
        Ok(url) if found.iter().any(|known| known.host() == url.host()) => {}
        Ok(url) => found.push(url),
        Err(error) => tracing::debug!(%error, "a relay that was named is left out"),
    }
}

#[cfg(test)]
mod tests {
    use nostr::Keys;

    use super::*;
    use crate::nips::Draft;

    fn urls(found: &[RelayUrl]) -> Vec<&str> {
        found.iter().map(RelayUrl::as_str).collect()
    }

    fn job(tags: &[&[&str]]) -> Event {
        let draft = tags.iter().fold(Draft::new(5050), |draft, tag| {
            draft.tag(tag.iter().copied())
        });
        draft.sign(&Keys::generate(), 1).unwrap()
    }

    #[test]
    fn a_job_names_a_few_hosts_each_once() {
        let of = |tags: &[&[&str]]| {
            let job = job(tags);
            let found = of_job(&job, 3);
            urls(&found).join(" ")
        };
        assert_eq!(of(&[&["relays"]]), "");
        assert_eq!(of(&[&["r", "wss://a.example"]]), "");
        assert_eq!(
            of(&[&[
                "relays",
                "wss://A.example",
                "wss://a.example:443/",
                "wss://a.example./",
                "wss://a.example/other",
                "wss://a.example:8443",
                "wss://b.example",
            ]]),
            "wss://a.example/ wss://b.example/"
        );
        assert_eq!(
            of(&[&[
                "relays",
                r#"["wss://a.example","ws://b.example","wss://c.example"]"#
            ]]),
            "wss://a.example/ wss://c.example/"
        );
        let near = "wss://127.0.0.1 wss://localhost wss://10.0.0.1:4869 wss://nas";
        let near: Vec<&str> = std::iter::once("relays").chain(near.split(' ')).collect();
        assert_eq!(
            of(&[&near, &["relays", "wss://c.example"]]),
            "wss://c.example/"
        );
    }

    #[test]
    fn of_ten_thousand_that_a_job_names_a_few_are_read() {
        let many: Vec<String> = (0..10_000).map(|n| format!("wss://r{n}.example")).collect();
        let tag: Vec<&str> = std::iter::once("relays")
            .chain(many.iter().map(String::as_str))
            .collect();
        let found = of_job(&job(&[&tag]), 3);
        assert_eq!(
            urls(&found),
            [
                "wss://r0.example/",
                "wss://r1.example/",
                "wss://r2.example/"
            ]
        );
        let json = serde_json::to_string(&many).unwrap();
        assert_eq!(of_job(&job(&[&["relays", &json]]), 3).len(), 3);
        // What cannot be used is not looked for forever.
        let bad: Vec<&str> = std::iter::once("relays")
            .chain(std::iter::repeat_n("ws://x.example", 1000))
            .chain(["wss://late.example"])
            .collect();
        assert!(of_job(&job(&[&bad]), 3).is_empty());
    }

    #[test]
    fn of_a_list_only_where_its_author_reads() {
        let list = [
            ["r", "wss://write.example", "write"],
            ["r", "wss://read.example", "read"],
        ]
        .iter()
        .fold(
            Draft::new(10002).tag(["r", "wss://both.example"]),
            |draft, tag| draft.tag(tag.iter().copied()),
        )
        .sign(&Keys::generate(), 1)
        .unwrap();
        assert_eq!(
            urls(&of_list(&list, 3)),
            ["wss://both.example/", "wss://read.example/"]
        );
        assert_eq!(urls(&of_list(&list, 1)), ["wss://both.example/"]);
    }
}
