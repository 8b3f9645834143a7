//! What of this computer an agent without an image may be shown, and where: `reads` and `files` under
//! `[embedded]`. Asked when an agent is checked and again before anything of it runs.

use std::path::{Path, PathBuf};

use super::image::Host;
use super::{AGENT_HOME, PROGRAM, WORKSPACE};

/// What shows how the computer runs, or how to reach it: nobody's to read, nor a folder that holds it.
const NEVER: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];
/// What every sandbox makes for itself.
const OWN: [&str; 6] = [PROGRAM, WORKSPACE, AGENT_HOME, "/proc", "/dev", "/tmp"];
/// Folders of the system at the top: a folder is shown, a link is made again.
pub(super) const SYSTEM: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// The same, deeper. Of Nix nothing else: who reaches its daemon's socket has a network.
pub(super) const STORE: &str = "nix/store";
/// What is shown of `/etc`: how programs and libraries are found, certificates, languages, time.
pub(super) const ETC: [&str; 26] = [
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "inputrc",
    "java",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "magic",
    "mime.types",
    "os-release",
    "pki/ca-trust",
    "pki/java",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    "pki/tls/openssl.cnf",
    "protocols",
    "services",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
];
/// Files of `/etc` that are made for it instead of those of this computer.
pub(super) const MADE: [&str; 5] = ["passwd", "group", "hosts", "nsswitch.conf", "resolv.conf"];
/// Where a program that is not the system's is shown.
pub(super) const AGENT: &str = "/agent";
/// Where the interpreter of a script is shown.
pub(super) const INTERPRETER: &str = "/agent-interpreter";

/// A line of `[embedded]` that is not followed, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The table: `reads` or `files`.
    pub table: &'static str,
    /// Its key.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
}

impl Host {
    /// Lines that are not followed. `home` is treefort's own folder, where its keys are.
    #[must_use]
    pub fn refused(&self, home: Option<&Path>) -> Vec<Refused> {
        let mut refused = Vec::new();
        let note = |table, name: &String, why| Refused {
            table,
            name: name.clone(),
            why,
        };
        for name in self.reads.keys() {
            if let Some(why) = private(Path::new(name), home) {
                refused.push(note("reads", name, why));
            }
        }
        let mut taken = self.taken();
        let reads = self.reads.iter().map(|line| ("reads", line));
        let files = self.files.iter().map(|line| ("files", line));
        for (table, (name, target)) in reads.chain(files) {
            let target = PathBuf::from(target);
            match taken.iter().find(|other| meet(other, &target)) {
                Some(other) => {
                    let other = other.display();
                    let why = format!(
                        "would be put where {other} is: nothing is put at, in or around that"
                    );
                    refused.push(note(table, name, why));
                }
                None => taken.push(target),
            }
        }
        refused
    }

    /// Whether a path of this computer may lie in what it is shown.
    #[must_use]
    pub fn shows(&self, path: &Path) -> bool {
        let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let path = real(path);
        let root = Path::new("/");
        let system = SYSTEM.iter().chain([&STORE]).map(|name| root.join(name));
        let mut reads = self.reads.keys().map(PathBuf::from);
        self.system
            && system
                .map(|folder| real(&folder))
                .any(|folder| path.starts_with(folder))
            || reads.any(|folder| path.starts_with(real(&folder)))
    }

    /// Where something is already, whatever its lines say.
    fn taken(&self) -> Vec<PathBuf> {
        let root = Path::new("/");
        let mut taken: Vec<PathBuf> = OWN.iter().map(PathBuf::from).collect();
        if self.system {
            taken.extend(SYSTEM.iter().chain([&STORE]).map(|name| root.join(name)));
            let etc = ETC.iter().chain(&MADE);
            taken.extend(etc.map(|name| root.join("etc").join(name)));
        }
        if !self.program.is_empty() {
            taken.extend([AGENT, INTERPRETER].map(PathBuf::from));
        }
        taken
    }
}

/// Whether one is the other, or lies in it.
pub(super) fn meet(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// Why a path of this computer is nothing to show: what it leads to counts, where it is there.
fn private(path: &Path, home: Option<&Path>) -> Option<String> {
    let real = std::fs::canonicalize(path);
    let real = real.as_deref().unwrap_or(path);
    let own = home.map(|home| std::fs::canonicalize(home).unwrap_or_else(|_| home.to_owned()));
    if own.is_some_and(|own| meet(&own, real)) {
        return Some("is treefort's own folder, lies in it or holds it: its keys are there".into());
    }
    let never = NEVER.iter().find(|never| meet(Path::new(never), real))?;
    Some(format!(
        "is {never}, lies in it or holds it: it shows how this computer runs or how to reach it"
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn refused(reads: &[(&str, &str)], files: &[(&str, &str)], home: &Path) -> Vec<String> {
        let table = |lines: &[(&str, &str)]| {
            let own = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
            lines.iter().map(own).collect()
        };
        let host = Host {
            system: true,
            program: "tool".into(),
            reads: table(reads),
            files: table(files),
            ..Host::default()
        };
        let found = host.refused(Some(home)).into_iter();
        found.map(|refused| refused.name).collect()
    }

    #[test]
    fn nothing_is_put_at_in_or_around_what_is_there() {
        let none = Path::new("/no/such/home");
        for target in [
            "/",
            "/proc",
            "/proc/self",
            "/dev/null",
            "/treefort",
            "/workspace/x",
            "/home",
            "/tmp/x",
            "/usr/share/x",
            "/bin/sh",
            "/etc",
            "/etc/passwd",
            "/etc/ssl",
            "/nix",
            "/agent/x",
        ] {
            assert_eq!(refused(&[("/opt/x", target)], &[], none), ["/opt/x"]);
            assert_eq!(refused(&[], &[("x.sh", target)], none), ["x.sh"]);
        }
        for target in ["/opt/x", "/etc/opencode/x", "/etc/ssl-own", "/agents"] {
            assert!(refused(&[("/opt/x", target)], &[], none).is_empty());
        }
        for (folder, file) in [("/d", "/d/link/x"), ("/d/e", "/d"), ("/d", "/d")] {
            let found = refused(&[("/opt/x", folder)], &[("agent.sh", file)], none);
            assert_eq!(found, ["agent.sh"]);
        }
        assert_eq!(refused(&[("/a", "/d"), ("/b", "/d/e")], &[], none), ["/b"]);
    }

    #[test]
    fn keys_and_what_the_kernel_tells_are_shown_to_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        std::fs::create_dir_all(home.join("keys")).unwrap();
        symlink("home/keys", folder.path().join("way")).unwrap();
        for path in [
            home.clone(),
            home.join("keys"),
            folder.path().to_owned(),
            folder.path().join("way"),
            "/".into(),
            "/proc".into(),
            "/proc/self/environ".into(),
            "/dev/null".into(),
            "/sys/class".into(),
            "/run/user".into(),
        ] {
            let path = path.to_str().unwrap();
            assert_eq!(refused(&[(path, "/x")], &[], &home), [path]);
        }
        let beside = folder.path().join("beside");
        std::fs::create_dir(&beside).unwrap();
        assert!(refused(&[(beside.to_str().unwrap(), "/x")], &[], &home).is_empty());
    }
}
