//! New objects of one checkpoint: a few become loose objects, many become one pack.

use std::{
    collections::HashSet,
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    sync::{Arc, PoisonError},
};

use flate2::{Compression, bufread::ZlibDecoder, write::ZlibEncoder};

use super::{
    super::{Error, ObjectId},
    Kind, PackWriter, Store, TreeEntry, encode_tree, loose,
    packed::Pack,
    sync_folder,
};

/// Up to so many new objects stay loose: each costs a sync of its own, a pack costs four.
const MAX_LOOSE: usize = 4;
/// Up to so many bytes wait in memory before a pack is begun.
const MAX_WAITING: usize = 4 << 20;
/// So many small packs are made into one, because every look-up asks every pack.
const MAX_SMALL_PACKS: usize = 32;
/// A pack up to this size is small, in bytes.
const SMALL_PACK: u64 = 8 << 20;

/// An object ready to be stored: named and compressed.
pub(crate) struct Prepared {
    pub(crate) id: ObjectId,
    kind: Kind,
    size: u64,
    /// `None` when the store has it already.
    zipped: Option<Vec<u8>>,
}

/// New objects; see [`Store::batch`]. Dropping it without [`Batch::finish`] stores nothing.
pub struct Batch<'s> {
    store: &'s Store,
    seen: HashSet<ObjectId>,
    waiting: Vec<Prepared>,
    waiting_bytes: usize,
    pack: Option<PackWriter>,
    /// Compressed bytes that may still be added.
    room: u64,
}

impl<'s> Batch<'s> {
    pub(super) fn new(store: &'s Store) -> Self {
        Self {
            store,
            seen: HashSet::new(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            pack: None,
            room: u64::MAX,
        }
    }

    /// The most compressed bytes that may still be added.
    pub(crate) fn set_room(&mut self, room: u64) {
        self.room = room;
    }

    /// How many compressed bytes may still be added.
    pub(crate) fn room(&self) -> u64 {
        self.room
    }

    /// Adds a file's bytes.
    ///
    /// # Errors
    /// [`Error::Collision`] when the bytes are an attack on SHA-1, [`Error::Io`].
    pub fn blob(&mut self, bytes: &[u8]) -> Result<ObjectId, Error> {
        self.insert(Kind::Blob, bytes)
    }

    /// Adds a folder; its entries may come in any order.
    ///
    /// # Errors
    /// As [`Batch::blob`].
    pub fn tree(&mut self, entries: Vec<TreeEntry>) -> Result<ObjectId, Error> {
        self.insert(Kind::Tree, &encode_tree(entries))
    }

    /// Adds a commit by treefort at a time in seconds since 1970.
    ///
    /// # Errors
    /// As [`Batch::blob`].
    pub fn commit(
        &mut self,
        tree: &ObjectId,
        parents: &[ObjectId],
        message: &str,
        at: u64,
    ) -> Result<ObjectId, Error> {
        use std::fmt::Write as _;
        let mut text = format!("tree {tree}\n");
        for parent in parents {
            let _ = writeln!(text, "parent {parent}");
        }
        for role in ["author", "committer"] {
            let _ = writeln!(text, "{role} treefort <treefort@localhost> {at} +0000");
        }
        text.push('\n');
        // git's reading of a commit ends at a NUL.
        text.push_str(&message.replace('\0', "\u{fffd}"));
        if !text.ends_with('\n') {
            text.push('\n');
        }
        self.insert(Kind::Commit, text.as_bytes())
    }

    /// Makes everything that was added durable, and only then visible.
    ///
    /// # Errors
    /// [`Error::Io`]; then nothing counts.
    pub fn finish(mut self) -> Result<(), Error> {
        if self.pack.is_some() || self.waiting.len() > MAX_LOOSE {
            self.flush()?;
        }
        if let Some(pack) = self.pack.take() {
            let folder = self.store.path.join("objects/pack");
            let index = pack
                .finish()
                .map_err(Error::io("finishing a pack in", &folder))?;
            let pack = Pack::open(&index).map_err(Error::io("opening a pack", &index))?;
            let mut packs = self
                .store
                .packs
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            if !packs.iter().any(|known| known.path() == index) {
                packs.push(Arc::new(pack));
            }
            drop(packs);
            self.store.merge_small_packs()?;
        }
        for object in self.waiting.drain(..) {
            self.store.write_loose(object)?;
        }
        Ok(())
    }

    fn insert(&mut self, kind: Kind, bytes: &[u8]) -> Result<ObjectId, Error> {
        let prepared = self.store.prepare(kind, bytes)?;
        let id = prepared.id;
        self.add(prepared)?;
        Ok(id)
    }

    /// Adds what another thread prepared.
    pub(crate) fn add(&mut self, object: Prepared) -> Result<(), Error> {
        if !self.seen.insert(object.id) {
            return Ok(());
        }
        let Some(zipped) = &object.zipped else {
            return Ok(());
        };
        self.room = self
            .room
            .checked_sub(zipped.len() as u64)
            .ok_or(Error::Full)?;
        self.waiting_bytes += zipped.len();
        self.waiting.push(object);
        if self.waiting_bytes > MAX_WAITING {
            self.flush()?;
        }
        Ok(())
    }

    /// Moves what waits in memory to the pack.
    fn flush(&mut self) -> Result<(), Error> {
        let folder = self.store.path.join("objects/pack");
        let failed = Error::io("writing a pack in", &folder);
        let mut write = || {
            let pack = match &mut self.pack {
                Some(pack) => pack,
                none => none.insert(PackWriter::new(&folder)?),
            };
            for object in self.waiting.drain(..) {
                if let Some(zipped) = &object.zipped {
                    pack.add(object.id, object.kind, object.size, zipped)?;
                }
            }
            Ok(())
        };
        write().map_err(failed)?;
        self.waiting_bytes = 0;
        Ok(())
    }
}

impl Store {
    /// Names and compresses an object, in any thread.
    pub(crate) fn prepare(&self, kind: Kind, bytes: &[u8]) -> Result<Prepared, Error> {
        let id = ObjectId::of(kind.name(), bytes).map_err(|_| Error::Collision)?;
        let zipped = if self.has_here(&id) {
            None
        } else {
            let mut deflated = ZlibEncoder::new(Vec::new(), Compression::fast());
            let zipped = deflated
                .write_all(bytes)
                .and_then(|()| deflated.finish())
                .map_err(Error::io("compressing for", &self.path))?;
            Some(zipped)
        };
        Ok(Prepared {
            id,
            kind,
            size: bytes.len() as u64,
            zipped,
        })
    }

