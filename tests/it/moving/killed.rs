//! `kill -9`, Ctrl-C and waiting jobs amid `export --all` and `import`: nothing is half, and the next one works.

use std::{
    collections::BTreeMap,
    process::Child,
    time::{Duration, Instant},
};

use nostr::JsonUtil as _;
use sha2::{Digest as _, Sha256};
use treefort::nips::Draft;

use super::*;
use crate::harness::random::Random;

/// How often each of the two is killed; `TREEFORT_MOVING_KILLS` says otherwise, for a soak.
const KILLS: u64 = 20;
/// Events of the owner's own, besides those of sessions.
const EVENTS: usize = 300;
const PATIENCE: Duration = Duration::from_secs(120);

fn kills() -> u64 {
    std::env::var("TREEFORT_MOVING_KILLS").map_or(KILLS, |kills| kills.parse().unwrap())
}

/// A stopped home with some hundred events, several copies of a project, and as many keys.
async fn lived_in() -> (Treefort, tempfile::TempDir) {
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let project = tempfile::tempdir().unwrap();
    for n in 0..40 {
        let text = format!("{n} ").repeat(4000);
        std::fs::write(project.path().join(format!("file{n}")), text).unwrap();
    }
    let folder = project.path().to_str().unwrap();
    for n in 0..3 {
        let script = format!("echo {n} > new; mkdir closed; echo x > closed/x; chmod 555 closed");
        let run = ["run", "--agent", "shell", "--workspace", folder, &script];
        ok(&treefort.command(&run).await);
        ok(&treefort.command(&["run", "Hello"]).await);
    }
    let operator = treefort.operator();
    let mut client = treefort.client(&operator).await;
    let now = nostr::Timestamp::now().as_secs();
    for n in 0..EVENTS {
        let note = Draft::new(1).content(format!("note {n}"));
        let note = note.sign(&operator, now).unwrap();
        client.raw(format!("[\"EVENT\",{}]", note.as_json())).await;
    }
    for _ in 0..EVENTS {
        assert_eq!(client.next().await[2], true);
    }
    treefort.terminate();
    (treefort, project)
}

/// What a home holds, byte for byte.
fn holds(home: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    for path in walk(home) {
        let is_lock = path == home.join("lock") || path == home.join("events/lock");
        let bytes = match path.is_symlink() {
            true => continue,
            false => std::fs::read(&path).unwrap(),
        };
        if !is_lock {
            all.insert(path, hex::encode(Sha256::digest(bytes)));
        }
    }
    all
}

/// Which files differ between two looks.
fn changed(before: &BTreeMap<PathBuf, String>, after: &BTreeMap<PathBuf, String>) -> Vec<PathBuf> {
    let names = before.keys().chain(after.keys());
    let mut changed: Vec<PathBuf> = names
        .filter(|name| before.get(*name) != after.get(*name))
        .cloned()
        .collect();
    changed.dedup();
    changed
}

impl Place {
    fn begin(&self, home: &Path, arguments: &[&str]) -> Child {
        Command::new(PROGRAM)
            .args(arguments)
            .args(["--password-file", "password", "--home"])
            .arg(home)
            .envs([NO_DOCKER])
            .env_remove("RUST_LOG")
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn begin_export(&self, home: &Path) -> Child {
        self.begin(home, &["export", "--all", "home.tar"])
    }

    fn begin_import(&self, home: &Path) -> Child {
        self.begin(home, &["import", "home.tar"])
    }

    /// What lies beside under a name that begins so.
    fn beside(&self, begins: &str) -> Vec<PathBuf> {
        std::fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .starts_with(begins)
            })
            .collect()
    }
}

