//! The escape suite: an adversary with a workspace, in a real sandbox of each backend, against the host.
//!
//! `attack.c` makes its system calls, because a shell cannot; it is compiled with the linker that
//! Rust needs anyway. Every attack says what the kernel answered, so that one which was never
//! attempted fails its test like one that succeeded.

mod attempts;
mod bombs;
mod computer;
mod init;
mod network;
mod serving;
mod shown;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use treefort::sandbox::{Image, Spec};

use crate::sandbox::{Home, busybox, image_of};

const DOCKERFILE: &str =
    "FROM scratch\nCOPY treefort /treefort\nCOPY busybox /busybox\nCOPY attack /attack\n";

/// The adversary's program, compiled once for all tests of this build tree.
pub(crate) fn attack() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/escape/attack.c");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = folder.join("attack");
    let newer = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    if newer(&program) > newer(&source) {
        return program;
    }
    let lock = fs::File::create(folder.join("attack.lock")).unwrap();
    lock.lock().unwrap();
    if newer(&program) < newer(&source) {
        let made = Command::new("cc")
            .args(["-static", "-O1", "-o"])
            .arg(program.with_extension("new"))
            .arg(&source)
            .status();
        assert!(made.unwrap().success());
        fs::rename(program.with_extension("new"), &program).unwrap();
    }
    program
}

fn image() -> Image {
    let programs = [("busybox", busybox()), ("attack", attack())];
    image_of("test-escape", DOCKERFILE, &programs)
}

/// A workspace with a host around it that must not change.
struct Host {
    dir: tempfile::TempDir,
    before: BTreeMap<PathBuf, String>,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in [
            "session/tree",
            "session/tree/folder",
            "project/.git/hooks",
            "home/keys",
        ] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for (name, text) in [
            ("project/main.rs", "fn main() {}"),
            ("project/.git/config", "[core]"),
            ("home/keys/operator", "not a real key"),
            ("session/workspace.json", "{}"),
            ("session/tree/inside", "theirs"),
            ("outside", "ours"),
        ] {
            fs::write(at(name), text).unwrap();
            // Even what everybody may write is out of reach.
            fs::set_permissions(at(name), PermissionsExt::from_mode(0o666)).unwrap();
        }
        symlink("outside", at("link")).unwrap();
        for folder in ["session/tree", "session/tree/folder", "", "home", "project"] {
            fs::set_permissions(at(folder), PermissionsExt::from_mode(0o777)).unwrap();
        }
        let mut host = Self {
            dir,
            before: BTreeMap::new(),
        };
        host.before = host.now();
        host
    }

    fn tree(&self) -> PathBuf {
        self.dir.path().join("session/tree")
    }

    /// Everything around the workspace, and what of the system an agent would like to change.
    fn now(&self) -> BTreeMap<PathBuf, String> {
        let mut seen = BTreeMap::new();
        let mut folders = vec![self.dir.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path == self.tree() {
                    continue;
                }
                let kind = fs::symlink_metadata(&path).unwrap();
                if kind.is_dir() {
                    folders.push(path.clone());
                }
                seen.insert(path.clone(), describe(&path));
            }
            seen.insert(folder.clone(), describe(&folder));
        }
        for path in [
            "/etc/passwd",
            "/etc/hosts",
            "/etc/hostname",
            "/proc/sys/kernel/core_pattern",
            "/proc/sys/kernel/hostname",
            "/proc/sys/kernel/randomize_va_space",
            "/proc/sys/vm/overcommit_memory",
            "/proc/sys/vm/panic_on_oom",
        ] {
            let text = fs::read_to_string(path).unwrap_or_default();
            seen.insert(path.into(), text);
        }
        seen
    }

    fn assert_unchanged(&self) {
        assert_eq!(self.now(), self.before, "the host has changed");
    }
}

/// Everything about a file that an escape could change; folders without their times, which change
/// with the workspace's own.
fn describe(path: &Path) -> String {
    let about = fs::symlink_metadata(path).unwrap();
    let what = if about.is_symlink() {
        fs::read_link(path)
            .unwrap()
            .into_os_string()
            .into_encoded_bytes()
    } else if about.is_file() {
        fs::read(path).unwrap()
    } else {
        Vec::new()
    };
    format!(
        "{:o} {}:{} links {} inode {} at {}.{} {:?}",
        about.mode(),
        about.uid(),
        about.gid(),
        about.nlink(),
        about.ino(),
        about.mtime(),
        about.mtime_nsec(),
        String::from_utf8_lossy(&what),
    )
}

/// A spec with the host's workspace bound.
fn bound(home: &Home, host: &Host, script: &str) -> Spec {
    let mut spec = home.spec(script);
    spec.workspace = Some(host.tree());
    spec
}

/// Runs commands one by one in one container: what each printed, and its exit code.
async fn attempt(home: &Home, host: &Host, commands: &[&str]) -> Vec<(String, i32)> {
    let script: String = commands
        .iter()
        .map(|command| format!("( {command} ) 2>&1; echo \"=$?=\"\n"))
        .collect();
    let sandbox = home
        .runtime
        .start(bound(home, host, &script))
        .await
        .unwrap();
    let (output, stderr, exit) = crate::sandbox::finish(sandbox).await;
    let mut results = Vec::new();
    let mut said = String::new();
    for line in output.lines() {
        match line.rsplit_once("=") {
            Some((rest, "")) if rest.starts_with('=') || rest.contains("=") => {
                let (words, code) = rest.rsplit_once('=').unwrap();
                said.push_str(words);
                results.push((std::mem::take(&mut said), code.parse().unwrap()));
            }
            _ => {
                said.push_str(line);
                said.push('\n');
            }
        }
    }
    assert_eq!(
        results.len(),
        commands.len(),
        "{output}\n{stderr}\n{exit:?}"
    );
    results
}
