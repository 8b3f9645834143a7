//! Stopping every process of a sandbox where no control group can freeze it: its PID 1 sends SIGSTOP to all of
//! them in one call, which the kernel does not let a fork slip past. What was just waking another one may have
//! undone that for some, so it is asked again until two looks in a row find the same processes, of which no
//! thread runs. Their system calls leave them nothing that wakes one later (`calls`).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long it may take to stop a sandbox.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(2);
/// How long one that waits for its stopped child in vfork(2) is given to turn out to do something else.
const VFORK: Duration = Duration::from_millis(300);
/// The processes of this computer.
const PROC: &str = "/proc";

/// One process as `/proc/<pid>/stat` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    parent: u32,
    state: u8,
}

impl Process {
    /// Fields 3 and 4 of proc(5); the name before them may hold anything.
    fn parse(stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        Some(Self {
            state: *fields.next()?.as_bytes().first()?,
            parent: fields.next()?.parse().ok()?,
        })
    }

    fn stands_still(self) -> bool {
        matches!(self.state, b'T' | b't' | b'Z' | b'X')
    }
}

/// How each thread of a process is: one whose first thread has ended is a zombie to look at, and may run on.
fn threads(proc: &Path, pid: u32) -> Vec<u8> {
    let entries = fs::read_dir(proc.join(pid.to_string()).join("task"));
    entries
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join("stat")).ok())
        .filter_map(|stat| Process::parse(&String::from_utf8_lossy(&stat)))
        .map(|thread| thread.state)
        .collect()
}

fn stands_still(proc: &Path, pid: u32, process: Process) -> bool {
    process.stands_still()
        && threads(proc, pid)
            .into_iter()
            .all(|state| Process { state, ..process }.stands_still())
}

/// Whether nothing of a process can be on its way but a wait for a child of its own, which stands still.
fn waits_in_vfork(proc: &Path, pid: u32, all: &HashMap<u32, Process>) -> bool {
    let still_child = |(child, process): (&u32, &Process)| {
        process.parent == pid && process.state == b'T' && stands_still(proc, *child, *process)
    };
    all.iter().any(still_child)
        && threads(proc, pid)
            .into_iter()
            .all(|state| matches!(state, b'T' | b't' | b'Z' | b'X' | b'D'))
}

/// The processes that a process started itself.
pub(super) fn children(of: u32) -> io::Result<Vec<u32>> {
    let (all, _) = processes(Path::new(PROC))?;
    Ok(all
        .into_iter()
        .filter(|(_, process)| process.parent == of)
        .map(|(pid, _)| pid)
        .collect())
}

/// Stops everything in a sandbox but its PID 1, which `ask` asks to do so. `first` is that PID 1's number here.
///
/// # Errors
/// When it does not stand still in time, or cannot be seen.
pub(super) fn stop(first: u32, ask: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let began = Instant::now();
    let mut before = None;
    loop {
        ask()?;
        std::thread::sleep(LOOK);
        let still = look(first, began.elapsed() > VFORK)?;
        if still.is_some() && still == before {
            return Ok(());
        }
        before = still;
        if began.elapsed() > PATIENCE {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

/// The processes of a sandbox when all of them stand still. Its own `/proc` holds those alone, so that one that
/// is gone again was one of them, and on its way.
fn look(first: u32, vfork: bool) -> io::Result<Option<BTreeSet<u32>>> {
    let own = PathBuf::from(format!("{PROC}/{first}/root/proc"));
    let (proc, mine) = if own.join("1/stat").exists() {
        let (mut all, whole) = processes(&own)?;
        if !whole {
            return Ok(None);
        }
        all.remove(&1);
        (own, all)
    } else {
        let (all, _) = processes(Path::new(PROC))?;
        if !all.contains_key(&first) {
            // It has ended, or the host hides what is not dumpable (`hidepid`).
            return Err(io::ErrorKind::NotFound.into());
        }
        let mine = descendants(&all, first);
        let mine = mine.into_iter().map(|pid| (pid, all[&pid])).collect();
        (PathBuf::from(PROC), mine)
    };
    let still = |(pid, process): (&u32, &Process)| {
        stands_still(&proc, *pid, *process) || vfork && waits_in_vfork(&proc, *pid, &mine)
    };
    Ok(mine
        .iter()
        .all(still)
        .then(|| mine.keys().copied().collect()))
}

/// All that are listed, and whether none of them was gone when it was looked at.
fn processes(proc: &Path) -> io::Result<(HashMap<u32, Process>, bool)> {
    let (mut all, mut whole) = (HashMap::new(), true);
    for entry in fs::read_dir(proc)?.flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(pid) = pid else { continue };
        let stat = fs::read(entry.path().join("stat")).unwrap_or_default();
        match Process::parse(&String::from_utf8_lossy(&stat)) {
            Some(process) => drop(all.insert(pid, process)),
            None => whole = false,
        }
    }
    Ok((all, whole))
}

fn descendants(all: &HashMap<u32, Process>, root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (pid, process) in all {
        children.entry(process.parent).or_default().push(*pid);
    }
    let mut seen = HashSet::from([root]);
    let mut found = Vec::new();
    let mut next = vec![root];
    while let Some(parent) = next.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            if seen.insert(*child) {
                found.push(*child);
                next.push(*child);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_the_fields_after_it() {
        let process = Process::parse("12 (a) R 1 (x) S 7 8 9").unwrap();
        assert_eq!(
            process,
            Process {
                parent: 7,
                state: b'S'
            }
        );
        assert_eq!(Process::parse("12 (a"), None);
    }
}