/// Waits until something is there, or the program has ended.
fn until(child: &mut Child, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() && child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Somewhere before the end: in odd rounds after it has begun to write.
fn pause(random: &mut Random, longest: Duration) {
    let longest = u64::try_from(longest.as_micros()).unwrap();
    std::thread::sleep(Duration::from_micros(random.below(longest)));
}

fn kill(mut child: Child) -> bool {
    let _ = child.kill();
    child.wait().unwrap().success()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_killed_leaves_the_home_whole_and_no_half_backup() {
    let (treefort, project) = lived_in().await;
    let home = treefort.home();
    let place = Place::new();
    let file = place.path("home.tar");
    let unfinished = place.path("home.tar.unfinished");
    // The first one says how long it takes, to its first byte and after.
    let began = Instant::now();
    let mut child = place.begin_export(home);
    until(&mut child, || unfinished.exists());
    let first = began.elapsed();
    assert!(child.wait().unwrap().success());
    let rest = began.elapsed() - first;
    std::fs::rename(&file, place.path("first.tar")).unwrap();
    let before = holds(home);
    let jobs = ok(&place.run(home, &["jobs", "--all", "--json"], None));
    let record = ok(&place.run(home, &["store", "export", "-"], None));
    assert!(record.lines().count() > EVENTS);
    let before_kills = holds(home);
    let looked = changed(&before, &before_kills);

    let mut random = Random::new();
    let (mut amid, mut whole) = (0, 0);
    for round in 0..kills() {
        let mut child = place.begin_export(home);
        if round % 4 == 0 {
            pause(&mut random, first);
        } else {
            // What the last one left is taken away first, so the new one is another file.
            let old = std::fs::metadata(&unfinished)
                .map(|it| std::os::unix::fs::MetadataExt::ino(&it))
                .ok();
            until(&mut child, || {
                std::fs::metadata(&unfinished).is_ok_and(|it| {
                    Some(std::os::unix::fs::MetadataExt::ino(&it)) != old || it.len() == 0
                })
            });
            pause(&mut random, rest);
        }
        kill(child);
        assert_eq!(changed(&before_kills, &holds(home)), Vec::<PathBuf>::new());
        if unfinished.exists() {
            amid += 1;
            // Between its last byte and its name it is whole.
            let is_whole = std::fs::read(&unfinished)
                .unwrap()
                .starts_with(b"treefort.json");
            let taken = place.import(&place.path("taken"), "home.tar.unfinished", "password");
            let code = Some(i32::from(!is_whole));
            assert_eq!(taken.status.code(), code, "half a backup was taken for one");
            assert_eq!(place.path("taken").exists(), is_whole);
            if is_whole {
                std::fs::remove_dir_all(place.path("taken")).unwrap();
                std::fs::remove_file(&unfinished).unwrap();
            }
        }
        if file.exists() {
            // It came in time.
            whole += 1;
            let taken = place.path(&format!("whole{round}"));
            ok(&place.import(&taken, "home.tar", "password"));
            std::fs::remove_file(&file).unwrap();
        }
    }
    let said = place.export(home, "home.tar");
    ok(&said);
    assert!(!unfinished.exists());
    assert_eq!(place.beside("home.tar"), [file]);
    eprintln!(
        "to the first byte {first:?}, then {rest:?}; killed {} times, {amid} left something, {whole} were whole; \
         files that a look at the home changes: {looked:?}",
        kills()
    );
    assert!(amid > 0, "it was never killed in the middle");
    let moved = place.path("moved");
    ok(&place.import(&moved, "home.tar", "password"));
    for home in [home, &moved] {
        // First, since a treefort that starts writes something itself.
        assert_eq!(
            ok(&place.run(home, &["store", "export", "-"], None)),
            record
        );
        assert_eq!(
            ok(&place.run(home, &["jobs", "--all", "--json"], None)),
            jobs
        );
        ok(&place.run(home, &["verify"], None));
        ok(&place.run_in(project.path(), home, &["checkpoints"], None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_killed_leaves_no_half_home_and_the_next_one_works() {
    let (treefort, _project) = lived_in().await;
    let place = Place::new();
    let old = treefort.home();
    let exported = place.export(old, "home.tar");
    ok(&exported);
    let archive = std::fs::read(place.path("home.tar")).unwrap();
    let record = ok(&place.run(old, &["store", "export", "-"], None));
    let jobs = ok(&place.run(old, &["jobs", "--all", "--json"], None));
    let began = Instant::now();
    ok(&place.import(&place.path("first"), "home.tar", "password"));
    let takes = began.elapsed();
    // What is not ours stays, whatever becomes of the import.
    std::fs::create_dir(place.path("home.importing-letters")).unwrap();
    std::fs::write(place.path("home.importing-letters/to-mum"), "Dear").unwrap();

    let mut random = Random::new();
    let home = place.path("home");
    let (mut amid, mut whole) = (0, 0);
    for round in 0..kills() {
        let before = place.beside("home.importing-");
        let mut child = place.begin_import(&home);
        if round % 2 == 0 {
            pause(&mut random, takes);
        } else {
            until(&mut child, || {
                let now = place.beside("home.importing-");
                now.iter()
                    .any(|path| !before.contains(path) && path.join("home/events").exists())
            });
            pause(&mut random, takes / 2);
        }
        kill(child);
        let left = place.beside("home.importing-");
        assert!(left.len() <= 2, "they pile up: {left:?}");
        let is_there = std::fs::read_dir(&home).is_ok_and(|mut entries| entries.next().is_some());
        match is_there {
            true => {
                whole += 1;
                assert_eq!(
                    ok(&place.run(&home, &["store", "export", "-"], None)),
                    record
                );
                std::fs::rename(&home, place.path(&format!("whole{round}"))).unwrap();
            }
            false => amid += usize::from(left.len() == 2),
        }
    }
    let last = place.import(&home, "home.tar", "password");
    ok(&last);
    eprintln!(
        "an import takes {takes:?}; killed {} times, {amid} left something, {whole} were whole",
        kills()
    );
    assert!(amid > 0, "it was never killed in the middle");
    assert_eq!(
        place.beside("home.importing-"),
        [place.path("home.importing-letters")]
    );
    assert_eq!(
        std::fs::read(place.path("home.importing-letters/to-mum")).unwrap(),
        b"Dear"
    );
    assert_eq!(std::fs::read(place.path("home.tar")).unwrap(), archive);
    assert_eq!(
        ok(&place.run(&home, &["store", "export", "-"], None)),
        record
    );
    assert_eq!(
        ok(&place.run(&home, &["jobs", "--all", "--json"], None)),
        jobs
    );
    ok(&place.run(&home, &["verify"], None));
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_what_was_cut_off_and_leaves_it_as_it_is() {
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_with(&model, &[], AT_ONCE);
    treefort.terminate();
    let place = Place::new();
    let home = place.path("home");
    let half = |name: &str, begun: &dyn Fn() -> Child| {
        let mut child = begun();
        // The folder of an import is held when there is something in it for the home.
        until(&mut child, || {
            let begun = place.beside(name);
            begun
                .iter()
                .any(|path| path.is_file() || path.join("home").exists())
        });
        // Stopped where it is, so that it is certain that it is amid its work.
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        let left = place.beside(name);
        assert_eq!(left.len(), 1, "it was done before it could be killed");
        (child, left[0].clone())
    };
    let doctor = || {
        let output = place.run(&home, &["doctor"], None);
        String::from_utf8(output.stdout).unwrap()
    };
    let (child, backup) = half("home.tar.unfinished", &|| {
        place.begin_export(treefort.home())
    });
    kill(child);
    if std::fs::metadata(&backup).unwrap().len() == 0 {
        // What is written waits in memory at first.
        std::fs::write(&backup, "!reefort.json").unwrap();
    }
    ok(&place.export(treefort.home(), "other.tar"));
    std::fs::rename(place.path("other.tar"), place.path("home.tar")).unwrap();
    assert!(doctor().contains(&format!("left {}", backup.display())));
    std::fs::remove_file(&backup).unwrap();
    std::fs::remove_dir_all(&home).unwrap();

    let (child, folder) = half("home.importing-", &|| place.begin_import(&home));
    let is_named = |said: &str| said.contains(folder.to_str().unwrap());
    let said = doctor();
    assert!(!is_named(&said), "it is under way: {said}");
    std::fs::remove_dir_all(&home).unwrap();
    kill(child);
    let output = place.run(&home, &["doctor", "--json"], None);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    let import: Vec<serde_json::Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|check: &serde_json::Value| check["check"] == "import")
        .collect();
    assert_eq!(import.len(), 1, "{said}");
    assert_eq!(import[0]["state"], "problem");
    assert!(is_named(import[0]["detail"].as_str().unwrap()), "{said}");
    let fix = import[0]["fix"].as_str().unwrap();
    assert!(fix.starts_with("treefort import FILE"), "{fix}");
    assert!(folder.exists(), "doctor only looks");
    // What it says can be done: nothing came into the home.
    ok(&place.import(&home, "home.tar", "password"));
    assert!(!folder.exists());

    // A home that is in use cannot be imported again; what is left can be deleted, as it says.
    std::fs::create_dir_all(folder.join("home/keys")).unwrap();
    std::fs::write(folder.join("treefort-import"), "").unwrap();
    std::fs::create_dir(folder.join("home/closed")).unwrap();
    let closed = std::fs::Permissions::from_mode(0o555);
    std::fs::write(folder.join("home/closed/file"), "").unwrap();
    std::fs::set_permissions(folder.join("home/closed"), closed).unwrap();
    let output = place.run(&home, &["doctor", "--json"], None);
    let said = String::from_utf8(output.stdout).unwrap();
    let line = said.lines().find(|line| is_named(line)).unwrap();
    let check: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(check["state"], "note");
    let (_, delete) = check["detail"]
        .as_str()
        .unwrap()
        .split_once("to delete it: ")
        .unwrap();
    let deleted = Command::new("sh").args(["-c", delete]).status().unwrap();
    assert!(deleted.success() && !folder.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_leaves_nothing_behind() {
    let (treefort, _project) = lived_in().await;
    let place = Place::new();
    let interrupt = |mut child: Child, begun: &dyn Fn() -> bool| {
        until(&mut child, begun);
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("it was stopped") && said.contains("hint:"),
            "{said}"
        );
    };
    let unfinished = place.path("home.tar.unfinished");
    interrupt(place.begin_export(treefort.home()), &|| unfinished.exists());
    assert_eq!(place.beside("home.tar"), Vec::<PathBuf>::new());
    ok(&place.export(treefort.home(), "home.tar"));
    let home = place.path("home");
    interrupt(place.begin_import(&home), &|| {
        !place.beside("home.importing-").is_empty()
    });
    assert_eq!(place.beside("home.importing-"), Vec::<PathBuf>::new());
    assert!(!home.exists());
    ok(&place.import(&home, "home.tar", "password"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_with_a_job_that_waits_is_not_written_out() {
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let operator = treefort.operator();
    let mut client = treefort.client(&operator).await;
    let job = client.sign(&client.job(treefort.coordinator(), "hang"));
    assert_eq!(client.send(&job).await[2], true);
    let deadline = Instant::now() + PATIENCE;
    while model.chats().is_empty() {
        assert!(Instant::now() < deadline, "{}", treefort.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    treefort.kill();
    let place = Place::new();
    let home = treefort.home().to_owned();
    let refused = place.export(&home, "home.tar");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(
        said.contains("jobs that are not done") && said.contains("treefort up"),
        "{said}"
    );
    assert_eq!(place.beside("home.tar"), Vec::<PathBuf>::new());
    // As the hint says.
    treefort.up();
    let mut client = treefort.client(&operator).await;
    let cancellation = client.sign(&treefort.cancellation(&job));
    assert_eq!(client.send(&cancellation).await[2], true);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let jobs = ok(&treefort.command(&["jobs", "--all", "--json"]).await);
        if jobs.contains("cancelled") {
            break;
        }
        assert!(Instant::now() < deadline, "{jobs}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    treefort.terminate();
    ok(&place.export(&home, "home.tar"));
    assert!(place.path("home.tar").exists());
}
