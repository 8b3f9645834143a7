//! The walk: every folder once, in the order of its names, without recursion on our stack.

use std::{
    collections::BTreeSet,
    os::fd::OwnedFd,
    sync::{Mutex, mpsc::sync_channel},
    thread::scope,
};

use rustix::fs::{Dir, Stat, readlinkat};

use super::{
    Left, Rules, Scope, Snapshot, Why,
    cache::{Cache, Known, Stamp, clock},
    flush::Flush,
    read::{Failed, open, read},
    readers::{Done, Job, QUEUE, Readers},
};
use crate::workspace::{
    Error, ObjectId,
    ladder::{Ladder, bits, look},
    objects::{Batch, Kind, Store, TreeEntry},
};

/// Longer paths cannot be used by programs: PATH_MAX.
const MAX_PATH: usize = 4096;
/// So many uncovered paths are named each by itself; what comes then is named by its folder.
const MAX_NAMED: usize = 4096;
/// Larger files are read one after the other, to bound memory, in bytes.
const LARGE: u64 = 8 << 20;

/// Takes a snapshot of the tree below a folder into a batch.
///
/// # Errors
/// When the store fails or the root cannot be read; trouble with what is inside is [`Uncovered`].
pub(in crate::workspace) fn take(
    root: &OwnedFd,
    store: &Store,
    batch: &mut Batch<'_>,
    scope: &Scope<'_>,
    old: &Cache,
) -> Result<Snapshot, Error> {
    // What is known keeps its place, so that a flood of new files cannot push the project's own out. When
    // much of what is known has gone, its places are free: then once more.
    let mut reserved = (old.len(), old.bytes(), old.path_bytes());
    for _ in 0..2 {
        let walk = once(root, store, batch, scope, old, reserved)?;
        let seen = walk.seen_known;
        if !walk.was_full || seen == reserved {
            return walk.snapshot(batch);
        }
        reserved = seen;
    }
    once(root, store, batch, scope, old, reserved)?.snapshot(batch)
}

fn once<'w>(
    root: &OwnedFd,
    store: &'w Store,
    batch: &mut Batch<'_>,
    Scope { rules, folders }: &'w Scope<'_>,
    old: &'w Cache,
    reserved: (usize, u64, usize),
) -> Result<Walk<'w>, Error> {
    let root = root
        .try_clone()
        .map_err(Error::io("opening the workspace", store.path()))?;
    let max_file = rules.max_file_bytes;
    let flush = root
        .try_clone()
        .map_err(Error::io("opening the workspace", store.path()))?;
    let (jobs, waiting) = sync_channel::<Job>(QUEUE);
    let (done, results) = sync_channel::<Done>(QUEUE);
    let waiting = Mutex::new(waiting);
    let mut walk = Walk {
        ladder: Ladder::new(root, 0o500),
        nodes: Vec::new(),
        rules,
        covered: *folders,
        named_by_rules: Vec::new(),
        old,
        store,
        cache: Cache::with_capacity(old.len()),
        flush: Flush::new(flush, old.unproven()),
        uncovered: Vec::new(),
        uncovered_more: 0,
        files: 0,
        bytes: 0,
        new_files: rules.max_files.saturating_sub(reserved.0),
        new_bytes: rules.max_bytes.saturating_sub(reserved.1),
        new_path_bytes: rules.max_path_bytes.saturating_sub(reserved.2),
        seen_known: (0, 0, 0),
        was_full: false,
    };
    scope(|threads| {
        let mut readers = Readers::new(threads, &waiting, (jobs, results, done), store, max_file);
        walk.run(&mut readers, batch)?;
        readers.finish(&mut walk, batch)?;
        Ok(walk)
    })
}

/// A folder: its own mode, and what is in it.
struct Node {
    slots: Vec<Slot>,
}

struct Slot {
    name: Vec<u8>,
    mode: u32,
    what: What,
}

enum What {
    Id(ObjectId),
    Folder(usize),
    Reading,
    Uncovered,
}

