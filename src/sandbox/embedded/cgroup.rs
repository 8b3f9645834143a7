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

/// Which limits hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Holds {
    pub(super) memory: bool,
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
        let mut places = Self::read(&own, &mounts);
        for place in places.each_mut() {
            if place.as_deref().is_some_and(|folder| !may_make(folder)) {
                *place = None;
            }
        }
        // A controller of version 2 works below a folder only when that hands it on.
        if let Some(folder) = &places.unified {
            let handed = fs::read_to_string(folder.join("cgroup.subtree_control"));
            let handed = handed.unwrap_or_default();
            let has = |name: &str| handed.split_whitespace().any(|word| word == name);
            if !has("memory") && !has("pids") {
                places.unified = None;
            }
        }
        places
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
        let handed = self.unified.as_ref().map(|folder| {
            fs::read_to_string(folder.join("cgroup.subtree_control")).unwrap_or_default()
        });
        let has = |name: &str| {
            handed
                .as_ref()
                .is_some_and(|handed| handed.split_whitespace().any(|word| word == name))
        };
        Holds {
            memory: self.memory.is_some() || has("memory"),
            pids: self.pids.is_some() || has("pids"),
            cpus: self.cpu.is_some() || has("cpu"),
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
            let swap = folder.join("memory.memsw.limit_in_bytes");
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
mod tests {
    use super::*;

    /// On the second version's own mount, which is there on most machines without any controller too.
    #[test]
    fn a_group_is_frozen_woken_and_removed_with_what_is_in_it() {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let Some(unified) = mount_of(&mounts, "cgroup2", None).filter(|path| may_make(path)) else {
            return;
        };
        let places = Places {
            unified: Some(unified),
            ..Places::default()
        };
        let name = format!("treefort-unit-{}", std::process::id());
        let group = places.make(&name, &Limits::default()).unwrap();
        let taken = places.make(&name, &Limits::default()).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        let mut busy = std::process::Command::new("sh")
            .args(["-c", "while :; do :; done"])
            .spawn()
            .unwrap();
        group.take(busy.id()).unwrap();
        let ticks = || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", busy.id())).unwrap();
            let (_, rest) = stat.rsplit_once(") ").unwrap();
            rest.split(' ').nth(11).unwrap().parse::<u64>().unwrap()
        };
        group.freeze(true).unwrap();
        let before = ticks();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(ticks(), before);
        group.freeze(false).unwrap();
        let began = Instant::now();
        while ticks() == before {
            assert!(began.elapsed() < PATIENCE);
        }
        group.freeze(true).unwrap();
        group.ends();
        assert!(group.freeze(true).is_err());
        let reaper = std::thread::spawn(move || busy.wait());
        group.remove();
        assert!(reaper.join().unwrap().is_ok());
        assert!(group.places.each().all(|folder| !folder.exists()));
        assert_eq!(places.sweep(&name), 0);
    }

    #[test]
    fn both_versions_are_found_by_their_mounts() {
        let mounts = "30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      31 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      32 30 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                      33 30 0:29 /part /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        let own = "4:memory:/a/b\n3:cpu,cpuacct:/\n2:pids:/\n0::/\n";
        let places = Places::read(own, mounts);
        assert_eq!(places.memory, Some("/sys/fs/cgroup/memory/a/b".into()));
        assert_eq!(places.cpu, Some("/sys/fs/cgroup/cpu/".into()));
        assert_eq!(places.pids, None);
        assert_eq!(places.unified, None);

        let mounts = "31 30 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let own = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope\n";
        let beside = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice";
        assert_eq!(Places::read(own, mounts).unified, Some(beside.into()));
    }
}
