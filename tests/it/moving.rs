//! A whole home in one file: out on one machine, in on another, and what comes in may be anybody's.

mod killed;

use std::{
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use nostr::Keys;

use crate::{
    harness::{NO_DOCKER, PROGRAM, Treefort},
    jobs::AT_ONCE,
    model_server::ModelServer,
};

const PASSWORD: &str = "correct horse\n";

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("password"), PASSWORD).unwrap();
        std::fs::write(folder.path().join("wrong"), "another\n").unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, home: &Path, arguments: &[&str], stdin: Option<&Path>) -> Output {
        self.run_in(self.folder.path(), home, arguments, stdin)
    }

    fn run_in(&self, at: &Path, home: &Path, arguments: &[&str], stdin: Option<&Path>) -> Output {
        let stdin = match stdin {
            Some(path) => std::fs::File::open(path).unwrap().into(),
            None => Stdio::null(),
        };
        Command::new(PROGRAM)
            .args(arguments)
            .arg("--home")
            .arg(home)
            .envs([NO_DOCKER])
            .env_remove("RUST_LOG")
            .current_dir(at)
            .stdin(stdin)
            .output()
            .unwrap()
    }

    fn export(&self, home: &Path, file: &str) -> Output {
        self.run(
            home,
            &["export", "--all", file, "--password-file", "password"],
            None,
        )
    }

    fn import(&self, home: &Path, file: &str, password: &str) -> Output {
        self.run(home, &["import", file, "--password-file", password], None)
    }

    /// Refused, with these words and no trace.
    fn refused(&self, file: &str, password: &str, words: &str) {
        let home = self.path("refused");
        let output = self.import(&home, file, password);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{file}: {said}");
        assert!(said.contains(words), "{file}: {said}");
        assert!(said.contains("hint:"), "{said}");
        assert!(!home.exists(), "{file}: an empty home was left");
        let beside = std::fs::read_dir(self.folder.path()).unwrap();
        for entry in beside {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.contains("importing"), "{name} was left");
        }
    }
}

