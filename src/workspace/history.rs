//! Checkpoints as commits: what stands in their messages, and back.

use super::{Checkpoint, Error, ObjectId, objects::Store};

const FILES: &str = "Treefort-Files: ";
const BYTES: &str = "Treefort-Bytes: ";
const LEFT_OUT: &str = "Treefort-Left-Out: ";

/// The message of a checkpoint's commit: the reason, and the counts as trailers.
pub(super) fn message(reason: &str, files: u64, bytes: u64, left_out: u64) -> String {
    let left_out = match left_out {
        0 => String::new(),
        n => format!("{LEFT_OUT}{n}\n"),
    };
    format!("{reason}\n\n{FILES}{files}\n{BYTES}{bytes}\n{left_out}")
}

/// What a commit says.
pub(super) struct Commit {
    pub(super) tree: ObjectId,
    at: u64,
    message: String,
}

/// Reads a commit.
pub(super) fn commit(store: &Store, id: &ObjectId) -> Result<Commit, Error> {
    let (kind, bytes) = store.read(id)?;
    if kind != super::objects::Kind::Commit {
        return Err(Error::wrong_kind(*id, super::objects::Kind::Commit));
    }
    parse(&bytes).ok_or(Error::Corrupt(*id))
}

fn parse(bytes: &[u8]) -> Option<Commit> {
    let text = String::from_utf8_lossy(bytes);
    let (header, message) = text.split_once("\n\n")?;
    let field = |name: &str| header.lines().find_map(|line| line.strip_prefix(name));
    let at = field("committer ")?.rsplit(' ').nth(1)?.parse().ok()?;
    Some(Commit {
        tree: field("tree ")?.parse().ok()?,
        at,
        message: message.to_owned(),
    })
}

/// The checkpoints under a prefix of references, by number; what is not covered is not stored in them.
pub(super) fn list(store: &Store, prefix: &str) -> Result<Vec<Checkpoint>, Error> {
    let mut found = Vec::new();
    for (name, id) in store.refs(prefix)? {
        let number = name.strip_prefix(prefix).and_then(|rest| rest.parse().ok());
        let Some(number) = number else { continue };
        let commit = commit(store, &id)?;
        let (reason, trailers) = commit
            .message
            .rsplit_once("\n\n")
            .unwrap_or((&commit.message, ""));
        let count = |name: &str| {
            let value = trailers.lines().find_map(|line| line.strip_prefix(name));
            value.and_then(|value| value.parse().ok()).unwrap_or(0)
        };
        found.push(Checkpoint {
            number,
            commit: id,
            tree: commit.tree,
            before: None,
            reason: reason.to_owned(),
            at: commit.at,
            files: count(FILES),
            bytes: count(BYTES),
            left_out: count(LEFT_OUT),
            uncovered: Vec::new(),
        });
    }
    found.sort_by_key(|checkpoint| checkpoint.number);
    for at in 1..found.len() {
        found[at].before = Some(found[at - 1].tree);
    }
    Ok(found)
}
