//! Groups of the kernel's, and folders that look like them.

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

/// A folder with these files, as the kernel fills one that is made.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

const LIMITS: Limits = Limits {
    memory_mb: 512,
    cpus: 1.5,
    pids: 64,
    scratch_mb: 1,
};

/// Where the kernel has the controllers in version 1, as here, it lets nobody try them in version 2.
#[test]
fn what_is_written_limits_a_group_of_version_2() {
    let place = folder(&[
        ("memory.max", "max"),
        ("memory.swap.max", "max"),
        ("pids.max", "max"),
        ("cpu.max", "max 100000"),
        ("cgroup.procs", ""),
        ("memory.events", "low 0\nmax 7\noom 1\noom_kill 0\n"),
    ]);
    let of = |place: &Path| {
        Group::of(Places {
            unified: Some(place.to_owned()),
            ..Places::default()
        })
    };
    let read = |name: &str| fs::read_to_string(place.path().join(name)).unwrap();
    let group = of(place.path());
    group.limit(&LIMITS).unwrap();
    assert_eq!(read("memory.max"), "536870912");
    assert_eq!(read("memory.swap.max"), "0");
    assert_eq!(read("pids.max"), "64");
    assert_eq!(read("cpu.max"), "150000 100000");
    group.take(4711).unwrap();
    assert_eq!(read("cgroup.procs"), "4711");
    assert!(group.has_freezer() && !group.out_of_memory());
    fs::write(place.path().join("memory.events"), "oom 1\noom_kill 2\n").unwrap();
    assert!(group.out_of_memory());
    // A controller that was not handed on has no file, and none is made.
    let without = folder(&[("memory.max", "max"), ("pids.max", "max")]);
    of(without.path()).limit(&LIMITS).unwrap();
    assert!(!without.path().join("cpu.max").exists());
    // One that is there and refuses fails the start.
    fs::remove_file(without.path().join("pids.max")).unwrap();
    fs::create_dir(without.path().join("pids.max")).unwrap();
    assert!(of(without.path()).limit(&LIMITS).is_err());
}

#[test]
fn version_2_limits_what_is_handed_on_and_nothing_else() {
    let none = Holds::default();
    for (handed, expected) in [
        (
            "cpu memory pids\n",
            Holds {
                memory: true,
                swap: true,
                pids: true,
                cpus: true,
                freezer: true,
            },
        ),
        (
            "memory pids\n",
            Holds {
                memory: true,
                swap: true,
                pids: true,
                freezer: true,
                ..none
            },
        ),
        (
            "pids\n",
            Holds {
                pids: true,
                freezer: true,
                ..none
            },
        ),
        // Neither of those that matter: as if there were none.
        ("cpu cpuset\n", none),
        ("\n", none),
    ] {
        let place = folder(&[("cgroup.subtree_control", handed)]);
        let places = Places {
            unified: Some(place.path().to_owned()),
            ..Places::default()
        };
        assert_eq!(places.usable().holds(), expected, "{handed}");
    }
    let closed = Places {
        unified: Some("/proc/self".into()),
        ..Places::default()
    };
    assert_eq!(closed.usable(), Places::default());
}

#[test]
fn version_1_limits_swap_where_the_kernel_counts_it() {
    for (files, swap) in [(&[(MEMORY_AND_SWAP, "-1")][..], true), (&[], false)] {
        let place = folder(files);
        let places = Places {
            memory: Some(place.path().to_owned()),
            ..Places::default()
        };
        let holds = places.usable().holds();
        assert!(holds.memory && holds.swap == swap, "{holds:?}");
        Group::of(Places {
            memory: Some(place.path().to_owned()),
            ..Places::default()
        })
        .limit(&LIMITS)
        .unwrap();
        let read = |name: &str| fs::read_to_string(place.path().join(name)).ok();
        let bytes = Some("536870912".to_owned());
        assert_eq!(read("memory.limit_in_bytes"), bytes);
        assert_eq!(read(MEMORY_AND_SWAP), bytes.filter(|_| swap));
    }
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