fn ok(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A file of the archive, changed; the tar around it is right.
fn rewritten(
    archive: &Path,
    to: &Path,
    change: impl Fn(&str, Vec<u8>) -> Option<(String, Vec<u8>)>,
) {
    let mut tar = tar::Archive::new(std::fs::File::open(archive).unwrap());
    let mut out = tar::Builder::new(std::fs::File::create(to).unwrap());
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let mut header = entry.header().clone();
        let Some((name, bytes)) = change(&name, bytes) else {
            continue;
        };
        header.set_size(bytes.len() as u64);
        // Set by hand: the crate itself would not write a path that leads out.
        let field = &mut header.as_old_mut().name;
        field.fill(0);
        field[..name.len().min(100)].copy_from_slice(&name.as_bytes()[..name.len().min(100)]);
        header.set_cksum();
        out.append(&header, &bytes[..]).unwrap();
    }
    out.finish().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_that_was_moved_is_the_same_and_does_nothing_again() {
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let project = tempfile::tempdir().unwrap();
    std::fs::write(project.path().join("file"), "before").unwrap();
    let folder = project.path().to_str().unwrap();
    let ran = treefort
        .command(&[
            "run",
            "--agent",
            "shell",
            "--workspace",
            folder,
            "echo after > file; ln -s /etc/passwd link",
        ])
        .await;
    ok(&ran);
    let answer = ok(&treefort.command(&["run", "Hello"]).await);
    treefort.terminate();
    let asked = model.chats();

    let place = Place::new();
    let home = treefort.home().to_owned();
    ok(&place.export(&home, "home.tar"));
    let file = place.path("home.tar");
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let again = place.export(&home, "home.tar");
    assert_eq!(again.status.code(), Some(1), "a backup is not written over");
    // No secret key is in it, in any spelling, nor the password.
    let bytes = std::fs::read(&file).unwrap();
    let holds = |needle: &str| {
        bytes
            .windows(needle.len())
            .any(|part| part == needle.as_bytes())
    };
    for entry in walk(&home.join("keys")) {
        let secret = std::fs::read_to_string(entry).unwrap();
        assert!(!holds(secret.trim()), "a key is in it");
        for spelling in treefort::keys::keyring::spellings(&Keys::parse(secret.trim()).unwrap()) {
            assert!(!holds(&spelling));
        }
    }
    assert!(!holds(PASSWORD.trim()));

    let other = place.path("other");
    let said = ok(&place.import(&other, "home.tar", "password"));
    assert!(said.contains("keys"), "{said}");
    assert_eq!(
        std::fs::metadata(&other).unwrap().permissions().mode() & 0o777,
        0o700
    );
    for name in ["events", "state", "projects", "workspaces", "treefort.toml"] {
        assert!(other.join(name).exists(), "{name}");
    }
    assert!(!other.join("journal").exists() && !other.join("lock").exists());
    for key in walk(&home.join("keys")) {
        let moved = other
            .join("keys")
            .join(key.strip_prefix(home.join("keys")).unwrap());
        assert_eq!(std::fs::read(&key).unwrap(), std::fs::read(&moved).unwrap());
        assert_eq!(
            std::fs::metadata(&moved).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    // The record, byte for byte and number for number.
    let record = |home: &Path| ok(&place.run(home, &["store", "export", "-"], None));
    assert_eq!(record(&home), record(&other));
    // It starts, shows what was done, can undo it, and asks no model anything.
    let jobs = |output: Output| ok(&output);
    let before = jobs(place.run(&home, &["jobs", "--all", "--json"], None));
    let after = jobs(place.run(&other, &["jobs", "--all", "--json"], None));
    assert_eq!(before, after);
    assert!(ok(&place.run_in(project.path(), &other, &["diff"], None)).contains("after"));
    assert!(
        ok(&place.run_in(project.path(), &other, &["checkpoints"], None))
            .lines()
            .count()
            >= 2
    );
    ok(&place.run(&other, &["verify"], None));
    assert_eq!(model.chats(), asked, "{answer}");
    let occupied = place.import(&other, "home.tar", "password");
    assert_eq!(occupied.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&occupied.stderr).contains("already"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_goes_on_in_a_home_that_was_moved() {
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_in(&model, &[], AT_ONCE, &[NO_DOCKER]);
    // A folder that its owner alone may enter, as its copy is.
    let project = tempfile::tempdir().unwrap();
    std::fs::write(project.path().join("file"), "before\n").unwrap();
    let folder = project.path().to_str().unwrap();
    let script = "mkdir -m 700 own; echo kept > own/kept; ln -s own/kept link; chmod 600 file; echo more > ~/state || true";
    let first = ["run", "--agent", "shell", "--workspace", folder, script];
    ok(&treefort.command(&first).await);
    treefort.terminate();
    let place = Place::new();
    ok(&place.export(treefort.home(), "home.tar"));
    let other = place.path("other");
    ok(&place.import(&other, "home.tar", "password"));
    // What is in it can be read, written and made, and checkpoints go on.
    let script = "cat link file; echo after > file; echo more >> own/kept; cat own/kept; git status --short | wc -l";
    let next = ["run", "--agent", "shell", "--continue", script];
    let said = ok(&place.run_in(project.path(), &other, &next, None));
    assert!(said.contains("kept\nbefore\nkept\nmore"), "{said}");
    let diff = ok(&place.run_in(project.path(), &other, &["diff"], None));
    assert!(
        diff.contains("+after") && diff.contains("own/kept"),
        "{diff}"
    );
    ok(&place.run_in(project.path(), &other, &["undo", "--last"], None));
}

#[test]
fn what_fails_leaves_no_empty_home_and_quotes_no_file() {
    let place = Place::new();
    let home = place.path("above/home");
    let output = place.export(&home, "home.tar");
    assert_eq!(output.status.code(), Some(1));
    assert!(!place.path("above").exists() && !place.path("home.tar").exists());
    std::fs::write(place.path("README.md"), "# treefort\n".repeat(200)).unwrap();
    for file in ["README.md", "missing", "."] {
        let output = place.import(&home, file, "password");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            !said.contains("cksum") && !said.contains("# treefort"),
            "{said}"
        );
        assert!(!place.path("above").exists(), "{file}");
    }
    let said = place.import(&home, "README.md", "password");
    let said = String::from_utf8_lossy(&said.stderr);
    assert!(said.contains("this is no archive of a treefort"), "{said}");
    for nothing in [&["store", "check"][..], &["store", "export", "-"]] {
        assert_eq!(place.run(&home, nothing, None).status.code(), Some(1));
        assert!(!place.path("above").exists(), "{nothing:?}");
    }
    // One that was there before stays.
    std::fs::create_dir(place.path("empty")).unwrap();
    place.import(&place.path("empty"), "README.md", "password");
    assert!(place.path("empty").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_not_closed_with_a_password_that_is_soon_guessed() {
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_with(&model, &[], AT_ONCE);
    treefort.terminate();
    let place = Place::new();
    std::fs::write(place.path("password"), "abcde\n").unwrap();
    let output = place.export(treefort.home(), "home.tar");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("8 characters") && said.contains("hint:"),
        "{said}"
    );
    assert!(!place.path("home.tar").exists());
}

/// The files below a folder.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(walk(&path)),
            false => files.push(path),
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_is_not_as_it_was_written_makes_nothing() {
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let place = Place::new();
    let running = place.export(treefort.home(), "home.tar");
    assert_eq!(running.status.code(), Some(1), "it runs");
    assert!(!place.path("home.tar").exists());
    treefort.terminate();
    let home = treefort.home().to_owned();
    ok(&place.export(&home, "home.tar"));
    let whole = std::fs::read(place.path("home.tar")).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(place.path(name), bytes).unwrap();

    place.refused("home.tar", "wrong", "password is wrong");
    write("none", b"not an archive");
    place.refused("none", "password", "no archive");
    write("empty", b"");
    place.refused("empty", "password", "no archive");
    for part in [1, 3, 7] {
        write("cut", &whole[..whole.len() * part / 8]);
        place.refused("cut", "password", "archive");
    }
    let archive = place.path("home.tar");
    type Change = fn(&str, Vec<u8>) -> Option<(String, Vec<u8>)>;
    let changes: [(&str, Change, &str); 8] = [
        (
            "a byte of a file",
            |name, mut bytes| {
                if name == "treefort.toml" {
                    bytes[0] ^= 1;
                }
                Some((name.to_owned(), bytes))
            },
            "not as it was written",
        ),
        (
            "a file less",
            |name, bytes| (name != "treefort.toml").then(|| (name.to_owned(), bytes)),
            "not as it was written",
        ),
        (
            "no end",
            |name, bytes| (name != "treefort.code").then(|| (name.to_owned(), bytes)),
            "ends too early",
        ),
        (
            "another version",
            |name, bytes| {
                let text = String::from_utf8_lossy(&bytes)
                    .replace("\"treefort-home\":1", "\"treefort-home\":9");
                Some((
                    name.to_owned(),
                    if name == "treefort.json" {
                        text.into_bytes()
                    } else {
                        bytes
                    },
                ))
            },
            "format 9",
        ),
        (
            "a way out",
            |name, bytes| {
                Some((
                    if name == "treefort.toml" {
                        "../escaped"
                    } else {
                        name
                    }
                    .to_owned(),
                    bytes,
                ))
            },
            "leads out",
        ),
        (
            "from the top",
            |name, bytes| {
                Some((
                    if name == "treefort.toml" {
                        "/tmp/escaped"
                    } else {
                        name
                    }
                    .to_owned(),
                    bytes,
                ))
            },
            "leads out",
        ),
        (
            "no part of a home",
            |name, bytes| {
                Some((
                    if name == "treefort.toml" {
                        "run.json"
                    } else {
                        name
                    }
                    .to_owned(),
                    bytes,
                ))
            },
            "no part of a home",
        ),
        (
            "a key without its name",
            |name, bytes| {
                Some((
                    if name == "keys/relay.ncryptsec" {
                        "keys/relay"
                    } else {
                        name
                    }
                    .to_owned(),
                    bytes,
                ))
            },
            "key without a name",
        ),
    ];
    for (what, change, words) in changes {
        rewritten(&archive, &place.path("changed"), change);
        eprintln!("{what}");
        place.refused("changed", "password", words);
    }
    assert!(!place.path("escaped").exists() && !Path::new("/tmp/escaped").exists());
    // A link that a later file goes through.
    let mut tar = tar::Archive::new(std::fs::File::open(&archive).unwrap());
    let mut out = tar::Builder::new(std::fs::File::create(place.path("linked")).unwrap());
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header().clone();
        if entry.path().unwrap() == Path::new("treefort.toml") {
            let mut link = tar::Header::new_gnu();
            link.set_entry_type(tar::EntryType::Symlink);
            link.set_size(0);
            link.set_mode(0o777);
            out.append_link(&mut link, "agents", place.folder.path())
                .unwrap();
            let mut through = tar::Header::new_gnu();
            through.set_size(1);
            through.set_mode(0o600);
            out.append_data(&mut through, "agents/escaped", &b"x"[..])
                .unwrap();
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        out.append(&header, &bytes[..]).unwrap();
    }
    out.finish().unwrap();
    place.refused("linked", "password", "is a link where none may be");
    assert!(!place.path("escaped").exists());

    // From a pipe, and out into one.
    let piped = place.run(
        &home,
        &["export", "--all", "-", "--password-file", "password"],
        None,
    );
    assert!(piped.status.success());
    std::fs::File::create(place.path("piped"))
        .unwrap()
        .write_all(&piped.stdout)
        .unwrap();
    let other = place.path("other");
    let arguments = ["import", "-", "--password-file", "password"];
    ok(&place.run(&other, &arguments, Some(&place.path("piped"))));
    assert!(other.join("keys/operator.key").exists());
}
