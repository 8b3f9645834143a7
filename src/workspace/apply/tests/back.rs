//! What stays whatever a take-back meets.

use super::*;

#[test]
fn a_version_that_lies_under_the_name_of_an_unfinished_file_is_never_removed() {
    let text = |first: &str, last: &str| format!("{first}\nx\ny\nz\n{last}\n");
    let base = things([("f", file(&text("1", "9")))]);
    let case = Case::new(&base, &base, &things([("f", file(&text("2", "9")))]));
    let backup = case.apply(&case.plan()).unwrap().backup.unwrap();
    // The file could be merged back, but for what is in the way of the write.
    fs::write(case.project.join("f"), text("2", "mine")).unwrap();
    let name = temporary::name(KEEP.token, b"f");
    let saved = case.project.join(String::from_utf8(name.clone()).unwrap());
    fs::write(&saved, "what I saved").unwrap();
    let taken = case.take_back(&backup).unwrap();
    assert_eq!(fs::read_to_string(&saved).unwrap(), "what I saved");
    let kept: Vec<&[u8]> = taken.kept.keys().map(Vec::as_slice).collect();
    assert_eq!(kept, [&name[..], b"f"]);
    // Nor by a write that was not told of it.
    let opened = project::Project::open(&case.project).unwrap();
    let rights = backup::Rights::new();
    let writer = write::Writer::new(&case.store, &opened, KEEP.token, &rights);
    let put = State::File {
        mode: 0o644,
        id: case.store.batch().blob(b"").unwrap(),
    };
    let write = Write {
        path: b"f".to_vec(),
        expect: project::state(&opened.root, b"f").unwrap(),
        put,
    };
    assert!(writer.one_of_many(&write).is_err());
    assert_eq!(fs::read_to_string(&saved).unwrap(), "what I saved");
}

#[test]
fn a_rollback_does_not_end_at_the_first_obstacle() {
    let project = things([("a", file("1")), ("c", file("1"))]);
    let case = Case::new(&project, &project, &project);
    let mut batch = case.store.batch();
    let mut state = |text: &[u8]| State::File {
        mode: 0o644,
        id: batch.blob(text).unwrap(),
    };
    let (one, two) = (state(b"1"), state(b"2"));
    batch.finish().unwrap();
    let write = |path: &str, expect, put| Write {
        path: path.into(),
        expect,
        put,
    };
    let opened = project::Project::open(&case.project).unwrap();
    let rights = backup::Rights::new();
    let writer = write::Writer::new(&case.store, &opened, KEEP.token, &rights);
    let error = writer.all(&[
        write("a", one, two),
        // Done, since nothing is there; cannot be taken back, since its folder is missing.
        write("missing/b", one, State::Absent),
        write("c", two, one),
    ]);
    assert!(!error.unwrap_err().is_clean());
    assert_eq!(case.look(), project);
}

#[test]
fn a_folder_that_comes_back_has_its_own_rights() {
    let base = things([("secret/in/f", file("1")), ("g", file("1"))]);
    let case = Case::new(&base, &base, &things([("g", file("1"))]));
    let rights = |path: &str| {
        let path = case.project.join(path);
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    };
    for (path, mode) in [("secret", 0o700), ("secret/in", 0o2750)] {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(case.project.join(path), mode).unwrap();
    }
    let backup = case.apply(&case.plan()).unwrap().backup.unwrap();
    assert!(!case.project.join("secret").exists());
    case.take_back(&backup).unwrap();
    assert_eq!((rights("secret"), rights("secret/in")), (0o700, 0o2750));
}
