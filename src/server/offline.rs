//! The record of a home on which no treefort runs: looked at, made smaller, written out, read in.
//!
//! [`Offline`] holds the home's lock as a server does, so that neither starts while the other is at work.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, Read as _, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use nostr::{Event, JsonUtil, Timestamp};

use super::{EVENTS, Error, lock, private_directory};
use crate::{
    config::Config,
    keys::{Admission, Keyring},
    nips::kind,
    relay::{Accepted, Identity, Rejection, Relay},
    store::{self, Check, EventStore, LogStore, state::State},
};

/// Lines that are taken in together: what is committed at once is waited for once.
const TOGETHER: usize = 512;
/// Bytes of lines that are taken in together.
const TOGETHER_BYTES: usize = 8 << 20;
/// No entry is longer: treefort's own are at most four messages long, and `import` says which were too long.
const LINE: usize = 16 << 20;
/// After how many rows somebody who waits hears of it.
const HEARD: u64 = 1000;

/// A home's record, while nobody else uses it.
pub struct Offline {
    home: PathBuf,
    store: Arc<dyn EventStore>,
    /// Held as long as this lives.
    _lock: fs::File,
}

impl std::fmt::Debug for Offline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offline")
            .field("home", &self.home)
            .finish_non_exhaustive()
    }
}

/// What became of the lines that were read in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Lines that were read.
    pub lines: u64,
    /// Entries that are stored now and were not before.
    pub new: u64,
    /// Entries that were there already.
    pub there: u64,
    /// Entries that were not taken because of what is stored, and how often for which reason: nothing is wrong with
    /// them.
    pub passed: BTreeMap<&'static str, u64>,
    /// Lines that are not right, and how often for which reason.
    pub wrong: BTreeMap<&'static str, u64>,
    /// The number of the first line that is not right.
    pub first_wrong: Option<u64>,
}

/// What was written out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exported {
    /// Entries that were written.
    pub written: u64,
    /// Entries that could not be read.
    pub unreadable: u64,
}

/// What a line turned out to be worth.
enum Verdict {
    New,
    There,
    Passed(&'static str),
    Wrong(&'static str),
    /// Nothing more can be stored.
    Broken,
}

impl Offline {
    /// Takes a home and opens its record; makes one only for who wants to fill it.
    ///
    /// # Errors
    /// When the home is in use, or there is no record, or it cannot be opened.
    pub fn open(home: &Path, make: bool) -> Result<Self, Error> {
        let path = home.join(EVENTS);
        // Before anything is made for what is not there.
        if !make && !path.is_dir() {
            return Err(Error::NoRecord { path });
        }
        private_directory(home)?;
        let lock = lock(home)?;
        Ok(Self {
            home: home.to_owned(),
            store: Arc::new(LogStore::open(&path)?),
            _lock: lock,
        })
    }

    /// The highest number of the record.
    pub(super) fn last_seq(&self) -> u64 {
        self.store.last_seq()
    }

    /// How many entries the record has.
    pub(super) fn entries(&self) -> Result<u64, Error> {
        let (mut after, mut entries) = (0, 0);
        loop {
            let rows = self.store.read_after(after, TOGETHER)?;
            let Some(last) = rows.last() else {
                return Ok(entries);
            };
            after = last.seq;
            entries += rows.len() as u64;
        }
    }

    /// Closes the record; the home stays taken as long as what this gives lives.
    pub(super) fn close(self) -> fs::File {
        self._lock
    }

    /// Looks at everything.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn check(&self) -> Result<Check, Error> {
        Ok(self.store.check()?)
    }

    /// Gives disk space back; says how many bytes were taken before and are now.
    ///
    /// # Errors
    /// When the storage fails.
    pub fn compact(self) -> Result<(u64, u64), Error> {
        let path = self.home.join(EVENTS);
        let size = || bytes_of(&path).map_err(|source| failed(&path, source));
        let before = size()?;
        self.store.compact()?;
        // What is closed holds no old files any more.
        drop(self.store);
        Ok((before, size()?))
    }

    /// Writes every entry as a line of JSON, in the order in which they came. What cannot be read is left out and
    /// counted.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn export(
        &self,
        out: &mut dyn Write,
        mut heard: impl FnMut(u64),
    ) -> Result<Exported, io::Error> {
        let mut told = Exported::default();
        for seq in 1..=self.store.last_seq() {
            match self.store.read(seq) {
                Ok(None) => {}
                Ok(Some(json)) if Event::from_json(&json).is_ok() => {
                    out.write_all(&json)?;
                    out.write_all(b"\n")?;
                    told.written += 1;
                }
                Ok(Some(_)) => told.unreadable += 1,
                Err(error) => {
                    tracing::warn!(seq, error = &error as &dyn std::error::Error, "not read");
                    told.unreadable += 1;
                }
            }
            if seq % HEARD == 0 {
                heard(told.written);
            }
        }
        out.flush()?;
        Ok(told)
    }

