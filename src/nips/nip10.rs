//! NIP-10: Text Notes and Threads — the thread beside the records that any client shows.
//!
//! <https://github.com/nostr-protocol/nips/blob/master/10.md>

use nostr::{
    EventId, PublicKey,
    nips::nip19::{Nip19Event, ToBech32},
};

use super::{Draft, Reference, kind};

/// The note that opens a job's thread; it quotes the job (NIP-18 `q`).
#[must_use]
pub fn opening(job: &Reference, mentions: &[PublicKey], text: &str) -> Draft {
    Draft::new(kind::NOTE)
        .tag(["t", "agents"])
        .tags([job.tag("q")])
        .tags(
            mentions
                .iter()
                .map(|key| vec!["p".to_owned(), key.to_hex()]),
        )
        .content(text)
}

/// The note that opens a comparison; its id is the comparison's (`nips/90.md`).
#[must_use]
pub fn comparison(provider: &PublicKey, text: &str) -> Draft {
    Draft::new(kind::NOTE)
        .tag(["t", "agents"])
        .tag(["p", &provider.to_hex()])
        .content(text)
}

/// A reply in the thread, to its root.
#[must_use]
pub fn reply(root: &Reference, quoted: Option<&Reference>, text: &str) -> Draft {
    Draft::new(kind::NOTE)
        .tags([root.marked_tag("e", "root")])
        .tags(root.author.map(|key| vec!["p".to_owned(), key.to_hex()]))
        .tags(quoted.map(|quoted| quoted.tag("q")))
        .content(text)
}

/// The `nostr:nevent1…` address of an event (NIP-19, NIP-21), for the text of a note.
#[must_use]
pub fn nevent(id: EventId, author: PublicKey, relay: &str) -> String {
    let mut pointer = Nip19Event::new(id).author(author);
    if let Ok(url) = nostr::RelayUrl::parse(relay) {
        pointer = pointer.relays([url]);
    }
    let encoded = pointer.to_bech32().unwrap_or_else(|_| id.to_hex());
    format!("nostr:{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_reply_has_the_same_tags() {
        let vectors: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(include_str!("../../tests/it/fixtures/events.json")).unwrap();
        let golden: nostr::Event =
            serde_json::from_value(vectors["mirror_kind1_reply"].clone()).unwrap();
        let tags = Draft::of(&golden).tags;
        let root = Reference {
            id: EventId::from_hex(&tags[0][1]).unwrap(),
            relay: tags[0][2].clone(),
            author: Some(PublicKey::from_hex(&tags[0][4]).unwrap()),
        };
        let quoted = Reference::parse(&tags[2]).unwrap();
        assert_eq!(
            reply(&root, Some(&quoted), &golden.content),
            Draft::of(&golden)
        );
    }

    #[test]
    fn nevent_can_be_read_back() {
        let keys = nostr::Keys::generate();
        let id = EventId::all_zeros();
        let address = nevent(id, keys.public_key(), "ws://127.0.0.1:4869");
        let event =
            <Nip19Event as nostr::nips::nip21::FromNostrUri>::from_nostr_uri(&address).unwrap();
        assert_eq!(
            (event.event_id, event.author),
            (id, Some(keys.public_key()))
        );
    }
}
