//! Stopping every process of a sandbox where no control group can freeze it: SIGSTOP to all of them, until a
//! whole look finds none of which a thread runs. What is stopped cannot start another one, so that this ends.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// How long it may take to stop a sandbox.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(1);
/// How long one that waits for its stopped child in vfork(2) is given to turn out to do something else.
const VFORK: Duration = Duration::from_millis(300);

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
fn threads(pid: u32) -> Vec<u8> {
    let entries = fs::read_dir(format!("/proc/{pid}/task"));
    entries
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| fs::read(entry.path().join("stat")).ok())
        .filter_map(|stat| Process::parse(&String::from_utf8_lossy(&stat)))
        .map(|thread| thread.state)
        .collect()
}

fn stands_still(pid: u32, process: Process) -> bool {
    process.stands_still()
        && threads(pid)
            .into_iter()
            .all(|state| Process { state, ..process }.stands_still())
}

/// Whether nothing of a process can be on its way but a wait for a child of its own, which stands still.
fn waits_in_vfork(pid: u32, all: &HashMap<u32, Process>) -> bool {
    let still_child = |(child, process): (&u32, &Process)| {
        process.parent == pid && process.state == b'T' && stands_still(*child, *process)
    };
    all.iter().any(still_child)
        && threads(pid)
            .into_iter()
            .all(|state| matches!(state, b'T' | b't' | b'Z' | b'X' | b'D'))
}

/// The processes that a process started itself.
pub(super) fn children(of: u32) -> io::Result<Vec<u32>> {
    let all = processes()?.into_iter();
    Ok(all
        .filter(|(_, process)| process.parent == of)
        .map(|(pid, _)| pid)
        .collect())
}

/// Stops everything that a process started, or lets it go on; not the process itself.
///
/// # Errors
/// When it does not stand still in time, or cannot be seen: then it was let go again.
pub(super) fn below(root: u32, stop: bool) -> io::Result<()> {
    let began = Instant::now();
    loop {
        let all = processes()?;
        let mine = descendants(&all, root);
        if stop && mine.is_empty() {
            // There is a PID 1 always, but the host may hide what is not dumpable (`hidepid`).
            return Err(io::ErrorKind::NotFound.into());
        }
        let in_vfork = |pid| began.elapsed() > VFORK && waits_in_vfork(pid, &all);
        let moving: Vec<u32> = mine
            .into_iter()
            .filter(|pid| !stop || !(stands_still(*pid, all[pid]) || in_vfork(*pid)))
            .collect();
        let signal = if stop { Signal::STOP } else { Signal::CONT };
        for pid in &moving {
            let pid = i32::try_from(*pid).ok().and_then(Pid::from_raw);
            if let Some(pid) = pid {
                // It may have ended meanwhile.
                let _ = rustix::process::kill_process(pid, signal);
            }
        }
        if !stop || moving.is_empty() {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            below(root, false)?;
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(LOOK);
    }
}

fn processes() -> io::Result<HashMap<u32, Process>> {
    let mut all = HashMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(pid) = pid else { continue };
        // One that ended meanwhile has no file any more.
        let stat = fs::read(entry.path().join("stat")).unwrap_or_default();
        if let Some(process) = Process::parse(&String::from_utf8_lossy(&stat)) {
            all.insert(pid, process);
        }
    }
    Ok(all)
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
    use std::process::{Command, Stdio};

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

    #[test]
    fn everything_below_stands_still_and_goes_on() {
        let script = "while :; do sleep 0.01; done & while :; do :; done";
        let mut shell = Command::new("sh")
            .args(["-c", &format!("sh -c '{script}' & wait")])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let still = |wanted: usize| {
            let all = processes().unwrap();
            let mine = descendants(&all, shell.id());
            mine.len() >= 2 && mine.iter().filter(|pid| all[pid].stands_still()).count() >= wanted
        };
        while !still(0) {
            std::thread::sleep(LOOK);
        }
        below(shell.id(), true).unwrap();
        let all = processes().unwrap();
        let mine = descendants(&all, shell.id());
        assert!(mine.iter().all(|pid| all[pid].stands_still()));
        below(shell.id(), false).unwrap();
        let began = Instant::now();
        while processes().unwrap()[mine.iter().min().unwrap()].state == b'T' {
            assert!(began.elapsed() < PATIENCE);
        }
        for pid in descendants(&processes().unwrap(), shell.id()) {
            let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        shell.kill().unwrap();
        shell.wait().unwrap();
    }
}
