//! The manifest: which files are the store, and from where on the log is not in the runs yet.
//!
//! One line of JSON and one with its checksum, replaced as a whole by a rename. A file of the store that it does not name is
//! not part of it any more, and is removed when the store is opened.

use std::io;

use serde::{Deserialize, Serialize};

use super::{
    disk::{self, Disk},
    frame,
};

/// Its name.
pub(super) const NAME: &str = "manifest";
/// Its name while it is written.
pub(super) const UNFINISHED: &str = "manifest.new";
/// The format of all files that this version reads and writes. fjall's was 1.
pub(super) const FORMAT: u32 = 2;

/// Which file is which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// A part of the log.
    Segment,
    /// Sorted index keys.
    Run,
    /// Where the rows of a segment are.
    Rows,
}

impl FileKind {
    /// The name of a file.
    pub(super) fn name(self, number: u64) -> String {
        let end = match self {
            Self::Segment => "log",
            Self::Run => "run",
            Self::Rows => "rows",
        };
        format!("{number:08}.{end}")
    }

    /// Whether a file has a name that one of the store's may have.
    pub(super) fn is_name(name: &str) -> bool {
        let (number, end) = name.split_once('.').unwrap_or_default();
        number.len() >= 8
            && number.bytes().all(|digit| digit.is_ascii_digit())
            && ["log", "run", "rows"].contains(&end)
    }
}

/// A place in the log, at the beginning of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// The segment's file.
    pub(super) segment: u64,
    /// Where in it.
    pub(super) at: u64,
    /// The number of the frame that begins there.
    pub(super) frame: u32,
}

/// A part of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SegmentEntry {
    pub(super) file: u64,
    /// What its frames begin with.
    pub(super) salt: u32,
    /// The first sequence number that it can hold.
    pub(super) first: u64,
    /// Where it ends; nothing for the one that is written to.
    pub(super) end: Option<u64>,
    /// The file that says where its rows are, as of a moment at or after `covered`.
    pub(super) rows: Option<u64>,
}

/// What the store consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) format: u32,
    /// The key of the index's hashes.
    pub(super) secret: [u8; 16],
    /// The number of the next file.
    pub(super) next: u64,
    /// Oldest first.
    pub(super) segments: Vec<SegmentEntry>,
    /// In no order.
    pub(super) runs: Vec<u64>,
    /// What is before this is in `runs` and `rows`; nothing when there is no segment.
    pub(super) covered: Option<Position>,
    /// The last sequence number at `covered`.
    pub(super) last: u64,
    /// What a purge noted, at `covered`.
    pub(super) note: Option<Vec<u8>>,
}

impl Manifest {
    /// That of a new store.
    pub(super) fn new(secret: [u8; 16]) -> Self {
        Self {
            format: FORMAT,
            secret,
            next: 1,
            segments: Vec::new(),
            runs: Vec::new(),
            covered: None,
            last: 0,
            note: None,
        }
    }

    /// The names of all files that it names.
    pub(super) fn files(&self) -> Vec<String> {
        let segments = self.segments.iter().flat_map(|segment| {
            let rows = segment.rows.map(|file| FileKind::Rows.name(file));
            [Some(FileKind::Segment.name(segment.file)), rows]
        });
        let runs = self.runs.iter().map(|file| FileKind::Run.name(*file));
        segments.flatten().chain(runs).collect()
    }

    /// Writes it in place of the one before. It is not known which of the two is there when this fails.
    pub(super) fn write(&self, disk: &dyn Disk) -> io::Result<()> {
        let mut text = serde_json::to_string(self)?;
        let crc = frame::checksum(&[text.as_bytes()]);
        text.push_str(&format!("\n{crc:08x}\n"));
        let file = disk.create(UNFINISHED)?;
        file.write_at(text.as_bytes(), 0)?;
        file.sync()?;
        // The files that it names are there before it is.
        disk.sync()?;
        disk.rename(UNFINISHED, NAME)?;
        disk.sync()
    }

    /// Reads it. `Err(None)` when it is damaged; `Err(Some)` with the format that it has, when that is another one.
    pub(super) fn read(disk: &dyn Disk) -> io::Result<Result<Self, Option<u64>>> {
        let bytes = disk::read_all(&*disk.open(NAME)?)?;
        Ok(Self::parse(&bytes))
    }

    fn parse(bytes: &[u8]) -> Result<Self, Option<u64>> {
        let text = std::str::from_utf8(bytes).map_err(|_| None)?;
        let (json, crc) = text.split_once('\n').ok_or(None)?;
        if crc.trim_end() != format!("{:08x}", frame::checksum(&[json.as_bytes()])) {
            return Err(None);
        }
        #[derive(Deserialize)]
        struct Version {
            format: u64,
        }
        let version: Version = serde_json::from_str(json).map_err(|_| None)?;
        if version.format != u64::from(FORMAT) {
            return Err(Some(version.format));
        }
        serde_json::from_str(json).map_err(|_| None)
    }
}
