//! What an owner writes in the thread of a job, with any client: the agent that is at work there is steered by it.

use std::sync::Arc;

use nostr::{Event, EventId, Filter};

use crate::{
    coordinator::{
        context::{Context, now},
        desk::Word,
    },
    nips::{Reference, kind, nip10, reference::named_keys},
};

/// Older notes are left alone: what they were about is over, and they may be seen again after a restart.
const FRESH_S: u64 = 300;
/// Notes that a note may point at.
const POINTED_AT: usize = 20;

/// What is written below a job that is over.
const OVER: &str = "Nobody is at work on this any more. To say more, ask a follow-up: treefort run --continue \"…\"";

/// Takes in a note of the owner's.
pub(in crate::coordinator) async fn hear(context: Arc<Context>, note: Event) {
    if note.created_at.as_secs().saturating_add(FRESH_S) < now() || note.content.trim().is_empty() {
        return;
    }
    let tags = note.tags.iter().map(nostr::Tag::as_slice);
    let thread: Vec<EventId> = tags
        .filter(|tag| tag[0] == "e")
        .filter_map(|tag| EventId::from_hex(tag.get(1)?).ok())
        .take(POINTED_AT)
        .collect();
    let why = match context.desk.of_note(&thread, &named_keys(&note)) {
        // What is said in the clear to a private job is not for it.
        Some(ear) if ear.about.private => return,
        Some(ear) => {
            let word = |heard| Word::Steer {
                text: note.content.clone(),
                note: Some(note.id),
                heard,
            };
            match ear.say(word).await {
                Ok(()) => return,
                Err(failure) => failure.sentence,
            }
        }
        None => OVER.to_owned(),
    };
    if let Some(root) = our_thread(&context, &thread).await {
        answer(&context, &root, &note, &why).await;
    }
}

/// The first note of the thread, if that is one of ours.
async fn our_thread(context: &Context, thread: &[EventId]) -> Option<Reference> {
    let filter = Filter::new()
        .ids(thread.iter().copied())
        .author(context.keyring.coordinator().public_key())
        .kind(nostr::Kind::from(kind::NOTE))
        .limit(1);
    if thread.is_empty() {
        return None;
    }
    let found = context.relay.query(filter).await.ok()?;
    found
        .first()
        .map(|root| Reference::to(root, &context.relay_url))
}

/// Says it in the thread, once.
async fn answer(context: &Context, root: &Reference, note: &Event, why: &str) {
    let keys = context.keyring.coordinator();
    let said = Filter::new()
        .author(keys.public_key())
        .kind(nostr::Kind::from(kind::NOTE))
        .custom_tag(
            nostr::SingleLetterTag::lowercase(nostr::Alphabet::Q),
            note.id.to_hex(),
        )
        .limit(1);
    if !matches!(context.relay.query(said).await, Ok(said) if said.is_empty()) {
        return;
    }
    let quoted = Reference::to(note, &context.relay_url);
    let reply = nip10::reply(root, Some(&quoted), why);
    let published = match context.publisher.sign(reply, keys) {
        Ok(reply) => context.publisher.publish(reply).await,
        Err(error) => Err(error.into()),
    };
    if let Err(error) = published {
        tracing::warn!(%error, "a note was not answered");
    }
}
