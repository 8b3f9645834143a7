//! What is removed, and what stays because it may be somebody's.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

/// A file as an export that was cut off leaves it.
fn left(path: &Path) {
    let (mut out, _) = UnfinishedFile::begin(path).unwrap();
    out.write_all(ABOUT.as_bytes()).unwrap();
    out.flush().unwrap();
    // As when it is killed: what it has written is there, and nobody holds it.
    fs::copy(&out.path, path.with_extension("copy")).unwrap();
    let unfinished = out.path.clone();
    drop(out);
    fs::rename(path.with_extension("copy"), unfinished).unwrap();
}

#[test]
fn a_backup_has_its_name_when_all_of_it_is_there_and_not_before() {
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("b");
    let (mut out, cleared) = UnfinishedFile::begin(&to).unwrap();
    assert_eq!(cleared, None);
    out.write_all(b"treefort.json and more").unwrap();
    out.flush().unwrap();
    let unfinished = place.path().join("b.unfinished");
    assert_eq!(fs::read(&unfinished).unwrap(), b"!reefort.json and more");
    assert!(!to.exists());
    assert!(matches!(UnfinishedFile::begin(&to), Err(MoveError::Busy(path)) if path == unfinished));
    out.finish().unwrap();
    assert_eq!(fs::read(&to).unwrap(), b"treefort.json and more");
    assert_eq!(
        fs::metadata(&to).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(!unfinished.exists());
    assert!(matches!(UnfinishedFile::begin(&to), Err(MoveError::Exists(path)) if path == to));
}

#[test]
fn what_comes_under_the_name_meanwhile_is_not_written_over() {
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("b");
    let (mut out, _) = UnfinishedFile::begin(&to).unwrap();
    out.write_all(b"new").unwrap();
    fs::write(&to, "theirs").unwrap();
    assert!(matches!(out.finish(), Err(MoveError::Exists(_))));
    assert_eq!(fs::read(&to).unwrap(), b"theirs");
    assert!(!place.path().join("b.unfinished").exists());
}

#[test]
fn only_what_an_export_left_is_removed() {
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("b");
    let unfinished = place.path().join("b.unfinished");
    for begun in [&b""[..], b"!", b"!reefort", b"!reefort.json\0\0and more"] {
        fs::write(&unfinished, begun).unwrap();
        let (out, cleared) = UnfinishedFile::begin(&to).unwrap();
        assert_eq!(cleared, Some(Cleared::Removed(unfinished.clone())));
        drop(out);
        assert!(!unfinished.exists());
    }
    left(&to);
    let seen = || left_exports(place.path()).unwrap();
    assert_eq!(seen(), std::slice::from_ref(&unfinished));
    let (under_way, cleared) = UnfinishedFile::begin(&to).unwrap();
    assert!(cleared.is_some() && seen().is_empty());
    drop(under_way);
    fs::write(&unfinished, "").unwrap();
    assert!(seen().is_empty(), "nothing in it says whose it is");

    for theirs in [&b"a letter"[..], b"!reefort.txt", b"treefort"] {
        fs::write(&unfinished, theirs).unwrap();
        assert!(
            matches!(UnfinishedFile::begin(&to), Err(MoveError::InTheWay(path)) if path == unfinished)
        );
        assert!(seen().is_empty());
        assert_eq!(fs::read(&unfinished).unwrap(), theirs);
    }
    fs::remove_file(&unfinished).unwrap();
    let letter = place.path().join("letter");
    fs::write(&letter, "").unwrap();
    symlink(&letter, &unfinished).unwrap();
    assert!(matches!(
        UnfinishedFile::begin(&to),
        Err(MoveError::InTheWay(_))
    ));
    assert!(letter.exists() && unfinished.is_symlink());
    fs::remove_file(&unfinished).unwrap();
    fs::create_dir(&unfinished).unwrap();
    assert!(matches!(
        UnfinishedFile::begin(&to),
        Err(MoveError::InTheWay(_))
    ));
}

#[test]
fn a_whole_backup_that_is_called_so_is_kept() {
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("b");
    fs::write(place.path().join("b.unfinished"), "treefort.json, whole").unwrap();
    fs::write(place.path().join("b.unfinished.whole-1"), "another").unwrap();
    let (out, cleared) = UnfinishedFile::begin(&to).unwrap();
    let kept = place.path().join("b.unfinished.whole-2");
    assert_eq!(cleared, Some(Cleared::Kept(kept.clone())));
    out.finish().unwrap();
    assert_eq!(fs::read(kept).unwrap(), b"treefort.json, whole");
}

#[test]
fn only_what_an_import_left_is_removed() {
    let place = tempfile::tempdir().unwrap();
    let home = place.path().join("home");
    let at = |name: &str| place.path().join(format!("home.importing-{name}"));
    // Cut off: before its mark, in the middle of it, with half a home that is closed.
    for name in ["none", "half", "much"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::write(at("half").join(SIGN), &SAYS[..9]).unwrap();
    fs::write(at("much").join(SIGN), SAYS).unwrap();
    let closed = at("much").join("home/workspaces/closed");
    fs::create_dir_all(&closed).unwrap();
    fs::write(closed.join("file"), "").unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    // Somebody's: a home that was moved away, one with more beside, another mark, a file, a link.
    fs::create_dir_all(at("moved").join("keys")).unwrap();
    fs::create_dir_all(at("unmarked").join(INSIDE)).unwrap();
    fs::create_dir_all(at("more").join("letters")).unwrap();
    fs::write(at("more").join(SIGN), SAYS).unwrap();
    fs::create_dir(at("other")).unwrap();
    fs::write(at("other").join(SIGN), "a list").unwrap();
    fs::write(at("file"), "").unwrap();
    fs::create_dir(place.path().join("elsewhere")).unwrap();
    symlink(place.path().join("elsewhere"), at("link")).unwrap();
    fs::create_dir(place.path().join("house.importing-1")).unwrap();
    // Under way.
    let living = UnfinishedHome::begin(&home).unwrap();
    fs::write(living.home().join("file"), "").unwrap();

    let left = left_imports(&home).unwrap();
    assert_eq!(left, [at("half"), at("much"), at("none")]);
    assert!(left.iter().all(|path| path.exists()));
    let mut removed = clear_imports(&home).unwrap();
    removed.sort();
    assert_eq!(removed, [at("half"), at("much"), at("none")]);
    assert!(removed.iter().all(|path| !path.exists()));
    for stays in ["moved", "unmarked", "more", "other", "file", "link"] {
        assert!(fs::symlink_metadata(at(stays)).is_ok(), "{stays}");
    }
    assert!(living.home().join("file").exists());
    assert!(place.path().join("elsewhere").exists());
    assert!(place.path().join("house.importing-1").exists());
    assert_eq!(clear_imports(&home).unwrap(), Vec::<PathBuf>::new());
    assert_eq!(left_imports(&home).unwrap(), Vec::<PathBuf>::new());
    let root = living.root.clone();
    drop(living);
    assert!(!root.exists());
}
