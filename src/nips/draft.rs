//! An event before it is signed.

use nostr::{Event, EventId, Keys, Kind, PublicKey, Tag, Tags, Timestamp, UnsignedEvent};

/// What an event will say: kind, tags in order, content. Signing adds the author and the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The kind, from [`super::kind`].
    pub kind: u16,
    /// Tags in the order in which they are written; the first element of each is its name.
    pub tags: Vec<Vec<String>>,
    /// The content, plain text unless the kind says otherwise.
    pub content: String,
}

/// Why a draft could not become an event.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// A tag has no name.
    #[error("a tag of the draft is empty")]
    EmptyTag,
    /// The key could not sign.
    #[error("failed to sign")]
    Sign(#[source] nostr::event::Error),
    /// The signed event does not verify.
    #[error("the signed event does not verify")]
    Verify(#[source] nostr::event::Error),
}

impl Draft {
    /// An empty draft of one kind.
    #[must_use]
    pub fn new(kind: u16) -> Self {
        Self {
            kind,
            tags: Vec::new(),
            content: String::new(),
        }
    }

    /// Sets the content.
    #[must_use]
    pub fn content(mut self, content: impl Into<String>) -> Self {
        self.content = content.into();
        self
    }

    /// Appends one tag.
    #[must_use]
    pub fn tag<S: Into<String>>(mut self, tag: impl IntoIterator<Item = S>) -> Self {
        self.tags.push(tag.into_iter().map(Into::into).collect());
        self
    }

    /// Appends a tag when there is one.
    #[must_use]
    pub fn tag_opt<S: Into<String>>(self, tag: Option<impl IntoIterator<Item = S>>) -> Self {
        match tag {
            Some(tag) => self.tag(tag),
            None => self,
        }
    }

    /// Appends many tags.
    #[must_use]
    pub fn tags(mut self, tags: impl IntoIterator<Item = Vec<String>>) -> Self {
        self.tags.extend(tags);
        self
    }

    /// Reads an event back into what it says.
    #[must_use]
    pub fn of(event: &Event) -> Self {
        Self {
            kind: event.kind.as_u16(),
            tags: event
                .tags
                .iter()
                .map(|tag| tag.as_slice().to_vec())
                .collect(),
            content: event.content.clone(),
        }
    }

    /// The id that the draft has under an author at a time (NIP-01).
    ///
    /// # Errors
    /// When a tag is empty.
    pub fn id(&self, author: PublicKey, created_at: u64) -> Result<EventId, SignError> {
        Ok(EventId::new(
            &author,
            &Timestamp::from(created_at),
            &Kind::from(self.kind),
            &self.nostr_tags()?,
            &self.content,
        ))
    }

    /// Signs the draft and verifies what was signed, so that a broken event never leaves.
    ///
    /// # Errors
    /// When a tag is empty, the key cannot sign, or the signature does not verify.
    pub fn sign(&self, keys: &Keys, created_at: u64) -> Result<Event, SignError> {
        let event = UnsignedEvent::new(
            keys.public_key(),
            Timestamp::from(created_at),
            Kind::from(self.kind),
            self.nostr_tags()?,
            self.content.clone(),
        )
        .sign_with_keys(keys)
        .map_err(SignError::Sign)?;
        event.verify().map_err(SignError::Verify)?;
        Ok(event)
    }

    fn nostr_tags(&self) -> Result<Tags, SignError> {
        let tags: Result<Vec<Tag>, _> = self.tags.iter().map(Tag::parse).collect();
        Ok(Tags::from_list(tags.map_err(|_| SignError::EmptyTag)?))
    }
}
