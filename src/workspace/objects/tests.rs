use std::{fs, process::Command};

use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    (folder, store)
}

fn git(store: &Store, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "safe.directory=*"])
        .args(arguments)
        .current_dir(store.path())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn text(number: usize) -> Vec<u8> {
    let lines = (0..200).map(|line| format!("{line} of many lines, {}\n", line * 7));
    let mut text: String = lines.collect();
    text.push_str(&format!("and number {number}\n"));
    text.into_bytes()
}

fn fill(store: &Store, count: usize) -> (Vec<ObjectId>, ObjectId) {
    let mut batch = store.batch();
    let ids: Vec<_> = (0..count)
        .map(|number| batch.blob(&text(number)).unwrap())
        .collect();
    let entries = ids.iter().enumerate().map(|(number, id)| TreeEntry {
        mode: 0o100_644,
        name: format!("f{number}").into_bytes(),
        id: *id,
    });
    let tree = batch.tree(entries.collect()).unwrap();
    let commit = batch.commit(&tree, &[], "all", 5).unwrap();
    batch.finish().unwrap();
    (ids, commit)
}

fn packs(store: &Store) -> usize {
    let listing = fs::read_dir(store.path().join("objects/pack")).unwrap();
    let packs = listing.filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        path.extension().is_some_and(|ext| ext == "pack")
    });
    packs.count()
}

#[test]
fn several_may_open_a_new_store_at_once() {
    let home = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let path = home.path().join(format!("{round}"));
        std::thread::scope(|scope| {
            let opening: Vec<_> = (0..8).map(|_| scope.spawn(|| Store::open(&path))).collect();
            for opened in opening {
                opened.join().unwrap().unwrap();
            }
        });
        assert!(path.join("HEAD").exists());
    }
}

#[test]
fn few_objects_are_loose_and_many_are_a_pack_and_git_reads_both() {
    let (_folder, store) = store();
    let (few, commit) = fill(&store, 1);
    assert_eq!(packs(&store), 0);
    store.set_ref("refs/treefort/s/1", &commit).unwrap();
    let (many, commit) = fill(&store, 300);
    assert_eq!(packs(&store), 1);
    store.set_ref("refs/treefort/s/2", &commit).unwrap();
    let said = git(&store, &["cat-file", "-p", "refs/treefort/s/2:f299"]);
    assert_eq!(said.as_bytes(), text(299));
    git(&store, &["fsck", "--strict", "--no-dangling"]);
    git(
        &store,
        &["verify-pack", &format!("{}", pack_path(&store).display())],
    );
    assert_eq!(store.blob(&few[0]).unwrap(), text(0));
    assert_eq!(store.blob(&many[299]).unwrap(), text(299));
    let again = Store::open(store.path()).unwrap();
    assert_eq!(again.blob_size(&many[7]).unwrap(), text(7).len() as u64);
    assert_eq!(again.ref_("refs/treefort/s/2").unwrap(), Some(commit));
}

fn pack_path(store: &Store) -> PathBuf {
    store.packs()[0].path().to_owned()
}

#[test]
fn reads_what_a_persons_git_gc_makes_of_the_store() {
    let (_folder, store) = store();
    let (ids, commit) = fill(&store, 120);
    store.set_ref("refs/treefort/s/1", &commit).unwrap();
    store.set_ref("refs/treefort/s/2", &commit).unwrap();
    git(&store, &["repack", "-adfq", "--depth=40", "--window=50"]);
    git(&store, &["pack-refs", "--all"]);
    assert!(!store.path().join("refs/treefort/s/1").exists());
    let verbose = git(
        &store,
        &[
            "verify-pack",
            "-v",
            &format!("{}", git_pack(&store).display()),
        ],
    );
    assert!(verbose.contains("chain length = 2"), "git made deltas");
    for store in [&store, &Store::open(store.path()).unwrap()] {
        for (number, id) in ids.iter().enumerate() {
            assert_eq!(store.blob(id).unwrap(), text(number));
            assert_eq!(store.blob_size(id).unwrap(), text(number).len() as u64);
        }
        assert_eq!(store.ref_("refs/treefort/s/1").unwrap(), Some(commit));
    }
    store.delete_ref("refs/treefort/s/1").unwrap();
    let names: Vec<_> = store.refs("refs/treefort/s/").unwrap();
    assert_eq!(names, [("refs/treefort/s/2".to_owned(), commit)]);
    assert_eq!(
        git(&store, &["for-each-ref", "--format=%(refname)"]),
        "refs/treefort/s/2\n"
    );
}

