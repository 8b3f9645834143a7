//! A disk in memory from which the power can be taken, and which can be full.
//!
//! What was not synced is lost, kept or torn, in sectors of 512 bytes, each for itself; of changes of names that were not
//! synced, only the first so many are kept.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::super::disk::{Disk, File};
use crate::store::tests::random::Random;

const SECTOR: usize = 512;

enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    changes: Vec<Change>,
}

enum Renaming {
    Make(String, usize),
    Rename(String, String),
    Remove(String),
}

impl Renaming {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Make(name, file) => {
                names.insert(name.clone(), *file);
            }
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

#[derive(Default)]
struct Inner {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    renamings: Vec<Renaming>,
    /// After so many changes the power goes.
    left: Option<usize>,
    /// So many bytes fit.
    room: Option<usize>,
    /// Syncs of files fail from now on.
    unsynced: bool,
}

impl Inner {
    fn step(&mut self) -> io::Result<()> {
        match &mut self.left {
            Some(0) => Err(io::Error::other("the power is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn used(&self) -> usize {
        self.names
            .values()
            .map(|file| self.files[*file].now.len())
            .sum()
    }

    fn grow(&mut self, file: usize, len: usize) -> io::Result<()> {
        let more = len.saturating_sub(self.files[file].now.len());
        if self.room.is_some_and(|room| self.used() + more > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if more > 0 {
            self.files[file].now.resize(len, 0);
        }
        Ok(())
    }
}

/// The disk.
#[derive(Default, Clone)]
pub(super) struct Sim(Arc<Mutex<Inner>>);

impl Sim {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the power away after so many changes, or not at all.
    pub(super) fn last_for(&self, changes: Option<usize>) {
        self.lock().left = changes;
    }

    pub(super) fn is_off(&self) -> bool {
        self.lock().left == Some(0)
    }

    /// So many bytes more fit, or any number.
    pub(super) fn room_for(&self, more: Option<usize>) {
        let mut inner = self.lock();
        inner.room = more.map(|more| inner.used() + more);
    }

    pub(super) fn fail_syncs(&self, fail: bool) {
        self.lock().unsynced = fail;
    }

    pub(super) fn holds(&self, bytes: &[u8]) -> bool {
        let inner = self.lock();
        let mut files = inner.names.values().map(|file| &inner.files[*file].now);
        files.any(|file| file.windows(bytes.len()).any(|it| it == bytes))
    }

    /// Changes a byte of the files whose names end so; says how many.
    pub(super) fn damage(&self, end: &str, random: &mut Random) -> usize {
        let mut inner = self.lock();
        let names: Vec<usize> = (inner.names.iter())
            .filter(|(name, _)| name.ends_with(end))
            .map(|(_, file)| *file)
            .collect();
        for file in &names {
            let bytes = &mut inner.files[*file].now;
            let at = random.below(bytes.len());
            bytes[at] ^= 1;
        }
        names.len()
    }

    /// What is there when the power comes back.
    pub(super) fn crash(&self, random: &mut Random) -> Self {
        let inner = self.lock();
        let how = random.below(4);
        let files = inner.files.iter().map(|content| {
            let bytes = survivors(content, how, random);
            Content {
                durable: bytes.clone(),
                now: bytes,
                changes: Vec::new(),
            }
        });
        let files = files.collect();
        let mut names = inner.durable.clone();
        let kept = random.below(inner.renamings.len() + 1);
        for renaming in &inner.renamings[..kept] {
            renaming.apply(&mut names);
        }
        Self(Arc::new(Mutex::new(Inner {
            files,
            durable: names.clone(),
            names,
            ..Inner::default()
        })))
    }
}

/// What of a file survives: nothing that was not synced, all of it, any sectors, or the first ones.
fn survivors(content: &Content, how: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = content.durable.clone();
    let mut ends = false;
    for change in &content.changes {
        match change {
            Change::Length(len) => {
                let kept = match how {
                    0 => false,
                    1 => true,
                    _ => random.below(2) == 0,
                };
                if kept && *len > bytes.len() {
                    bytes.resize(*len, 0);
                }
            }
            Change::Write { at, bytes: new } => {
                let mut from = 0;
                while from < new.len() {
                    let to = (((at + from) / SECTOR + 1) * SECTOR - at).min(new.len());
                    let kept = match how {
                        0 => false,
                        1 => true,
                        2 => random.below(2) == 0,
                        _ => {
                            ends |= random.below(6) == 0;
                            !ends
                        }
                    };
                    if kept {
                        if bytes.len() < at + to {
                            bytes.resize(at + to, 0);
                        }
                        bytes[at + from..at + to].copy_from_slice(&new[from..to]);
                    }
                    from = to;
                }
            }
        }
    }
    bytes
}

impl Disk for Sim {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut inner = self.lock();
        inner.step()?;
        inner.files.push(Content::default());
        let file = inner.files.len() - 1;
        let made = Renaming::Make(name.to_owned(), file);
        made.apply(&mut inner.names);
        inner.renamings.push(made);
        Ok(Arc::new(Open(self.clone(), file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let file = self.lock().names.get(name).copied();
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Open(self.clone(), file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.lock();
        inner.step()?;
        let renaming = Renaming::Rename(from.to_owned(), to.to_owned());
        renaming.apply(&mut inner.names);
        inner.renamings.push(renaming);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.lock();
        inner.step()?;
        assert!(inner.names.contains_key(name), "{name} is removed twice");
        let renaming = Renaming::Remove(name.to_owned());
        renaming.apply(&mut inner.names);
        inner.renamings.push(renaming);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.lock();
        inner.step()?;
        inner.renamings.clear();
        inner.durable = inner.names.clone();
        Ok(())
    }
}

struct Open(Sim, usize);

impl File for Open {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().files[self.1].now.len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let inner = self.0.lock();
        let from = inner.files[self.1]
            .now
            .get(at as usize..)
            .unwrap_or_default();
        let count = from.len().min(bytes.len());
        bytes[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let mut inner = self.0.lock();
        let going = inner.step();
        let at = at as usize;
        inner.grow(self.1, at + bytes.len())?;
        let file = &mut inner.files[self.1];
        file.now[at..at + bytes.len()].copy_from_slice(bytes);
        let bytes = bytes.to_vec();
        file.changes.push(Change::Write { at, bytes });
        going
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut inner = self.0.lock();
        inner.step()?;
        let len = len as usize;
        inner.grow(self.1, len)?;
        inner.files[self.1].changes.push(Change::Length(len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.0.lock();
        inner.step()?;
        if inner.unsynced {
            return Err(io::Error::other("the disk failed"));
        }
        let file = &mut inner.files[self.1];
        file.changes.clear();
        file.durable = file.now.clone();
        Ok(())
    }
}
