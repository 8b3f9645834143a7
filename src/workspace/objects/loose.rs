//! Loose objects: `zlib("kind size NUL bytes")` in a file named by the object.

use std::{
    fs,
    io::{self, BufReader, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use flate2::{Compression, bufread::ZlibDecoder, write::ZlibEncoder};

use super::Kind;

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

type Open = (Kind, u64, ZlibDecoder<BufReader<fs::File>>);

fn open(path: &Path) -> io::Result<Open> {
    let mut inflated = ZlibDecoder::new(BufReader::new(fs::File::open(path)?));
    let mut header = Vec::new();
    let mut byte = [0];
    loop {
        inflated.read_exact(&mut byte).map_err(|_| invalid("cut"))?;
        if byte[0] == 0 {
            break;
        }
        header.push(byte[0]);
        if header.len() > 32 {
            return Err(invalid("header"));
        }
    }
    let space = header.iter().position(|byte| *byte == b' ');
    let (kind, size) = header.split_at(space.ok_or_else(|| invalid("header"))?);
    let kind = Kind::from_name(kind).ok_or_else(|| invalid("kind"))?;
    let size = std::str::from_utf8(&size[1..])
        .ok()
        .and_then(|size| size.parse().ok())
        .ok_or_else(|| invalid("size"))?;
    Ok((kind, size, inflated))
}

pub(super) fn header(path: &Path) -> io::Result<(Kind, u64)> {
    open(path).map(|(kind, size, _)| (kind, size))
}

pub(super) fn read(path: &Path) -> io::Result<(Kind, Vec<u8>)> {
    let (kind, size, inflated) = open(path)?;
    let mut bytes = Vec::new();
    inflated
        .take(size.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|_| invalid("zlib"))?;
    if bytes.len() as u64 == size {
        Ok((kind, bytes))
    } else {
        Err(invalid("size"))
    }
}

/// Writes and syncs a loose object under its name; the folder's names are synced by the caller.
pub(super) fn write(path: &Path, kind: Kind, bytes: &[u8]) -> io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = path.parent().ok_or_else(|| invalid("path"))?;
    // git's own prefix, so that its housekeeping knows what a killed write leaves.
    let unfinished = folder.join(format!("tmp_obj_{}_{number}", std::process::id()));
    // A killed process of the same number left it.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o400)
        .open(&unfinished)?;
    let mut deflated = ZlibEncoder::new(file, Compression::fast());
    write!(deflated, "{} {}\0", kind.name(), bytes.len())?;
    deflated.write_all(bytes)?;
    deflated.finish()?.sync_all()?;
    fs::rename(unfinished, path)
}
