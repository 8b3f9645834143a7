//! Comparisons: jobs that ask several agents the same (`nips/90.md`, *Comparisons*).

use nostr::{EventId, PublicKey, Tag};

use crate::nips::Reference;

/// The most jobs of one comparison.
pub const MAX_COMPARED: u16 = 32;

/// The tag of a job that is one of several.
const TAG: &str = "comparison";

/// Which of how many a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Comparison {
    /// The comparison: the id of the note that opened it, or 32 random bytes when its jobs are private.
    pub id: EventId,
    /// Which one this is, from 1.
    pub n: u16,
    /// How many there are.
    pub of: u16,
}

impl Comparison {
    /// Reads the tag out of a request's tags; one that says nothing sensible is none.
    pub fn find<'a>(tags: impl IntoIterator<Item = &'a [String]>) -> Option<Self> {
        let tag = tags
            .into_iter()
            .find(|tag| tag.first().is_some_and(|name| name == TAG))?;
        let number = |at: usize| tag.get(at)?.parse::<u16>().ok();
        let (n, of) = (number(2)?, number(3)?);
        let sensible = (1..=of).contains(&n) && of <= MAX_COMPARED;
        let id = EventId::from_hex(tag.get(1)?).ok()?;
        sensible.then_some(Self { id, n, of })
    }

    /// The same of an event whose tags are in the clear.
    #[must_use]
    pub fn of(event: &nostr::Event) -> Option<Self> {
        Self::find(event.tags.iter().map(Tag::as_slice))
    }

    /// The tag itself, for a request, and for what is hidden in a private one.
    #[must_use]
    pub fn tag(&self) -> Vec<String> {
        vec![
            TAG.to_owned(),
            self.id.to_hex(),
            self.n.to_string(),
            self.of.to_string(),
        ]
    }

    /// The tag by which a relay finds the jobs of a comparison that is in the clear: they quote its note.
    #[must_use]
    pub fn quote(&self, relay: &str, customer: &PublicKey) -> Vec<String> {
        let note = Reference {
            id: self.id,
            relay: relay.to_owned(),
            author: Some(*customer),
        };
        note.tag("q")
    }
}

#[cfg(test)]
mod tests {
    use nostr::Keys;

    use super::*;
    use crate::nips::Draft;

    #[test]
    fn what_is_written_is_read() {
        let id = EventId::from_slice(&[7; 32]).unwrap();
        let one = Comparison { id, n: 2, of: 3 };
        let event = Draft::new(5870)
            .tag(["i", "x", "text"])
            .tags([one.tag()])
            .sign(&Keys::generate(), 1)
            .unwrap();
        assert_eq!(Comparison::of(&event), Some(one));
    }

    #[test]
    fn a_tag_without_sense_is_none() {
        let id = "07".repeat(32);
        for tag in [
            vec![],
            vec![TAG],
            vec![TAG, "xx", "1", "2"],
            vec![TAG, &id, "0", "2"],
            vec![TAG, &id, "3", "2"],
            vec![TAG, &id, "1", "33"],
            vec![TAG, &id, "-1", "2"],
            vec![TAG, &id, "99999999999999999999", "2"],
        ] {
            let tag: Vec<String> = tag.into_iter().map(str::to_owned).collect();
            assert_eq!(Comparison::find([tag.as_slice()]), None, "{tag:?}");
        }
    }
}
