//! Taking over a store that fjall holds, which is how treefort kept events before the log.
//!
//! The log is made beside it, complete and durable, and then takes its place by two renames. A start after a crash goes
//! on where that was, or begins anew: fjall's files are untouched until the log is there.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use nostr::{EventId, PublicKey};

use super::{
    LogStore, Options,
    commit::Commit,
    frame::{AddressHash, Entry},
    manifest,
};
use crate::store::{Error, EventStore as _, FjallStore, Record, view::Dead};

/// Rows of one commit.
const BATCH: usize = 1000;

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(end);
    name.into()
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => fs::File::open(parent)?.sync_all(),
        _ => fs::File::open(".")?.sync_all(),
    }
}

fn clear(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Finishes what a crash cut off.
pub(super) fn go_on(path: &Path) -> io::Result<()> {
    let (new, old) = (beside(path, ".new"), beside(path, ".old"));
    if !path.exists() && old.exists() && new.exists() {
        fs::rename(&new, path)?;
        sync_parent(path)?;
    }
    // While there is none, somebody may be making it.
    if path.join(manifest::NAME).exists() {
        clear(&old)?;
        clear(&new)?;
    }
    Ok(())
}

/// Whether it is fjall that has a folder.
pub(super) fn is_fjall(path: &Path) -> bool {
    path.join("version").is_file() && path.join("keyspaces").is_dir()
}

/// Makes a log of what fjall holds in a folder, and puts it there.
pub(super) fn from_fjall(path: &Path, options: Options) -> Result<(), Error> {
    tracing::info!("the events move into a store of another format; this takes a moment");
    let (new, old) = (beside(path, ".new"), beside(path, ".old"));
    {
        let from = FjallStore::open(path)?;
        clear(&new)?;
        copy(&from, &LogStore::begin(&new, options)?)?;
    }
    sync_parent(path)?;
    fs::rename(path, &old)?;
    fs::rename(&new, path)?;
    sync_parent(path)?;
    clear(&old)?;
    Ok(())
}

fn copy(from: &FjallStore, to: &LogStore) -> Result<(), Error> {
    let log = &to.log;
    let mut after = 0;
    loop {
        let rows = from.read_after(after, BATCH)?;
        let Some(last) = rows.last().map(|row| row.seq) else {
            break;
        };
        let mut added = Vec::with_capacity(rows.len());
        for row in rows {
            let json = from.read(row.seq)?.ok_or(Error::Meta("events"))?;
            let event = row.event;
            added.push((row.seq, Record { event, json }));
        }
        let added: Vec<_> = added.iter().map(|(seq, record)| (*seq, record)).collect();
        log.make_room()?;
        log.commit(&mut log.writer(), Commit::new(), last, &added)?;
        after = last;
    }
    let mut commit = Commit::new();
    for guard in from.meta.iter() {
        let (key, value) = guard.into_inner()?;
        if let Some(entry) = dead(&key, &value) {
            commit.dead(log.keyer, entry);
        }
    }
    let note = from.purging()?;
    if note.is_some() {
        commit.note(note.as_deref());
    }
    log.commit(&mut log.writer(), commit, from.last_seq(), &[])
}

/// What a key of fjall's bookkeeping says is not taken any more.
fn dead(key: &[u8], value: &[u8]) -> Option<Entry<'static>> {
    let until = || value.try_into().ok().map(u64::from_be_bytes);
    let author = |bytes: &[u8]| Some(PublicKey::from_byte_array(bytes.try_into().ok()?));
    let (tag, rest) = key.split_first()?;
    match (tag, rest.len()) {
        (b'd', 64) => Some(Entry::DeadId {
            dead: if value.is_empty() {
                Dead::Deleted
            } else {
                Dead::Purged
            },
            id: EventId::from_byte_array(rest[..32].try_into().ok()?),
            author: author(&rest[32..])?,
        }),
        (b'a', 66) => Some(Entry::DeadAddress {
            address: AddressHash {
                kind: u16::from_be_bytes([rest[0], rest[1]]),
                author: author(&rest[2..34])?,
                identifier: rest[34..].try_into().ok()?,
            },
            until: until()?,
        }),
        (b'f', 32) => Some(Entry::Vanished {
            author: author(rest)?,
            until: until()?,
        }),
        _ => None,
    }
}