    /// Takes in entries, one a line, through the relay's door. What was taken is safe, also when this is killed; the
    /// same lines may be brought again.
    ///
    /// # Errors
    /// When they cannot be read, or nothing more can be stored, or jobs wait to be looked at.
    pub async fn import(
        &self,
        config: Config,
        mut from: Box<dyn BufRead + Send>,
        mut heard: impl FnMut(&Imported),
    ) -> Result<Imported, Error> {
        let state = State::open(&self.home.join("state"))?;
        self.nothing_waits(&state, config.jobs.max_age_s)?;
        let keyring = Keyring::open(&self.home)?;
        let admission = Admission::new(keyring.operator().public_key(), config.jobs.admit);
        let identity = Identity {
            keys: keyring.relay().clone(),
            description: String::new(),
        };
        let store = Arc::clone(&self.store);
        let relay = Relay::start(config.relay, store, identity, Arc::new(admission))?;
        let mut told = Imported::default();
        loop {
            let read = tokio::task::spawn_blocking(move || {
                let lines = next_lines(&mut *from);
                (from, lines)
            });
            let (back, lines) = read.await.map_err(|_| store::Error::Stopped)?;
            from = back;
            let lines = lines.map_err(Error::Lines)?;
            if lines.is_empty() {
                break;
            }
            let done = take(&relay, lines, &mut told).await;
            // Jobs in a file were done, or are nobody's any more: they are not done once more.
            state.commit(&[], &[], Some(self.store.last_seq()))?;
            done?;
            heard(&told);
        }
        relay.shutdown().await;
        Ok(told)
    }

    /// Jobs that a treefort took and did not look at yet would be passed over.
    pub(super) fn nothing_waits(&self, state: &State, max_age_s: u64) -> Result<(), Error> {
        let recent = Timestamp::now().as_secs().saturating_sub(max_age_s);
        // What the coordinator hands to its sessions is nobody's job.
        let ours = Keyring::open(&self.home)?.coordinator().public_key();
        let mut after = state.cursor()?;
        loop {
            let rows = self.store.read_after(after, TOGETHER)?;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            after = last.seq;
            let waits = |row: &store::Stored| {
                kind::is_job_request(row.event.kind)
                    && row.event.pubkey != ours
                    && row.event.created_at.as_secs() >= recent
            };
            if rows.iter().any(waits) {
                return Err(Error::JobsWait);
            }
        }
    }
}

async fn take(relay: &Relay, lines: Vec<Line>, told: &mut Imported) -> Result<(), Error> {
    let mut texts = Vec::with_capacity(lines.len());
    let mut unread = Vec::new();
    for line in lines {
        told.lines += 1;
        match line {
            Line::Empty => {}
            Line::Text(text) => texts.push((told.lines, text)),
            Line::TooLong => unread.push((told.lines, Verdict::Wrong("too long"))),
            Line::NotText => unread.push((told.lines, Verdict::Wrong("no entries at all"))),
        }
    }
    let numbers: Vec<u64> = texts.iter().map(|(number, _)| *number).collect();
    let texts = texts.into_iter().map(|(_, text)| text).collect();
    let outcomes = relay.publish_lines(texts).await;
    let verdicts = outcomes.iter().map(verdict);
    for (number, verdict) in numbers.into_iter().zip(verdicts).chain(unread) {
        match verdict {
            Verdict::New => told.new += 1,
            Verdict::There => told.there += 1,
            Verdict::Passed(why) => *told.passed.entry(why).or_default() += 1,
            Verdict::Wrong(why) => {
                *told.wrong.entry(why).or_default() += 1;
                let first = told.first_wrong.get_or_insert(number);
                *first = number.min(*first);
            }
            Verdict::Broken => return Err(Error::Broken),
        }
    }
    Ok(())
}

