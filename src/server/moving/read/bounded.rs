//! A reader that gives no more than it may: what an archive says of its own lengths is not believed.

use std::{
    cell::Cell,
    io::{self, Read},
    rc::Rc,
};

/// Reads on while there is room.
pub(super) struct Bounded<R> {
    from: R,
    room: Rc<Cell<u64>>,
}

/// How much may be read.
pub(super) struct Bound(Rc<Cell<u64>>);

impl<R: Read> Bounded<R> {
    pub(super) fn new(from: R) -> (Self, Bound) {
        let room = Rc::new(Cell::new(u64::MAX));
        let bound = Bound(room.clone());
        (Self { from, room }, bound)
    }
}

impl Bound {
    /// Does something for which no more than so many bytes are read.
    pub(super) fn within<T>(&self, most: u64, work: impl FnOnce() -> T) -> T {
        self.0.set(most);
        let done = work();
        self.0.set(u64::MAX);
        done
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let room = self.room.get();
        if room == 0 && !buf.is_empty() {
            return Err(io::Error::other("a name in it is longer than any is"));
        }
        let most = usize::try_from(room).map_or(buf.len(), |room| room.min(buf.len()));
        let read = self.from.read(&mut buf[..most])?;
        self.room.set(room.saturating_sub(read as u64));
        Ok(read)
    }
}
