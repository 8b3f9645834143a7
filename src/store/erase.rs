//! Getting the bytes of removed events off the disk.
//!
//! fjall keeps what was removed in three places: in its journal, until that is rotated (only one that has grown to
//! 64 MB is); in tables, until a compaction meets value and tombstone; and in tables of earlier versions, until
//! nobody reads those any more. [`erase`] goes through them in this order: no compaction from here on may keep what was
//! removed; everything in memory becomes tables; *these files are what has to go*; the journal is filled until
//! it is rotated, and everything is compacted. It is done when none of those files is there any more, which is looked
//! up on the disk and not believed.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fjall::{Keyspace, PersistMode};

use super::{Error, events::FjallStore};

/// How long it waits for who reads.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long between two looks.
const A_MOMENT: Duration = Duration::from_millis(50);
/// How often it looks before it compacts once more.
const LOOKS: u32 = 40;
/// At which size fjall rotates its journal, with room for what it writes around an entry.
const JOURNAL: usize = 72 << 20;
/// What the journal is filled with, at a time. It is below the size from which fjall compresses.
const FILLER: [u8; 4000] = [0; 4000];
/// How much is filled in between two looks: a memtable.
const ROUND: usize = 8 << 20;
const KEY: &str = "filler";
/// Where fjall keeps the tables of a keyspace.
const TABLES: &str = "tables";

pub(super) fn erase(store: &FjallStore) -> Result<bool, Error> {
    let deadline = Instant::now() + PATIENCE;
    let removed = store.db.seqno();
    // Nobody reads what was there before the removal, and so no compaction keeps it.
    while store.db.supervisor.snapshot_tracker.get_seqno_safe_to_gc() < removed {
        touch(store)?;
        if Instant::now() > deadline {
            return Ok(false);
        }
        std::thread::sleep(A_MOMENT);
    }
    while store.db.active_compactions() > 0 && Instant::now() < deadline {
        std::thread::sleep(A_MOMENT);
    }
    flush(&keyspaces(store))?;
    let before = files(store)?;
    rotate_journal(store)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        flush(&keyspaces(store))?;
        for keyspace in keyspaces(store) {
            keyspace.major_compact()?;
        }
        touch(store)?;
        for _ in 0..LOOKS {
            if files(store)?.is_disjoint(&before) {
                return Ok(true);
            }
            std::thread::sleep(A_MOMENT);
        }
        if Instant::now() > deadline {
            return Ok(false);
        }
    }
}

pub(super) fn keyspaces(store: &FjallStore) -> [&Keyspace; 3] {
    [&store.events, &store.index, &store.meta]
}

/// What is in memory becomes tables. One that does not in time, as on a full disk, is seen in the end.
pub(super) fn flush(of: &[&Keyspace]) -> Result<(), Error> {
    let began = Instant::now();
    for keyspace in of {
        keyspace.rotate_memtable()?;
    }
    let waits = |keyspace: &&Keyspace| keyspace.sealed_memtable_count() > 0;
    while of.iter().any(waits) && began.elapsed() < PATIENCE {
        std::thread::sleep(A_MOMENT / 10);
    }
    Ok(())
}

/// Writes that change nothing: fjall looks at what can go when a memtable becomes a table. Every keyspace gets one, since
/// a compaction forgets up to which write a keyspace is in tables, and journals stay until that is known again.
pub(super) fn touch(store: &FjallStore) -> Result<(), Error> {
    store.events.remove(u64::MAX.to_be_bytes())?;
    store.index.remove([u8::MAX; 16])?;
    store.meta.remove(KEY)?;
    flush(&keyspaces(store))
}

/// Writes until the journal of before is not the one that is written to.
pub(super) fn rotate_journal(store: &FjallStore) -> Result<(), Error> {
    let newest = || -> Result<Option<u64>, Error> {
        let names = files(store)?;
        let journals = names.iter().filter(|path| is_journal(path));
        Ok(journals
            .filter_map(|path| path.file_stem()?.to_str()?.parse().ok())
            .max())
    };
    let before = newest()?;
    for _ in 0..JOURNAL / ROUND {
        for _ in 0..ROUND / (1 << 20) {
            let mut batch = store.db.batch().durability(Some(PersistMode::Buffer));
            for _ in 0..(1 << 20) / FILLER.len() {
                batch.insert(&store.meta, KEY, FILLER.as_slice());
            }
            batch.commit()?;
        }
        flush(&[&store.meta])?;
        if newest()? != before {
            break;
        }
    }
    Ok(())
}

/// Every journal and every table in which an event, its index entries or its tombstone may be.
fn files(store: &FjallStore) -> Result<BTreeSet<PathBuf>, Error> {
    let mut found = BTreeSet::new();
    let mut list = |folder: &Path, wanted: fn(&Path) -> bool| -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if wanted(&path) {
                found.insert(path);
            }
        }
        Ok(())
    };
    let listed = list(&store.path, is_journal).and_then(|()| {
        (keyspaces(store).iter()).try_for_each(|one| list(&one.path().join(TABLES), |_| true))
    });
    listed.map_err(fjall::Error::from)?;
    Ok(found)
}

fn is_journal(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "jnl")
}