fn verdict(outcome: &Result<Accepted, Rejection>) -> Verdict {
    let rejection = match outcome {
        Ok(Accepted::New { .. }) => return Verdict::New,
        Ok(Accepted::Duplicate) => return Verdict::There,
        Ok(Accepted::Ephemeral) => return Verdict::Passed("never kept"),
        Err(rejection) => rejection,
    };
    if rejection.is_temporary() {
        return Verdict::Broken;
    }
    match rejection {
        Rejection::Superseded => Verdict::Passed("older than what is there"),
        Rejection::Deleted => Verdict::Passed("deleted before"),
        Rejection::Expired => Verdict::Passed("expired"),
        Rejection::Id | Rejection::Signature => Verdict::Wrong("not what was signed"),
        Rejection::Malformed(_) => Verdict::Wrong("no entries at all"),
        Rejection::TooLong(_) | Rejection::TooManyTags(_) | Rejection::ContentTooLong(_) => {
            Verdict::Wrong("too long")
        }
        Rejection::Future(_) | Rejection::TimeOutOfRange => Verdict::Wrong("dated in the future"),
        _ => Verdict::Wrong("refused"),
    }
}

enum Line {
    Empty,
    Text(String),
    TooLong,
    NotText,
}

/// The next lines; none at the end.
fn next_lines(mut from: &mut dyn BufRead) -> io::Result<Vec<Line>> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    while lines.len() < TOGETHER && bytes < TOGETHER_BYTES {
        let mut line = Vec::new();
        let read = (&mut from).take(LINE as u64).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        bytes += read;
        if read == LINE && line.last() != Some(&b'\n') {
            skip_line(from)?;
            lines.push(Line::TooLong);
            continue;
        }
        match String::from_utf8(line) {
            Ok(text) if text.trim().is_empty() => lines.push(Line::Empty),
            Ok(text) => lines.push(Line::Text(text)),
            Err(_) => lines.push(Line::NotText),
        }
    }
    Ok(lines)
}

/// Reads on to the end of a line without keeping it.
fn skip_line(from: &mut dyn BufRead) -> io::Result<()> {
    loop {
        let there = from.fill_buf()?;
        let (used, ends) = match there.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (there.len(), there.is_empty()),
        };
        from.consume(used);
        if ends {
            return Ok(());
        }
    }
}

fn failed(path: &Path, source: io::Error) -> Error {
    Error::Home {
        path: path.to_owned(),
        source,
    }
}

/// The bytes that a folder takes on the disk.
fn bytes_of(folder: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        sum += match metadata.is_dir() {
            true => bytes_of(&entry.path())?,
            false => on_disk(&metadata),
        };
    }
    Ok(sum)
}

#[cfg(unix)]
fn on_disk(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(metadata) * 512
}

#[cfg(not(unix))]
fn on_disk(metadata: &fs::Metadata) -> u64 {
    metadata.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_bounded_and_those_after_a_long_one_are_read() {
        let mut text = b"one\n\n  \n".to_vec();
        text.extend(std::iter::repeat_n(b'x', LINE + 100));
        text.extend(b"\n\xff\ntwo");
        let mut from = io::BufReader::new(&*text);
        let mut seen = Vec::new();
        loop {
            let lines = next_lines(&mut from).unwrap();
            if lines.is_empty() {
                break;
            }
            seen.extend(lines.into_iter().map(|line| match line {
                Line::Empty => String::new(),
                Line::Text(text) => text.trim().to_owned(),
                Line::TooLong => "(long)".to_owned(),
                Line::NotText => "(bytes)".to_owned(),
            }));
        }
        assert_eq!(seen, ["one", "", "", "(long)", "(bytes)", "two"]);
    }
}
