//! Opening: the manifest says which files there are, and the log behind `covered` says the rest.
//!
//! Runs and rows follow from the log alone. When one of them is damaged, all of them are made again from it.

use std::{io, path::Path, sync::Arc};

use super::{
    Log, Options,
    commit::dead_key,
    disk::Disk,
    frame::{self, Entry},
    frames::Frames,
    keys::{Levels, word},
    manifest::{self, FileKind, Manifest, Position, SegmentEntry},
    rows,
    run::Run,
    state::{REMOVED, Segment, State},
    table::Table,
    tail::{self, BEGIN, Tail, Writer},
};
use crate::store::{Error, append::time, index::Keyer, view::parse};

/// The name of the file that says that somebody has the store open.
pub(super) const LOCK: &str = "lock";

/// Reads the manifest, or writes the first one.
pub(super) fn manifest(disk: &dyn Disk, path: &Path) -> Result<Manifest, Error> {
    let names = disk.list()?;
    if !names.iter().any(|name| name == manifest::NAME) {
        let ours = |name: &str| name == LOCK || name.starts_with(manifest::NAME);
        if let Some(name) = names.iter().find(|name| !ours(name)) {
            return Err(if name.ends_with(".log") {
                Error::Damaged(manifest::NAME.into())
            } else {
                Error::Foreign(path.to_owned())
            });
        }
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(|_| Error::Random)?;
        let manifest = Manifest::new(secret);
        manifest.write(disk)?;
        return Ok(manifest);
    }
    let manifest = Manifest::read(disk)?.map_err(|found| match found {
        Some(found) => Error::Version {
            path: path.to_owned(),
            found: found.to_string(),
        },
        None => Error::Damaged(manifest::NAME.into()),
    })?;
    let kept = manifest.files();
    for name in names.iter().filter(|name| !kept.contains(name)) {
        // What a crash left unfinished, or did not get to remove. The rest is somebody's.
        if FileKind::is_name(name) || name == manifest::UNFINISHED {
            disk.remove(name)?;
        }
    }
    Ok(manifest)
}

/// Opens a segment, with its rows as the manifest has them.
fn segment(disk: &dyn Disk, entry: &SegmentEntry) -> Result<Segment, Error> {
    let name = FileKind::Segment.name(entry.file);
    let file = disk.open(&name).map_err(|error| missing(error, &name))?;
    let header = super::disk::read(&*file, 0, BEGIN as usize);
    let header = header.map_err(|error| missing(error, &name))?;
    if !tail::is_header(&header, entry.file, entry.salt) {
        return Err(Error::Damaged(name));
    }
    Ok(Segment {
        number: entry.file,
        file,
        first: entry.first,
        places: Vec::new(),
        dead: 0,
        changed: false,
        torn: false,
    })
}

fn missing(error: io::Error, name: &str) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof => Error::Damaged(name.to_owned()),
        _ => error.into(),
    }
}

/// Reads rows and runs.
fn derived(disk: &dyn Disk, manifest: &Manifest, state: &mut State) -> io::Result<()> {
    for (entry, segment) in manifest.segments.iter().zip(&mut state.segments) {
        if let Some(rows) = entry.rows {
            segment.places = rows::read(disk, rows, entry.file)?;
            let removed = segment.places.iter().filter(|place| *place & REMOVED != 0);
            segment.dead = removed.count();
            state.stale += segment.dead;
        }
    }
    let runs = manifest.runs.iter().map(|number| {
        let run = Run::open(disk, &FileKind::Run.name(*number), *number)?;
        Ok(Arc::new(run))
    });
    state.levels = Arc::new(Levels {
        tables: vec![Arc::new(Table::default())],
        runs: runs.collect::<io::Result<_>>()?,
    });
    Ok(())
}

/// Opens the store that a disk holds.
pub(super) fn open(disk: Arc<dyn Disk>, path: &Path, options: Options) -> Result<Log, Error> {
    let mut manifest = manifest(&*disk, path)?;
    let mut state = State::default();
    for entry in &manifest.segments {
        state.segments.push(segment(&*disk, entry)?);
    }
    match derived(&*disk, &manifest, &mut state) {
        Ok(()) => {}
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof
            ) =>
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the index of the event store is damaged and is made again from the log"
            );
            forget_derived(&mut manifest, &mut state);
        }
        Err(error) => return Err(error.into()),
    }
    state.last = manifest.last;
    let log = Log::new(disk, path, options, manifest, state);
    log.replay()?;
    Ok(log)
}

