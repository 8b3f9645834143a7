//! A disk that takes nothing more, and files that are not what they were.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::Child,
    time::Instant,
};

use super::*;
use crate::harness::Client;

/// How long a treefort may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// A treefort that may end by itself.
struct Fort {
    child: Child,
    address: String,
}

impl Fort {
    fn start(home: &Path) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["up", "--listen", "127.0.0.1:0", "--home"])
            .arg(home)
            .envs([NO_DOCKER, ("OLLAMA_HOST", "http://127.0.0.1:9")])
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.as_mut().unwrap());
        out.read_line(&mut line).unwrap();
        let address = line
            .trim()
            .split("http://")
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        Self { child, address }
    }

    async fn client(&self) -> Client {
        Client::connect(&self.address, Keys::generate()).await
    }

    /// Waits for its end; what it said.
    fn ended(mut self) -> (Option<i32>, String) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                let mut said = String::new();
                let mut err = self.child.stderr.take().unwrap();
                std::io::Read::read_to_string(&mut err, &mut said).unwrap();
                return (status.code(), said);
            }
            if began.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                panic!("it does not end");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let (code, said) = self.ended();
        assert_eq!(code, Some(0), "{said}");
    }
}

impl Drop for Fort {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A disk of its own, of so many MiB; `None` for whoever may not make one.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new(mb: usize) -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        mount(
            &["-t", "tmpfs", "-o", &format!("size={mb}m"), "none"],
            place.path(),
        )
        .then(|| Self(place))
    }

    fn home(&self) -> PathBuf {
        self.0.path().join("home")
    }

    /// Takes all but so many KiB of it.
    fn fill(&self, left_kib: u64) -> PathBuf {
        let disk = rustix::fs::statvfs(self.0.path()).unwrap();
        let free = disk.f_bavail * disk.f_frsize;
        let ballast = self.0.path().join("ballast");
        let bytes = vec![7; (free - (left_kib << 10)) as usize];
        std::fs::write(&ballast, bytes).unwrap();
        ballast
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn mount(options: &[&str], at: &Path) -> bool {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not looked at: only root can make a disk");
        return false;
    }
    Command::new("mount")
        .args(options)
        .arg(at)
        .status()
        .unwrap()
        .success()
}

fn configure(home: &Path, text: &str) {
    std::fs::create_dir_all(home).unwrap();
    std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::write(home.join("treefort.toml"), text).unwrap();
}

fn doctor(home: &Path) -> String {
    let output = Command::new(PROGRAM)
        .args(["doctor", "--home"])
        .arg(home)
        .envs([NO_DOCKER, ("OLLAMA_HOST", "http://127.0.0.1:9")])
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    format!("{}{}", out(&output), err(&output))
}

