//! Control groups, where this user may make them: memory, processes and processors of a sandbox together,
//! and a way to freeze it. Both versions of the kernel's interface (cgroups(7)).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::sandbox::Limits;

const MIB: u64 = 1024 * 1024;
/// What its network, which leads nowhere, may hold in the kernel's own memory: that counts for all of the computer.
const TCP: u64 = 32 * MIB;
/// The period of a processor's share in microseconds.
const PERIOD_US: u64 = 100_000;
/// How long freezing, and the end of the last process, may take.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(2);
/// Of version 1: both together.
const MEMORY_AND_SWAP: &str = "memory.memsw.limit_in_bytes";

/// Which limits hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Holds {
    pub(super) memory: bool,
    /// Swap too; false where memory is not limited.
    pub(super) swap: bool,
    pub(super) pids: bool,
    pub(super) cpus: bool,
    pub(super) freezer: bool,
}

/// Where groups are made: one folder of version 2, or one of each controller of version 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Places {
    unified: Option<PathBuf>,
    memory: Option<PathBuf>,
    pids: Option<PathBuf>,
    cpu: Option<PathBuf>,
    freezer: Option<PathBuf>,
}

/// The group of one sandbox; [`Group::remove`] ends what is left in it.
#[derive(Debug)]
pub(super) struct Group {
    places: Places,
    /// Whoever freezes or wakes it.
    turn: Mutex<()>,
    /// It is about to end, and frozen no more.
    ending: AtomicBool,
}

impl Places {
    /// The places where this process may make groups, found by looking; none when it may not.
    pub(super) fn find() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self::read(&own, &mounts).usable()
    }

    /// Without those where no group can be made, or none would limit anything.
    fn usable(mut self) -> Self {
        for place in self.each_mut() {
            if place.as_deref().is_some_and(|folder| !may_make(folder)) {
                *place = None;
            }
        }
        if !self.hands_on("memory") && !self.hands_on("pids") {
            self.unified = None;
        }
        self
    }

    /// A controller of version 2 works below a folder only when that hands it on.
    fn hands_on(&self, controller: &str) -> bool {
        let file = self
            .unified
            .as_ref()
            .map(|folder| folder.join("cgroup.subtree_control"));
        let handed = file.and_then(|file| fs::read_to_string(file).ok());
        handed.is_some_and(|handed| handed.split_whitespace().any(|word| word == controller))
    }

    fn read(own: &str, mounts: &str) -> Self {
        let mut places = Self::default();
        for line in own.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if controllers.is_empty() {
                // Processes and limits do not share a folder: the sandboxes are beside us.
                let beside = Path::new(path).parent().unwrap_or(Path::new("/"));
                places.unified = mount_of(mounts, "cgroup2", None)
                    .map(|mount| mount.join(beside.strip_prefix("/").unwrap_or(beside)));
                continue;
            }
            for controller in controllers.split(',') {
                let place = match controller {
                    "memory" => &mut places.memory,
                    "pids" => &mut places.pids,
                    "cpu" => &mut places.cpu,
                    "freezer" => &mut places.freezer,
                    _ => continue,
                };
                *place = mount_of(mounts, "cgroup", Some(controller))
                    .map(|mount| mount.join(path.trim_start_matches('/')));
            }
        }
        places
    }

    fn each_mut(&mut self) -> [&mut Option<PathBuf>; 5] {
        [
            &mut self.unified,
            &mut self.memory,
            &mut self.pids,
            &mut self.cpu,
            &mut self.freezer,
        ]
    }

    fn each(&self) -> impl Iterator<Item = &PathBuf> {
        [
            &self.unified,
            &self.memory,
            &self.pids,
            &self.cpu,
            &self.freezer,
        ]
        .into_iter()
        .flatten()
    }

    /// Which limits can hold.
    pub(super) fn holds(&self) -> Holds {
        // Version 1 counts swap only where the kernel was told to.
        let counts_swap = |folder: &PathBuf| folder.join(MEMORY_AND_SWAP).exists();
        let memory = self.hands_on("memory");
        Holds {
            memory: self.memory.is_some() || memory,
            swap: memory || self.memory.as_ref().is_some_and(counts_swap),
            pids: self.pids.is_some() || self.hands_on("pids"),
            cpus: self.cpu.is_some() || self.hands_on("cpu"),
            freezer: self.freezer.is_some() || self.unified.is_some(),
        }
    }

    /// Makes a group with its limits.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub(super) fn make(&self, name: &str, limits: &Limits) -> io::Result<Group> {
        let mut made = Self::default();
        let outcome = made.make_each(self, name);
        // One that was there already is another sandbox's, and not touched.
        let group = Group::of(made);
        outcome
            .and_then(|()| group.limit(limits))
            .inspect_err(|_| group.remove())?;
        Ok(group)
    }

    fn make_each(&mut self, from: &Self, name: &str) -> io::Result<()> {
        let from = [
            &from.unified,
            &from.memory,
            &from.pids,
            &from.cpu,
            &from.freezer,
        ];
        for (own, place) in self.each_mut().into_iter().zip(from) {
            if let Some(place) = place {
                let folder = place.join(name);
                fs::create_dir(&folder)?;
                *own = Some(folder);
            }
        }
        Ok(())
    }

    /// Ends what groups with this beginning an earlier run left behind; says how many there were.
    pub(super) fn sweep(&self, beginning: &str) -> usize {
        let mut names = std::collections::BTreeSet::new();
        for folder in self.each() {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            names.extend(
                entries
                    .filter_map(|entry| entry.file_name().into_string().ok())
                    .filter(|name| name.starts_with(beginning)),
            );
        }
        for name in &names {
            let mut places = self.clone();
            for place in places.each_mut() {
                if let Some(folder) = place {
                    folder.push(name);
                    if !folder.is_dir() {
                        *place = None;
                    }
                }
            }
            Group::of(places).remove();
        }
        names.len()
    }
}