fn forget_derived(manifest: &mut Manifest, state: &mut State) {
    manifest.runs.clear();
    manifest.note = None;
    manifest.last = 0;
    for entry in &mut manifest.segments {
        entry.rows = None;
    }
    manifest.covered = manifest.segments.first().map(|entry| Position {
        segment: entry.file,
        at: BEGIN,
        frame: 0,
    });
    for segment in &mut state.segments {
        segment.places.clear();
        segment.dead = 0;
    }
    state.stale = 0;
    state.levels = Arc::new(Levels {
        tables: vec![Arc::new(Table::default())],
        runs: Vec::new(),
    });
}

impl Log {
    /// Takes in the log behind what the manifest covers.
    fn replay(&self) -> Result<(), Error> {
        let manifest = self.manifest().clone();
        let mut writer = self.writer();
        writer.note = manifest.note;
        let Some(covered) = manifest.covered else {
            return Ok(());
        };
        let mut from = Some(covered);
        let rest = manifest
            .segments
            .iter()
            .skip_while(|entry| entry.file != covered.segment);
        let mut tail = None;
        for entry in rest {
            let position = from.take().unwrap_or(Position {
                segment: entry.file,
                at: BEGIN,
                frame: 0,
            });
            let name = FileKind::Segment.name(entry.file);
            let file = self.disk.open(&name)?;
            let len = file.len()?;
            let mut frames = Frames {
                end: entry.end.unwrap_or(len),
                file,
                salt: entry.salt,
                at: position.at,
                frame: position.frame,
            };
            while let Some(frame) = frames.next()? {
                self.take_in(&mut writer, entry.file, frame.at, &frame.payload)
                    .ok_or_else(|| Error::Damaged(name.clone()))??;
                self.state_mut().last = frame.last;
                let full = self.state().levels.tables.first().map(|table| table.len());
                if full.is_some_and(|keys| keys >= self.options.table) {
                    writer.tail = Some(tail_of(&frames, entry, len));
                    self.begin_table(&writer);
                    self.flush()?;
                }
            }
            match entry.end {
                Some(end) if frames.at != end => return Err(Error::Damaged(name)),
                Some(_) => {}
                None if !frames.settle()? => return Err(Error::Damaged(name)),
                None => {}
            }
            tail = Some(tail_of(&frames, entry, len));
        }
        writer.tail = tail;
        let last = self.state().last;
        drop(writer);
        self.committed(last);
        Ok(())
    }

    /// Takes in one frame of a segment; `None` when it is damaged.
    fn take_in(
        &self,
        writer: &mut Writer,
        number: u64,
        at: u64,
        payload: &[u8],
    ) -> Option<Result<(), Error>> {
        let mut keys = Vec::new();
        for entry in frame::entries(payload) {
            let (offset, entry) = entry?;
            match entry {
                Entry::Event { seq, json } => {
                    let event = match parse(seq, json) {
                        Ok(event) => event,
                        Err(error) => return Some(Err(error)),
                    };
                    let place = u32::try_from(at + offset as u64).ok()?;
                    let mut state = self.state_mut();
                    let mut segments = state.segments.iter_mut();
                    segments
                        .find(|segment| segment.number == number)?
                        .put(seq, place);
                    let row = self.keyer.keys(&event, time(&event), seq);
                    keys.extend(row.iter().map(word));
                }
                Entry::Removed { seq } => self.state_mut().remove(seq, &self.readers),
                Entry::Note(note) => writer.note = note.map(<[u8]>::to_vec),
                Entry::DeadId { .. } | Entry::DeadAddress { .. } | Entry::Vanished { .. } => {
                    keys.extend(dead_key(self.keyer, &entry).map(|key| word(&key)));
                }
            }
        }
        if let Some(table) = self.state().levels.tables.first() {
            table.add(keys);
        }
        Some(Ok(()))
    }
}

fn tail_of(frames: &Frames, entry: &SegmentEntry, len: u64) -> Tail {
    Tail {
        file: Arc::clone(&frames.file),
        number: entry.file,
        salt: entry.salt,
        end: frames.at,
        frame: frames.frame,
        room: len,
        closed: entry.end.is_some(),
    }
}

/// The hash key of a store.
pub(super) fn keyer(manifest: &Manifest) -> Keyer {
    Keyer::new(manifest.secret)
}