/// Publishes until it is refused or hung up on; what was acknowledged, and the refusal.
async fn publish_until_refused(fort: &Fort) -> (Vec<Event>, Option<String>) {
    let mut client = fort.client().await;
    let mut kept = Vec::new();
    let mut random = Random::new();
    for _ in 0..4000 {
        let text: String = (0..1000)
            .map(|_| format!("{:016x}", random.below(u64::MAX)))
            .collect();
        let event = note(&client.keys, &text);
        match client.outcome(&event).await {
            Some((true, _)) => kept.push(event),
            Some((false, words)) => return (kept, Some(words)),
            None => return (kept, None),
        }
    }
    panic!("the disk is larger than it should be");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_almost_full_disk_takes_nothing_says_so_and_goes_on_when_there_is_room() {
    let Some(disk) = Disk::new(80) else {
        return;
    };
    let home = disk.home();
    configure(&home, "[relay]\nmin_free_mb = 32\n");
    let fort = Fort::start(&home);
    let mut client = fort.client().await;
    let first = note(&client.keys, "first");
    assert_eq!(client.outcome(&first).await, Some((true, String::new())));
    let ballast = disk.fill(20 << 10);
    let refused = note(&client.keys, "refused");
    let full = "error: the disk is almost full, nothing more is taken until there is room";
    assert_eq!(
        client.outcome(&refused).await,
        Some((false, full.to_owned()))
    );
    assert_eq!(client.query(json!({"kinds": [1]})).await, [first]);
    let said = doctor(&home);
    assert!(said.contains("✗ disk") && said.contains("MiB"), "{said}");
    std::fs::remove_file(ballast).unwrap();
    assert_eq!(client.outcome(&refused).await, Some((true, String::new())));
    let said = doctor(&home);
    assert!(said.contains("✓ disk"), "{said}");
    fort.stop();
    assert_eq!(checked(&home)["sound"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_it_with_words_and_loses_nothing_that_was_acknowledged() {
    let Some(disk) = Disk::new(60) else {
        return;
    };
    let home = disk.home();
    // It does not look how much is free, and meets the end of the disk.
    configure(&home, "[relay]\nmin_free_mb = 0\n");
    let fort = Fort::start(&home);
    let ballast = disk.fill(6 << 10);
    let (kept, refusal) = publish_until_refused(&fort).await;
    eprintln!("{} kept, then: {refusal:?}", kept.len());
    assert!(refusal.is_none_or(|words| words.starts_with("error: ")));
    let (code, said) = fort.ended();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("cannot be written any more; what was written is safe"),
        "{said}"
    );
    assert!(said.contains("hint:") && said.contains("full"), "{said}");
    let said = doctor(&home);
    assert!(said.contains('✗') && said.contains("room"), "{said}");

    std::fs::remove_file(ballast).unwrap();
    let found = checked(&home);
    assert_eq!(found["sound"], true, "{found}");
    let stored = ids(&home);
    assert!(kept.iter().all(|event| stored.contains(&event.id.to_hex())));
    let fort = Fort::start(&home);
    let mut client = fort.client().await;
    let next = note(&client.keys, "there is room again");
    assert_eq!(client.outcome(&next).await, Some((true, String::new())));
    fort.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_can_only_be_read_is_said() {
    let Some(disk) = Disk::new(60) else {
        return;
    };
    let home = disk.home();
    succeeds(&store_with(&home, &["import", "-"], &lines(&notes(3, 10))));
    assert!(mount(&["-o", "remount,ro"], disk.0.path()));
    for arguments in [&["check"][..], &["export", "-"], &["compact"]] {
        let said = err(&store(&home, arguments));
        assert!(
            said.contains("Read-only file system") || said.contains("only be read"),
            "{said}"
        );
        assert!(
            said.contains("hint:") && !said.contains("damaged"),
            "{said}"
        );
    }
    let (code, said) = Fort::start(&home).ended();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("hint:") && said.contains("ead-only"),
        "{said}"
    );
    let said = doctor(&home);
    assert!(said.contains('✗') && said.contains("ead-only"), "{said}");
    assert!(mount(&["-o", "remount,rw"], disk.0.path()));
    assert_eq!(ids(&home).len(), 3);
}

/// The largest files of a store, which hold what matters.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    // Room that is only reserved holds nothing.
    let bytes = |path: &PathBuf| std::os::unix::fs::MetadataExt::blocks(&path.metadata().unwrap());
    found.sort_by_key(|path| std::cmp::Reverse(bytes(path)));
    found
}

#[test]
fn flipped_bytes_are_found_said_and_cost_only_what_they_hit() {
    let (place, home) = place();
    let events = notes(3000, 1500);
    succeeds(&store_with(&home, &["import", "-"], &lines(&events)));
    succeeds(&store(&home, &["compact"]));
    let whole = home.join("events");
    let copy = place.path().join("copy");
    copy_folder(&whole, &copy);
    let (mut said_so, mut saved) = (0, Vec::new());
    let targets: Vec<PathBuf> = files(&copy).into_iter().take(4).collect();
    for (round, target) in targets.iter().chain(&targets).chain(&targets).enumerate() {
        std::fs::remove_dir_all(&whole).unwrap();
        copy_folder(&copy, &whole);
        let target = whole.join(target.strip_prefix(&copy).unwrap());
        let mut bytes = std::fs::read(&target).unwrap();
        let at = bytes.len() * [1, 5, 9][round / targets.len()] / 10;
        bytes[at] ^= 0x55;
        std::fs::write(&target, bytes).unwrap();

        let check = store(&home, &["check"]);
        let said = format!("{}{}", out(&check), err(&check));
        assert!(!said.contains("panicked"), "{said}");
        let export = store(&home, &["export", "-"]);
        assert!(!err(&export).contains("panicked"), "{}", err(&export));
        let rescued = out(&export)
            .lines()
            .filter(|line| Event::from_json(line).is_ok())
            .count();
        if check.status.success() {
            // What was hit holds nothing any more, so nothing may be missing.
            assert_eq!(rescued, events.len(), "{target:?} at {at}");
            continue;
        }
        said_so += 1;
        assert!(said.contains("damaged") && said.contains("hint:"), "{said}");
        saved.push((target.file_name().unwrap().to_owned(), at, rescued));
    }
    eprintln!(
        "{said_so} of {} were found; saved of {}: {saved:?}",
        3 * targets.len(),
        events.len()
    );
    assert!(said_so > 0);
    // One page is lost, and not the record.
    assert!(
        saved
            .iter()
            .any(|(_, _, rescued)| *rescued > events.len() / 2),
        "{saved:?}"
    );
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.metadata().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &to),
            false => {
                std::fs::copy(entry.path(), to).unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_is_said_by_up_and_doctor() {
    let (_place, home) = place();
    succeeds(&store_with(
        &home,
        &["import", "-"],
        &lines(&notes(50, 100)),
    ));
    for file in files(&home.join("events")) {
        let bytes = std::fs::read(&file).unwrap();
        let bytes: Vec<u8> = bytes.iter().map(|byte| byte ^ 0x55).collect();
        std::fs::write(&file, bytes).unwrap();
    }
    let (code, said) = Fort::start(&home).ended();
    assert_eq!(code, Some(1), "{said}");
    for word in ["the record in '", "damaged", "hint:"] {
        assert!(said.contains(word), "{said}");
    }
    let said = doctor(&home);
    assert!(said.contains("damaged") && said.contains("mv '"), "{said}");
    fails(&store(&home, &["check"]), &["damaged"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_damaged_is_said_when_it_is_met() {
    let (_place, home) = place();
    let events = notes(3000, 1500);
    succeeds(&store_with(&home, &["import", "-"], &lines(&events)));
    succeeds(&store(&home, &["compact"]));
    let target = files(&home.join("events")).remove(0);
    let mut bytes = std::fs::read(&target).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    std::fs::write(&target, bytes).unwrap();

    // What reads the page is told, and what does not is answered; nothing hangs, and what is new is kept.
    let fort = Fort::start(&home);
    let mut client = fort.client().await;
    let new = note(&client.keys, "new");
    assert_eq!(client.outcome(&new).await, Some((true, String::new())));
    let mut answers = std::collections::BTreeMap::<String, usize>::new();
    for event in events.iter().step_by(50) {
        let filter = json!({"ids": [event.id]});
        client.raw(json!(["REQ", "q", filter]).to_string()).await;
        let answer = loop {
            let message = client.next().await;
            match message[0].as_str().unwrap() {
                "EVENT" => {}
                "EOSE" => break "EOSE".to_owned(),
                _ => break message[2].as_str().unwrap().to_owned(),
            }
        };
        *answers.entry(answer).or_default() += 1;
    }
    client
        .raw(json!(["REQ", "all", {"kinds": [1], "limit": 5000}]).to_string())
        .await;
    let last = loop {
        let message = client.next().await;
        if message[0] != "EVENT" {
            break message;
        }
    };
    eprintln!("{answers:?}, {last}");
    assert!(answers["EOSE"] >= 58, "{answers:?}");
    assert_eq!(
        (last[0].as_str(), last[2].as_str()),
        (Some("CLOSED"), Some("error: the store failed"))
    );
    assert_eq!(client.query(json!({"ids": [new.id]})).await, [new]);
    fort.stop();
}
