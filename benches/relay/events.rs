//! Signed events to publish: about 540 bytes of JSON, with the kinds and tags of jobs.

use nostr::{EventBuilder, JsonUtil, Keys, Kind, Tag, Timestamp};

/// Authors of all events.
pub(crate) const AUTHORS: usize = 20;
/// The kinds that take turns.
pub(crate) const KINDS: [u16; 3] = [5050, 6050, 7000];
/// Events that point to the same one.
pub(crate) const SIBLINGS: usize = 10;

/// One event, ready to be sent.
pub(crate) struct Made {
    /// `["EVENT",{…}]`
    pub(crate) frame: String,
    pub(crate) id: String,
}

/// Makes events that nobody made before, always the same ones for the same seed.
pub(crate) struct Maker {
    authors: Vec<Keys>,
    made: u64,
    began: u64,
}

impl Maker {
    pub(crate) fn new() -> Self {
        Self {
            authors: (0..AUTHORS).map(|_| Keys::generate()).collect(),
            made: 0,
            began: Timestamp::now().as_secs() - 86_400,
        }
    }

    /// The public keys in hex.
    pub(crate) fn authors(&self) -> Vec<String> {
        let key = |keys: &Keys| keys.public_key().to_hex();
        self.authors.iter().map(key).collect()
    }

    /// The value of an `e` tag that some events have in common.
    pub(crate) fn pointed(nth: u64) -> String {
        format!("{:064x}", 0xabcd_0000_0000_u64 + nth)
    }

    /// The next events. Their times spread over a day.
    pub(crate) fn make(&mut self, count: usize) -> Vec<Made> {
        let first = self.made;
        self.made += count as u64;
        let half = count / 2;
        std::thread::scope(|scope| {
            let this = &*self;
            let rest = scope.spawn(move || this.part(first + half as u64, count - half));
            let mut all = this.part(first, half);
            all.extend(rest.join().unwrap());
            all
        })
    }

    fn part(&self, first: u64, count: usize) -> Vec<Made> {
        (first..first + count as u64)
            .map(|nth| {
                let at = nth as usize;
                let keys = &self.authors[at % AUTHORS];
                let other = self.authors[(at + 7) % AUTHORS].public_key();
                let tags = [
                    vec!["e".to_owned(), Self::pointed(nth / SIBLINGS as u64)],
                    vec!["p".to_owned(), other.to_hex()],
                    vec!["t".to_owned(), format!("topic{}", nth % 50)],
                ];
                let kind = Kind::from(KINDS[at % KINDS.len()]);
                let event = EventBuilder::new(kind, format!("event {nth} {}", "x".repeat(60)))
                    .tags(tags.into_iter().map(|tag| Tag::parse(tag).unwrap()))
                    .custom_created_at(Timestamp::from(self.began + nth % 86_000))
                    .sign_with_keys(keys)
                    .unwrap();
                Made {
                    frame: format!(r#"["EVENT",{}]"#, event.as_json()),
                    id: event.id.to_hex(),
                }
            })
            .collect()
    }
}
