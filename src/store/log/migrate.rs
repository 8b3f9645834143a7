//! Taking over a store that fjall holds, which is how treefort kept events before the log.
//!
//! The log is made beside it, complete and durable, and then takes its place by two renames. A start after a crash goes
//! on where that was, or begins anew: fjall's files are untouched until the log is there.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use super::{LogStore, Options, commit::Commit, fjall::Old, manifest};
use crate::store::{Error, Record, view::parse};

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

/// Makes a log of what fjall holds in a folder, and puts it there.
pub(super) fn from_fjall(path: &Path, options: Options) -> Result<(), Error> {
    tracing::info!("the events move into a store of another format; this takes a moment");
    let (new, old) = (beside(path, ".new"), beside(path, ".old"));
    {
        let from = Old::open(path)?;
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

fn copy(from: &Old, to: &LogStore) -> Result<(), Error> {
    let log = &to.log;
    let mut rows = from.rows().peekable();
    while rows.peek().is_some() {
        let mut added = Vec::new();
        for row in rows.by_ref().take(BATCH) {
            let (seq, json) = row?;
            let event = parse(seq, &json)?;
            added.push((seq, Record { event, json }));
        }
        let last = added.last().map_or(0, |(seq, _)| *seq);
        let added: Vec<_> = added.iter().map(|(seq, record)| (*seq, record)).collect();
        log.make_room()?;
        log.commit(&mut log.writer(), Commit::new(), last, &added)?;
    }
    let mut commit = Commit::new();
    for entry in from.dead() {
        commit.dead(log.keyer, entry?);
    }
    let note = from.purging()?;
    if note.is_some() {
        commit.note(note.as_deref());
    }
    log.commit(&mut log.writer(), commit, from.last()?, &[])?;
    if let Some((author, until)) = from.vanishing()? {
        log.vanish(&author, until)?;
    }
    Ok(())
}
