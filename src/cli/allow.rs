//! `treefort allow`: whose jobs run, beside the owner's.
//!
//! The list is an event that the operator signs (NIP-51, kind 30000, `d` = `treefort/allowed`), so that it
//! can be read and changed with any client that edits follow sets.

use nostr::{Event, PublicKey, Timestamp, ToBech32 as _};
use serde_json::json;

use super::{
    Context,
    error::{CommandError, Kind, Problem},
    launch::{self, Connection},
    output, view,
};
use crate::nips::{Draft, kind, nip89::ALLOWED};

/// Admits the jobs of further people.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Their public key, which they give you: it begins with npub1, or is 64 characters of 0-9 and a-f.
    #[arg(value_name = "KEY", required_unless_present = "list")]
    key: Option<String>,
    /// Admits them no longer.
    #[arg(long, requires = "key")]
    remove: bool,
    /// Lists who is admitted.
    #[arg(long, conflicts_with_all = ["key", "remove"])]
    list: bool,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the key is none, or treefort cannot be reached.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    let key = match &args.key {
        None => None,
        Some(text) => Some(
            PublicKey::parse(text)
                .map_err(|_| CommandError::new(Kind::Usage, Problem::NotAKey(text.clone())))?,
        ),
    };
    launch::with(context, async |connection| {
        let before = current(connection).await?;
        let mut allowed: Vec<PublicKey> = before.iter().flat_map(view::people).collect();
        if let Some(key) = key {
            let there = allowed.contains(&key);
            if args.remove {
                allowed.retain(|other| *other != key);
            } else if !there {
                allowed.push(key);
            }
            if there == args.remove {
                publish(connection, before.as_ref(), &allowed).await?;
            }
            let npub = npub(&key);
            output::progress(if args.remove {
                format!("{npub} may no longer have jobs done")
            } else {
                format!("{npub} may have jobs done")
            });
        }
        if args.list || args.json {
            for key in &allowed {
                if args.json {
                    output::json(&json!({"npub": npub(key), "hex": key.to_hex()}))?;
                } else {
                    output::line(npub(key))?;
                }
            }
        }
        Ok(())
    })
    .await
}

/// The list as it stands.
async fn current(connection: &mut Connection) -> Result<Option<Event>, CommandError> {
    let filter = view::of_kind(kind::FOLLOW_SET)
        .author(connection.keyring.operator().public_key())
        .identifier(ALLOWED);
    Ok(connection
        .client
        .newest(filter, 1)
        .await?
        .into_iter()
        .next())
}

/// How many are admitted beside the owner.
pub(super) async fn count(connection: &mut Connection) -> Result<usize, CommandError> {
    let list = current(connection).await?;
    Ok(list.iter().flat_map(view::people).count())
}

async fn publish(
    connection: &mut Connection,
    before: Option<&Event>,
    allowed: &[PublicKey],
) -> Result<(), CommandError> {
    // Of two versions in one second the one with the lower id would win.
    let at = Timestamp::now()
        .as_secs()
        .max(before.map_or(0, |event| event.created_at.as_secs() + 1));
    let event = changed(before, allowed)
        .sign(connection.keyring.operator(), at)
        .map_err(super::client::Error::from)?;
    Ok(connection.client.publish(&event).await?)
}

/// The list with other keys; what else another client wrote into it stays.
fn changed(before: Option<&Event>, allowed: &[PublicKey]) -> Draft {
    let mut draft = before.map_or_else(
        || {
            Draft::new(kind::FOLLOW_SET)
                .tag(["d", ALLOWED])
                .tag(["title", "Whose jobs treefort runs"])
        },
        Draft::of,
    );
    let kept = |tag: &[String]| {
        tag.get(1)
            .and_then(|key| PublicKey::from_hex(key).ok())
            .is_some_and(|key| allowed.contains(&key))
    };
    draft.tags.retain(|tag| tag[0] != "p" || kept(tag));
    for key in allowed {
        let hex = key.to_hex();
        if !draft
            .tags
            .iter()
            .any(|tag| tag[0] == "p" && tag.get(1) == Some(&hex))
        {
            draft = draft.tag(["p".to_owned(), hex]);
        }
    }
    draft
}

/// A public key as people pass it on.
#[must_use]
pub fn npub(key: &PublicKey) -> String {
    key.to_bech32()
        .unwrap_or_else(|infallible| match infallible {})
}

#[cfg(test)]
mod tests {
    use nostr::Keys;

    use super::*;

    #[test]
    fn a_change_keeps_what_others_wrote() {
        let (operator, friend, other) = (
            Keys::generate(),
            Keys::generate().public_key(),
            Keys::generate().public_key(),
        );
        let before = Draft::new(kind::FOLLOW_SET)
            .tag(["d", ALLOWED])
            .tag(["p", &friend.to_hex(), "wss://x", "Fred"])
            .tag(["color", "green"])
            .sign(&operator, 1)
            .unwrap();
        let more = changed(Some(&before), &[friend, other]);
        assert_eq!(more.tags[1][3], "Fred");
        assert_eq!(more.tags.last().unwrap()[1], other.to_hex());
        let fewer = changed(Some(&before), &[]);
        assert!(fewer.tags.iter().all(|tag| tag[0] != "p"));
        assert!(fewer.tags.iter().any(|tag| tag[0] == "color"));
    }
}