    /// Like [`Store::has`], without a look for packs of other processes: an object twice does no harm.
    fn has_here(&self, id: &ObjectId) -> bool {
        self.packs().iter().any(|pack| pack.find(id).is_some()) || self.loose(id).exists()
    }

    fn write_loose(&self, object: Prepared) -> Result<(), Error> {
        let Some(zipped) = object.zipped else {
            return Ok(());
        };
        let path = self.loose(&object.id);
        let write = || {
            let mut bytes = Vec::new();
            ZlibDecoder::new(zipped.as_slice()).read_to_end(&mut bytes)?;
            let mut made = false;
            if let Some(folder) = path.parent() {
                match fs::DirBuilder::new().mode(0o700).create(folder) {
                    Ok(()) => made = true,
                    Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(error),
                }
            }
            loose::write(&path, object.kind, &bytes)?;
            Ok(made)
        };
        let made = write().map_err(Error::io("writing an object", &path))?;
        if let Some(folder) = path.parent() {
            sync_folder(folder)?;
        }
        if made {
            sync_folder(&self.path.join("objects"))?;
        }
        Ok(())
    }

    /// Makes many small packs into one, when there are too many: a copy of their entries, durable before the
    /// old ones go. A reader that has an old one open reads on.
    fn merge_small_packs(&self) -> Result<(), Error> {
        let mut small = Vec::new();
        for pack in self.packs() {
            let size = pack
                .size()
                .map_err(Error::io("measuring a pack", pack.path()))?;
            if size <= SMALL_PACK && pack.len() > 0 {
                small.push(pack);
            }
        }
        if small.len() <= MAX_SMALL_PACKS {
            return Ok(());
        }
        let folder = self.path.join("objects/pack");
        let mut copied: HashSet<ObjectId> = HashSet::new();
        let merge = || {
            let mut writer = PackWriter::new(&folder)?;
            let mut merged = Vec::new();
            for pack in small {
                // One with deltas is of somebody's own `git gc`; it stays.
                let Some(entries) = pack.entries()? else {
                    continue;
                };
                for (id, entry) in entries {
                    if copied.insert(id) {
                        writer.add_entry(id, &[&entry])?;
                    }
                }
                merged.push(pack);
            }
            if merged.len() < 2 {
                return Ok(None);
            }
            let index = writer.finish()?;
            Ok(Some((index, merged)))
        };
        let done = merge().map_err(Error::io("merging packs in", &folder))?;
        let Some((index, merged)) = done else {
            return Ok(());
        };
        let new = Pack::open(&index).map_err(Error::io("opening a pack", &index))?;
        let mut packs = self.packs.write().unwrap_or_else(PoisonError::into_inner);
        packs.retain(|pack| !merged.iter().any(|old| old.path() == pack.path()));
        packs.push(Arc::new(new));
        drop(packs);
        for old in merged {
            if old.path() == index {
                continue;
            }
            // The index first: a pack without one is not read.
            for path in [old.path().to_owned(), old.path().with_extension("pack")] {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(Error::io("removing a merged pack", &path)(error));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}