fn git_pack(store: &Store) -> PathBuf {
    let listing = fs::read_dir(store.path().join("objects/pack")).unwrap();
    let mut paths = listing.map(|entry| entry.unwrap().path());
    paths
        .find(|path| path.extension().is_some_and(|ext| ext == "idx"))
        .unwrap()
}

#[test]
fn many_small_packs_become_one() {
    let (_folder, store) = store();
    let mut all = Vec::new();
    for round in 0..80 {
        let mut batch = store.batch();
        for number in 0..6 {
            let bytes = format!("{round} {number}");
            all.push((batch.blob(bytes.as_bytes()).unwrap(), bytes));
        }
        batch.finish().unwrap();
    }
    assert!(packs(&store) <= 33, "{}", packs(&store));
    for store in [&store, &Store::open(store.path()).unwrap()] {
        for (id, bytes) in &all {
            assert_eq!(store.blob(id).unwrap(), bytes.as_bytes());
        }
    }
    git(&store, &["fsck", "--strict", "--no-dangling"]);
}

#[test]
fn a_batch_that_is_dropped_leaves_nothing() {
    let (_folder, store) = store();
    let mut batch = store.batch();
    let mut ids = Vec::new();
    for number in 0..9_u8 {
        // Does not compress, so that a pack is begun.
        let mut bytes = vec![number; 1 << 20];
        getrandom::fill(&mut bytes).unwrap();
        ids.push(batch.blob(&bytes).unwrap());
    }
    let listing = || {
        fs::read_dir(store.path().join("objects/pack"))
            .unwrap()
            .count()
    };
    assert_eq!(listing(), 1);
    drop(batch);
    assert_eq!(listing(), 0);
    assert!(ids.iter().all(|id| !store.has(id)));
}

#[test]
fn damage_is_an_error_and_never_other_bytes() {
    let (_folder, store) = store();
    let (loose, _) = fill(&store, 1);
    let (packed, _) = fill(&store, 50);
    let damage = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        let _ = fs::remove_file(path);
        fs::write(path, bytes).unwrap();
    };
    damage(&store.loose(&loose[0]));
    let result = store.blob(&loose[0]);
    assert!(matches!(result, Err(Error::Corrupt(_))), "{result:?}");
    damage(&pack_path(&store).with_extension("pack"));
    let again = Store::open(store.path()).unwrap();
    let results: Vec<_> = packed.iter().map(|id| again.blob(id)).collect();
    assert!(
        results
            .iter()
            .any(|result| matches!(result, Err(Error::Corrupt(_))))
    );
    for (number, result) in results.into_iter().enumerate() {
        if let Ok(bytes) = result {
            assert_eq!(bytes, text(number));
        }
    }
    let missing = ObjectId::of("blob", b"never").unwrap();
    assert!(matches!(again.blob(&missing), Err(Error::Missing(id)) if id == missing));
    assert!(matches!(
        again.blob(&ObjectId::EMPTY_TREE),
        Err(Error::Missing(_))
    ));
}

#[test]
fn names_that_git_would_refuse_are_refused() {
    let (_folder, store) = store();
    let id = ObjectId::EMPTY_TREE;
    for name in [
        "refs/../x",
        "refs//x",
        "refs/x.lock",
        "/refs/x",
        "HEAD",
        "refs/.x",
        "refs/a b",
        "refs/x/",
        "refs/a\n",
    ] {
        assert!(
            matches!(store.set_ref(name, &id), Err(Error::RefName(_))),
            "{name}"
        );
    }
    store.set_ref("refs/a/b-c/1.0", &id).unwrap();
    assert_eq!(store.refs("refs/a/").unwrap().len(), 1);
    assert_eq!(store.ref_("refs/a/b-c").unwrap(), None);
}