impl Group {
    fn of(places: Places) -> Self {
        Self {
            places,
            turn: Mutex::default(),
            ending: AtomicBool::default(),
        }
    }

    /// The file that freezes and wakes it.
    pub(super) fn freezer(&self) -> Option<PathBuf> {
        let first = self.places.freezer.as_ref();
        let first = first.map(|folder| folder.join("freezer.state"));
        let second = self.places.unified.as_ref();
        first.or_else(|| second.map(|folder| folder.join("cgroup.freeze")))
    }

    /// From now on it is not frozen any more.
    pub(super) fn ends(&self) {
        self.ending.store(true, Ordering::SeqCst);
    }

    fn limit(&self, limits: &Limits) -> io::Result<()> {
        let bytes = (u64::from(limits.memory_mb) * MIB).to_string();
        let quota = (limits.cpus * PERIOD_US as f64) as u64;
        let pids = limits.pids.to_string();
        if let Some(folder) = &self.places.unified {
            for (file, value) in [
                ("memory.max", bytes.clone()),
                ("memory.swap.max", "0".to_owned()),
                ("pids.max", pids.clone()),
                ("cpu.max", format!("{quota} {PERIOD_US}")),
            ] {
                // A controller that was not handed on has no such file.
                if folder.join(file).exists() {
                    fs::write(folder.join(file), value)?;
                }
            }
        }
        if let Some(folder) = &self.places.memory {
            fs::write(folder.join("memory.limit_in_bytes"), &bytes)?;
            let swap = folder.join(MEMORY_AND_SWAP);
            if swap.exists() {
                fs::write(swap, &bytes)?;
            }
            // With version 2 it is a part of `memory.max`.
            let tcp = folder.join("memory.kmem.tcp.limit_in_bytes");
            if tcp.exists() {
                fs::write(tcp, TCP.to_string())?;
            }
        }
        if let Some(folder) = &self.places.pids {
            fs::write(folder.join("pids.max"), pids)?;
        }
        if let Some(folder) = &self.places.cpu {
            fs::write(folder.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
            fs::write(folder.join("cpu.cfs_quota_us"), quota.to_string())?;
        }
        Ok(())
    }

    /// Takes a process in, and all that it will start.
    pub(super) fn take(&self, pid: u32) -> io::Result<()> {
        for folder in self.places.each() {
            fs::write(folder.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }

    /// Whether it can be frozen.
    pub(super) fn has_freezer(&self) -> bool {
        self.freezer().is_some()
    }

    /// Freezes every process of it, or wakes them. Blocks until they stand still.
    pub(super) fn freeze(&self, frozen: bool) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let until = |done: &dyn Fn() -> io::Result<bool>| {
            until(|| {
                if frozen && self.ending.load(Ordering::SeqCst) {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                done()
            })
        };
        if let Some(folder) = &self.places.freezer {
            let state = folder.join("freezer.state");
            let wanted = if frozen { "FROZEN" } else { "THAWED" };
            return until(&|| {
                fs::write(&state, wanted)?;
                Ok(fs::read_to_string(&state)?.trim() == wanted)
            });
        }
        let Some(folder) = &self.places.unified else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        fs::write(folder.join("cgroup.freeze"), if frozen { "1" } else { "0" })?;
        let wanted = format!("frozen {}", u8::from(frozen));
        until(&|| {
            let events = fs::read_to_string(folder.join("cgroup.events"))?;
            Ok(events.lines().any(|line| line == wanted))
        })
    }

    /// Whether the kernel ended a process of it for want of memory.
    pub(super) fn out_of_memory(&self) -> bool {
        let files = [
            self.places
                .unified
                .as_ref()
                .map(|folder| folder.join("memory.events")),
            self.places
                .memory
                .as_ref()
                .map(|folder| folder.join("memory.oom_control")),
        ];
        files.into_iter().flatten().any(|file| {
            let text = fs::read_to_string(file).unwrap_or_default();
            text.lines().any(|line| {
                line.strip_prefix("oom_kill ")
                    .is_some_and(|count| count.trim() != "0")
            })
        })
    }

    /// Ends what is in it and removes it.
    pub(super) fn remove(&self) {
        self.ends();
        let removed = until(|| {
            self.kill();
            for folder in self.places.each() {
                match fs::remove_dir(folder) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(_) => return Ok(false),
                }
            }
            Ok(true)
        });
        if let Err(error) = removed {
            // The next start of this home sweeps it.
            tracing::warn!(%error, "a control group is left behind");
        }
    }

    fn kill(&self) {
        for folder in self.places.each() {
            let list = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            let pids = list.lines().filter_map(|line| line.parse().ok());
            for pid in pids.filter_map(rustix::process::Pid::from_raw) {
                // It may have ended meanwhile.
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        // What is frozen does not end before it wakes.
        if let Some(file) = self.freezer() {
            let awake = if self.places.freezer.is_some() {
                "THAWED"
            } else {
                "0"
            };
            if let Err(error) = fs::write(file, awake) {
                tracing::debug!(%error, "could not wake a control group");
            }
        }
    }
}

/// Whether a group can be made in a folder; one is, and removed again.
fn may_make(folder: &Path) -> bool {
    let name = format!("treefort-look-{}", std::process::id());
    let look = folder.join(name);
    // It is there when another thread looks at the same time.
    fs::create_dir(&look).is_ok() && fs::remove_dir(&look).is_ok()
}

fn until(mut done: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let began = Instant::now();
    while !done()? {
        if began.elapsed() > PATIENCE {
            return Err(io::ErrorKind::TimedOut.into());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Where a hierarchy is mounted, with its own root there (proc(5): mountinfo).
fn mount_of(mounts: &str, kind: &str, controller: Option<&str>) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = right.split(' ');
        if fields.next()? != kind {
            return None;
        }
        let options = fields.nth(1)?;
        if controller.is_some_and(|name| !options.split(',').any(|option| option == name)) {
            return None;
        }
        let mut place = left.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        // A part of the hierarchy is mounted in a container; its paths begin above what is seen there.
        (root == "/").then(|| PathBuf::from(point))
    })
}

#[cfg(test)]
mod tests;
