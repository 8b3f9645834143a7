use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

const PLENTY: Quota = Quota {
    bytes: u64::MAX,
    files: u64::MAX,
};
const MINUTE: Duration = Duration::from_secs(60);

fn count(dir: &Path) -> Usage {
    usage(dir, &PLENTY, MINUTE).unwrap()
}

#[test]
fn counts_what_is_really_allocated_and_each_file_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a");
    fs::write(&file, vec![1; 100_000]).unwrap();
    let one = count(dir.path());
    assert_eq!((one.files, one.unreadable, one.stopped), (1, 0, None));
    assert!((100_000..140_000).contains(&one.bytes), "{one:?}");

    fs::hard_link(&file, dir.path().join("b")).unwrap();
    let sparse = fs::File::create(dir.path().join("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    let more = count(dir.path());
    assert_eq!((more.files, more.bytes), (3, one.bytes));
}

#[test]
fn a_link_that_leads_out_is_counted_and_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("big"), vec![1; 1_000_000]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    symlink(outside.path(), dir.path().join("out")).unwrap();
    symlink(dir.path(), dir.path().join("round")).unwrap();
    symlink("..", dir.path().join("up")).unwrap();
    let seen = count(dir.path());
    assert_eq!(seen.files, 3);
    assert!(seen.bytes < 100_000, "{seen:?}");
    assert!(usage(&dir.path().join("out"), &PLENTY, MINUTE).is_err());
}

#[test]
fn stops_as_soon_as_the_quota_is_exceeded() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..50 {
        fs::write(dir.path().join(n.to_string()), "x").unwrap();
    }
    let quota = Quota {
        files: 10,
        ..PLENTY
    };
    let seen = usage(dir.path(), &quota, MINUTE).unwrap();
    assert_eq!((seen.files, seen.stopped), (11, Some(Stopped::Quota)));
    assert_eq!(seen.over(&quota), Some(Over::Files { quota: 10 }));
    assert_eq!(count(dir.path()).over(&PLENTY), None);
    let tight = Quota {
        bytes: 4096,
        ..PLENTY
    };
    let seen = usage(dir.path(), &tight, MINUTE).unwrap();
    assert_eq!(seen.over(&tight), Some(Over::Bytes { quota: 4096 }));
}

#[test]
fn folders_without_end_are_named_and_what_lies_beside_them_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut deep = rustix::fs::open(dir.path(), OFlags::PATH, Mode::empty()).unwrap();
    for _ in 0..MAX_DEPTH * 4 {
        rustix::fs::mkdirat(&deep, c"d", Mode::RWXU).unwrap();
        deep = rustix::fs::openat(&deep, c"d", OFlags::PATH, Mode::empty()).unwrap();
    }
    for name in ["a", "z"] {
        fs::write(dir.path().join(name), vec![0; 50_000]).unwrap();
    }
    let seen = count(dir.path());
    assert_eq!(seen.stopped, Some(Stopped::Depth));
    assert_eq!(seen.files, MAX_DEPTH as u64 + 2);
    assert_eq!(seen.over(&PLENTY), Some(Over::Depth));
}

#[test]
fn a_folder_that_is_closed_to_its_owner_hides_nothing_and_stays_closed() {
    let dir = tempfile::tempdir().unwrap();
    let closed = dir.path().join("closed");
    for mode in [0o000, 0o400, 0o100] {
        fs::create_dir(&closed).unwrap();
        fs::write(closed.join("big"), vec![1; 500_000]).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(mode)).unwrap();
        let seen = count(dir.path());
        assert!(seen.bytes >= 500_000, "{mode:o}: {seen:?}");
        assert_eq!((seen.files, seen.unreadable), (2, 0));
        let after = fs::metadata(&closed).unwrap().permissions().mode();
        assert_eq!(after & 0o7777, mode);
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        fs::remove_dir_all(&closed).unwrap();
    }
}

#[test]
fn gives_up_in_time() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..CLOCK_EVERY * 2 {
        fs::write(dir.path().join(n.to_string()), "").unwrap();
    }
    let seen = usage(dir.path(), &PLENTY, Duration::ZERO).unwrap();
    assert_eq!(seen.stopped, Some(Stopped::Time));
    assert_eq!(seen.over(&PLENTY), None);
}

#[test]
fn special_files_are_counted_and_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    assert_eq!(count(dir.path()).files, 2);
}

#[test]
fn a_walk_during_wild_changes_ends_and_stays_inside() {
    let outside = tempfile::tempdir().unwrap();
    for n in 0..500 {
        fs::write(outside.path().join(n.to_string()), vec![1; 20_000]).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    let (swap, real) = (dir.path().join("swap"), dir.path().join("real"));
    let (out, root) = (outside.path().to_owned(), dir.path().to_owned());
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                // Now a folder, now a link that leads out.
                let _ = fs::create_dir(&real);
                let _ = fs::rename(&real, &swap);
                let _ = fs::remove_dir(&swap);
                let _ = symlink(&out, &swap);
                let _ = fs::remove_file(&swap);
            }
        });
        for _ in 0..2000 {
            let seen = count(&root);
            assert!(seen.files <= 2 && seen.bytes < 1_000_000, "{seen:?}");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn the_host_s_free_space_is_known() {
    let dir = tempfile::tempdir().unwrap();
    assert!(free(dir.path()).unwrap() > 0);
    let (_, over) = check(dir.path(), &PLENTY, MINUTE).unwrap();
    assert!(!matches!(
        over,
        Some(Over::Bytes { .. } | Over::Files { .. })
    ));
}

#[test]
fn a_folder_that_its_owner_closed_is_measured_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), [0; 5000]).unwrap();
    let closed = |mode| {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
    };
    for mode in [0o300, 0o000] {
        closed(mode);
        let usage = count(folder.path());
        assert!(usage.bytes >= 5000, "{mode:o} {usage:?}");
        closed(mode);
        open_up(folder.path()).unwrap();
        let now = fs::metadata(folder.path()).unwrap().permissions().mode();
        assert_eq!(now & 0o700, 0o700);
    }
    let link = folder.path().join("link");
    symlink("/etc", &link).unwrap();
    assert!(open_up(&link).is_err());
}
