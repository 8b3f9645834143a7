//! The threads that read files for the walker.

use std::{
    os::fd::OwnedFd,
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError},
    },
    thread::{Scope, available_parallelism},
};

use super::{
    cache::Moment,
    read::{Failed, Read, read},
    walk::Walk,
};
use crate::workspace::{
    Error,
    objects::{Batch, Store},
};

/// So many files wait for a reader, and so many for the walker.
pub(super) const QUEUE: usize = 16;

/// A file to be read: its place in the walk, its path, and its descriptor.
pub(super) struct Job {
    pub(super) at: (usize, usize),
    pub(super) path: Vec<u8>,
    pub(super) fd: OwnedFd,
    /// When its file system was flushed, if it was.
    pub(super) flushed: Option<Moment>,
}

/// A file that was read.
pub(super) struct Done {
    pub(super) at: (usize, usize),
    pub(super) path: Vec<u8>,
    pub(super) read: Result<Read, Failed>,
}

/// Threads that read, started with the first file.
pub(super) struct Readers<'scope, 'env> {
    threads: &'scope Scope<'scope, 'env>,
    jobs: SyncSender<Job>,
    results: Receiver<Done>,
    start: Option<(&'scope Mutex<Receiver<Job>>, SyncSender<Done>)>,
    store: &'scope Store,
    max_file: u64,
    pending: usize,
}

impl<'scope, 'env> Readers<'scope, 'env> {
    pub(super) fn new(
        threads: &'scope Scope<'scope, 'env>,
        waiting: &'scope Mutex<Receiver<Job>>,
        (jobs, results, done): (SyncSender<Job>, Receiver<Done>, SyncSender<Done>),
        store: &'scope Store,
        max_file: u64,
    ) -> Self {
        Self {
            threads,
            jobs,
            results,
            start: Some((waiting, done)),
            store,
            max_file,
            pending: 0,
        }
    }

    /// Gives a file to the readers, and takes what they have done.
    pub(super) fn send(
        &mut self,
        job: Job,
        walk: &mut Walk<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<(), Error> {
        if let Some((waiting, done)) = self.start.take() {
            let (store, max) = (self.store, self.max_file);
            for _ in 0..available_parallelism().map_or(2, usize::from).clamp(1, 4) {
                let done = done.clone();
                self.threads.spawn(move || {
                    loop {
                        let job = waiting
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .recv();
                        let Ok(job) = job else { break };
                        let Job {
                            at,
                            path,
                            fd,
                            flushed,
                        } = job;
                        let read = read(store, fd, max, flushed);
                        if done.send(Done { at, path, read }).is_err() {
                            break;
                        }
                    }
                });
            }
        }
        self.pending += 1;
        let mut job = job;
        loop {
            job = match self.jobs.try_send(job) {
                Ok(()) => break,
                Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => job,
            };
            self.wait(walk, batch)?;
        }
        while let Ok(done) = self.results.try_recv() {
            self.pending -= 1;
            walk.settle(done, batch)?;
        }
        Ok(())
    }

    /// Waits for what is still being read.
    pub(super) fn finish(
        &mut self,
        walk: &mut Walk<'_>,
        batch: &mut Batch<'_>,
    ) -> Result<(), Error> {
        while self.pending > 0 {
            self.wait(walk, batch)?;
        }
        Ok(())
    }

    fn wait(&mut self, walk: &mut Walk<'_>, batch: &mut Batch<'_>) -> Result<(), Error> {
        let done = self.results.recv().map_err(|_| Error::Readers)?;
        self.pending -= 1;
        walk.settle(done, batch)
    }
}