pub(super) struct Walk<'w> {
    ladder: Ladder,
    nodes: Vec<Node>,
    rules: &'w Rules,
    covered: Option<&'w BTreeSet<Vec<u8>>>,
    named_by_rules: Vec<Vec<u8>>,
    old: &'w Cache,
    store: &'w Store,
    cache: Cache,
    flush: Flush,
    uncovered: Vec<Left>,
    uncovered_more: u64,
    files: u64,
    bytes: u64,
    new_files: usize,
    new_bytes: u64,
    new_path_bytes: usize,
    seen_known: (usize, u64, usize),
    was_full: bool,
}

/// A folder that is being walked: which one, and which of its folders are still to come, the next one last.
struct Frame {
    node: usize,
    folders: Vec<Vec<u8>>,
}

impl Walk<'_> {
    fn run(&mut self, readers: &mut Readers<'_, '_>, batch: &mut Batch<'_>) -> Result<(), Error> {
        let names = self
            .names()
            .map_err(Error::errno("reading the workspace", self.store.path()))?;
        let mut frames = vec![self.folder(names, readers, batch)?];
        while let Some(frame) = frames.last_mut() {
            let Some(name) = frame.folders.pop() else {
                frames.pop();
                if self.ladder.depth() > 0 {
                    // The bits of a folder without rights come back; that it has gone meanwhile is no loss.
                    let _ = self.ladder.leave();
                }
                continue;
            };
            let parent = frame.node;
            let Ok(bits) = self.ladder.enter(&name) else {
                let path = self.ladder.join(&name);
                self.leave_out(path, Why::Unreadable);
                continue;
            };
            let Ok(names) = self.names() else {
                let path = self.ladder.path().to_vec();
                let _ = self.ladder.leave();
                self.leave_out(path, Why::Unreadable);
                continue;
            };
            let path = self.ladder.path().to_vec();
            let known = Known {
                stamp: None,
                proven: true,
                size: 0,
                id: ObjectId::EMPTY_TREE,
            };
            self.cache.insert(path, known);
            let frame = self.folder(names, readers, batch)?;
            self.nodes[parent].slots.push(Slot {
                name,
                mode: TreeEntry::dir_mode(bits),
                what: What::Folder(frame.node),
            });
            frames.push(frame);
        }
        Ok(())
    }

    /// The names in the current folder that are known or that there is room for, sorted.
    fn names(&mut self) -> rustix::io::Result<Vec<Vec<u8>>> {
        let is_root = self.ladder.depth() == 0;
        let mut names = Vec::new();
        let mut path = self.ladder.join(b"");
        let prefix = path.len();
        let mut is_full = false;
        let (old, mut new_files) = (self.old, self.new_files);
        for entry in Dir::read_from(self.ladder.here()?)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            // The repository inside is disposable, whatever it is.
            if name == b"." || name == b".." || (is_root && name == b".git") {
                continue;
            }
            path.truncate(prefix);
            path.extend_from_slice(name);
            if old.get(&path).is_some() {
                self.seen_known.0 += 1;
                self.seen_known.2 += path.len();
            } else if new_files > 0 && path.len() <= self.new_path_bytes {
                new_files -= 1;
                self.new_path_bytes -= path.len();
            } else {
                is_full = true;
                continue;
            }
            names.push(name.to_vec());
        }
        self.new_files = new_files;
        if is_full {
            self.was_full = true;
            let path = self.ladder.path().to_vec();
            self.leave_out(path, Why::TooMany);
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// Looks at everything in the current folder; its folders are left for later.
    fn folder(
        &mut self,
        names: Vec<Vec<u8>>,
        readers: &mut Readers<'_, '_>,
        batch: &mut Batch<'_>,
    ) -> Result<Frame, Error> {
        let node = self.nodes.len();
        self.nodes.push(Node {
            slots: Vec::with_capacity(names.len()),
        });
        let mut folders = Vec::new();
        for name in names {
            let path = self.ladder.join(&name);
            let stat = self.ladder.here().and_then(|here| look(here, &name));
            let stat = match stat {
                Ok(Some(stat)) => stat,
                // It went since the listing.
                Ok(None) => continue,
                Err(_) => {
                    self.leave_out(path, Why::Unreadable);
                    continue;
                }
            };
            if path.len() > MAX_PATH {
                self.leave_out(path, Why::TooMany);
                continue;
            }
            match stat.st_mode & 0o170_000 {
                0o040_000 if self.is_skipped(&name, &path) => self.leave_out(path, Why::Rule),
                0o040_000 => folders.push(name),
                0o100_000 => self.file((node, name), path, &stat, readers, batch)?,
                0o120_000 => self.link(node, name, path, &stat, batch)?,
                _ => self.leave_out(path, Why::Special),
            }
        }
        folders.reverse();
        Ok(Frame { node, folders })
    }

    fn is_skipped(&mut self, name: &[u8], path: &[u8]) -> bool {
        let mut skip = self.rules.skip_dirs.iter();
        if !skip.any(|skip| skip.as_bytes() == name) {
            return false;
        }
        let is_covered = self.covered.is_none_or(|covered| covered.contains(path));
        if is_covered {
            self.named_by_rules.push(path.to_vec());
        }
        !is_covered
    }

    fn file(
        &mut self,
        (node, name): (usize, Vec<u8>),
        path: Vec<u8>,
        stat: &Stat,
        readers: &mut Readers<'_, '_>,
        batch: &mut Batch<'_>,
    ) -> Result<(), Error> {
        let stamp = Stamp::of(stat);
        if stamp.size > self.rules.max_file_bytes {
            self.leave(path, Why::TooLarge(stamp.size), Some(stamp));
            return Ok(());
        }
        let known = self.old.get(&path).copied();
        let before = known.map_or(0, |known| known.size);
        self.seen_known.1 += before;
        let more = stamp.size.saturating_sub(before);
        if more > self.new_bytes {
            self.was_full = true;
            self.leave(path, Why::TooMany, Some(stamp));
            return Ok(());
        }
        self.new_bytes -= more;
        if let Some(known) = known.filter(|known| known.proven && known.stamp == Some(stamp)) {
            self.files += 1;
            self.bytes += known.size;
            self.cache.insert(path, known);
            self.push(node, name, file_mode(bits(stat)), What::Id(known.id));
            return Ok(());
        }
        let fd = self.ladder.here().and_then(|here| open(here, &name));
        let fd = match fd {
            Ok(Some(fd)) => fd,
            // A fifo or a folder took its place.
            Ok(None) => {
                self.leave_out(path, Why::Unreadable);
                return Ok(());
            }
            Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(_) => {
                self.leave(path, Why::Unreadable, Some(stamp));
                return Ok(());
            }
        };
        let at = (node, self.nodes[node].slots.len());
        self.push(node, name, file_mode(bits(stat)), What::Reading);
        let flushed = self.flush.before_reading(stamp.size);
        if stamp.size > LARGE {
            let read = read(self.store, fd, self.rules.max_file_bytes, flushed);
            return self.settle(Done { at, path, read }, batch);
        }
        let job = Job {
            at,
            path,
            fd,
            flushed,
        };
        readers.send(job, self, batch)
    }

    /// Takes what a reader found.
    pub(super) fn settle(&mut self, done: Done, batch: &mut Batch<'_>) -> Result<(), Error> {
        let slot = &mut self.nodes[done.at.0].slots[done.at.1];
        match done.read {
            Ok(read) => {
                let id = read.object.id;
                slot.what = What::Id(id);
                slot.mode = file_mode(read.mode & 0o7777);
                self.files += 1;
                self.bytes += read.size;
                let known = Known {
                    stamp: read.stamp,
                    proven: read.proven,
                    size: read.size,
                    id,
                };
                self.cache.insert(done.path, known);
                batch.add(read.object)
            }
            Err(Failed::Uncovered(why)) => {
                slot.what = What::Uncovered;
                self.leave_out(done.path, why);
                Ok(())
            }
            Err(Failed::Store(error)) => Err(error),
        }
    }

    fn link(
        &mut self,
        node: usize,
        name: Vec<u8>,
        path: Vec<u8>,
        stat: &Stat,
        batch: &mut Batch<'_>,
    ) -> Result<(), Error> {
        let stamp = Stamp::of(stat);
        let known = self
            .old
            .get(&path)
            .filter(|known| known.proven && known.stamp == Some(stamp));
        let known = match known {
            Some(known) => *known,
            None => {
                let began = clock();
                let target = self
                    .ladder
                    .here()
                    .and_then(|here| readlinkat(here, name.as_slice(), Vec::new()));
                let Ok(target) = target else {
                    self.leave_out(path, Why::Unreadable);
                    return Ok(());
                };
                let object = match self.store.prepare(Kind::Blob, target.as_bytes()) {
                    Ok(object) => object,
                    Err(Error::Collision) => {
                        self.leave_out(path, Why::Collision);
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                };
                // A link cannot be changed, only replaced; then its inode or its ctime is another.
                let again = self.ladder.here().and_then(|here| look(here, &name));
                let same =
                    again.is_ok_and(|again| again.is_some_and(|stat| Stamp::of(&stat) == stamp));
                let known = Known {
                    stamp: (same && stamp.is_older_than(began)).then_some(stamp),
                    proven: same && stamp.is_older_than(began),
                    size: target.as_bytes().len() as u64,
                    id: object.id,
                };
                batch.add(object)?;
                known
            }
        };
        self.files += 1;
        self.bytes += known.size;
        self.cache.insert(path, known);
        self.push(node, name, 0o120_000, What::Id(known.id));
        Ok(())
    }

    fn push(&mut self, node: usize, name: Vec<u8>, mode: u32, what: What) {
        self.nodes[node].slots.push(Slot { name, mode, what });
    }

    /// Names a path as not covered.
    fn leave_out(&mut self, path: Vec<u8>, why: Why) {
        self.leave(path, why, None);
    }

    /// The same, with the state that it has.
    fn leave(&mut self, path: Vec<u8>, why: Why, stamp: Option<Stamp>) {
        if self.uncovered.len() < MAX_NAMED {
            self.uncovered.push(Left { path, why, stamp });
            return;
        }
        let cut = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let folder = path[..cut].to_vec();
        let is_new = self.uncovered.last().is_none_or(|last| last.path != folder);
        if is_new && self.uncovered.len() < 2 * MAX_NAMED {
            self.uncovered.push(Left {
                path: folder,
                why: Why::TooMany,
                stamp: None,
            });
        } else if is_new {
            self.uncovered_more += 1;
        }
    }

    /// Makes the trees, from the lowest folders up.
    fn snapshot(mut self, batch: &mut Batch<'_>) -> Result<Snapshot, Error> {
        let mut ids = vec![ObjectId::EMPTY_TREE; self.nodes.len()];
        // A folder's number is larger than that of the one it is in.
        while let Some(node) = self.nodes.pop() {
            let entries = node.slots.into_iter().filter_map(|slot| {
                let id = match slot.what {
                    What::Id(id) => id,
                    What::Folder(node) => ids[node],
                    What::Reading | What::Uncovered => return None,
                };
                let Slot { mode, name, .. } = slot;
                Some(TreeEntry { mode, name, id })
            });
            ids[self.nodes.len()] = batch.tree(entries.collect())?;
        }
        if self.uncovered_more > 0 {
            self.uncovered.push(Left {
                path: Vec::new(),
                why: Why::More(self.uncovered_more),
                stamp: None,
            });
        }
        self.uncovered.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Snapshot {
            tree: ids[0],
            files: self.files,
            bytes: self.bytes,
            uncovered: self.uncovered,
            named_by_rules: self.named_by_rules,
            cache: self.cache,
        })
    }
}

/// A regular file's mode in a tree.
const fn file_mode(permissions: u32) -> u32 {
    0o100_000 | permissions
}
