//! git's index, version 2: the files of a commit, with the state that tells that they are unchanged.

use rustix::fs::Stat;

use crate::workspace::{ObjectId, id::checksum};

/// A file or a link.
pub(super) struct Entry {
    pub(super) path: Vec<u8>,
    pub(super) mode: u32,
    pub(super) id: ObjectId,
    /// Its state, when its bytes are those of the object.
    pub(super) stat: Option<Stat>,
}

/// The index's bytes.
pub(super) fn encode(mut entries: Vec<Entry>) -> Vec<u8> {
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    let mut bytes = b"DIRC\0\0\0\x02".to_vec();
    bytes.extend_from_slice(&(entries.len() as u32).to_be_bytes());
    for entry in entries {
        let begin = bytes.len();
        for field in fields(&entry) {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        bytes.extend_from_slice(entry.id.as_bytes());
        let length = entry.path.len().min(0xfff) as u16;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&entry.path);
        // At least one NUL, up to a multiple of eight.
        let padding = 8 - (bytes.len() - begin) % 8;
        bytes.extend(std::iter::repeat_n(0, padding));
    }
    let sum = checksum(&bytes);
    bytes.extend_from_slice(&sum);
    bytes
}

/// ctime, mtime, device, inode, mode, user, group, size: each cut to 32 bits, as git does.
fn fields(entry: &Entry) -> [u32; 10] {
    let Some(stat) = &entry.stat else {
        return [0, 0, 0, 0, 0, 0, entry.mode, 0, 0, 0];
    };
    [
        stat.st_ctime as u32,
        stat.st_ctime_nsec as u32,
        stat.st_mtime as u32,
        stat.st_mtime_nsec as u32,
        stat.st_dev as u32,
        stat.st_ino as u32,
        entry.mode,
        stat.st_uid,
        stat.st_gid,
        stat.st_size as u32,
    ]
}
