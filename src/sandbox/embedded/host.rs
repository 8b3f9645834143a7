//! What an agent's program needs of the host to run, and where it is shown inside.
//!
//! A static program needs nothing. Others get the system's programs and libraries and the few files of `/etc`
//! that name no person, and their own program when it is not one of the system's.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use super::plan::Shown;
use crate::sandbox::shown::{AGENT, ETC, INTERPRETER, STORE, SYSTEM};
use crate::sandbox::{AGENT_HOME, AGENT_ID, Host};

/// Programs that compile as they run reserve much that they never use. Measured on OpenCode 1.18: with 2.0 to 2.3
/// GiB it does without a compiler and takes three times the processor's time, with 2.4 to 2.6 it ends or stands
/// still, with 2.8 it is well.
const RESERVED_MB: u32 = 4096;
/// Bytes of a script that are read for its first line.
const FIRST_LINE: u64 = 256;

/// What an agent's program needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) shown: BTreeSet<Shown>,
    pub(super) links: Vec<(PathBuf, PathBuf)>,
    pub(super) files: Vec<(PathBuf, String)>,
    /// What stands for the first word of the command.
    pub(super) program: Option<String>,
    /// The file that it is on the host.
    pub(super) file: Option<PathBuf>,
    /// Folders in front of the `PATH`.
    pub(super) path: Vec<String>,
    /// MiB that one process may reserve beside what it may use.
    pub(super) reserved_mb: u32,
}

/// A program, or what one reads, that is not on this machine.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) program: String,
}

/// What an agent needs of this machine. `path` is the `PATH` on which its program is looked for.
/// A program in one of the `private` folders is not the system's, wherever they lie.
pub(super) fn needs(host: &Host, path: &str, private: &[PathBuf]) -> Result<Needs, Missing> {
    let mut needs = Needs::default();
    for (path, target) in &host.reads {
        let source = fs::canonicalize(path).map_err(|_| Missing {
            program: path.clone(),
        })?;
        let target = PathBuf::from(target);
        needs.shown.insert(Shown { source, target });
    }
    if !host.system {
        return Ok(needs);
    }
    system(&mut needs, Path::new("/"));
    needs.reserved_mb = RESERVED_MB;
    if !host.program.is_empty() {
        add_program(&mut needs, &host.program, path, private)?;
    }
    Ok(needs)
}

fn system(needs: &mut Needs, root: &Path) {
    for name in SYSTEM {
        let path = root.join(name);
        let target = Path::new("/").join(name);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() => {
                if let Ok(to) = fs::read_link(&path) {
                    needs.links.push((target, to));
                }
            }
            Ok(meta) if meta.is_dir() => show(needs, &path, target),
            _ => {}
        }
    }
    if root.join(STORE).is_dir() {
        show(needs, &root.join(STORE), Path::new("/").join(STORE));
    }
    for name in ETC {
        let path = root.join("etc").join(name);
        if path.exists() {
            show(needs, &path, Path::new("/etc").join(name));
        }
    }
    needs.files.extend([
        (
            PathBuf::from("/etc/passwd"),
            format!(
                "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n\
                 agent:x:{AGENT_ID}:{AGENT_ID}:agent:{AGENT_HOME}:/bin/sh\n"
            ),
        ),
        (
            PathBuf::from("/etc/group"),
            format!("root:x:0:\nagent:x:{AGENT_ID}:\n"),
        ),
        (
            PathBuf::from("/etc/hosts"),
            "127.0.0.1 localhost treefort\n::1 localhost\n".to_owned(),
        ),
        (
            PathBuf::from("/etc/nsswitch.conf"),
            "passwd: files\ngroup: files\nhosts: files\n".to_owned(),
        ),
        (PathBuf::from("/etc/resolv.conf"), String::new()),
    ]);
}

/// What is covered inside, for it lies in what is shown: what is private, and the sockets of this computer, since
/// to connect is no writing. `listed` is `/proc/net/unix`, whose last field is their path.
pub(super) fn covered(shown: &BTreeSet<Shown>, listed: &str, private: &[PathBuf]) -> Vec<PathBuf> {
    let paths = listed
        .lines()
        .filter_map(|line| line.find('/').map(|at| &line[at..]));
    let sockets = paths.filter_map(|path| fs::canonicalize(path).ok());
    let found: BTreeSet<PathBuf> = sockets
        .chain(private.iter().cloned())
        .flat_map(|path| {
            let inside = |one: &Shown| {
                let rest = path.strip_prefix(&one.source).ok()?;
                let below = rest.components().next().is_some();
                below.then(|| one.target.join(rest))
            };
            shown.iter().filter_map(inside).collect::<Vec<_>>()
        })
        .collect();
    found.into_iter().collect()
}

/// Adds a path as what it leads to.
fn show(needs: &mut Needs, path: &Path, target: PathBuf) {
    if let Ok(source) = fs::canonicalize(path) {
        needs.shown.insert(Shown { source, target });
    }
}

fn add_program(
    needs: &mut Needs,
    name: &str,
    path: &str,
    private: &[PathBuf],
) -> Result<(), Missing> {
    let is_system =
        |file: &Path| is_system(file) && !private.iter().any(|own| file.starts_with(own));
    let missing = || Missing {
        program: name.to_owned(),
    };
    let found = look_up(name, path).ok_or_else(missing)?;
    let placed = |needs: &mut Needs, file: &Path, at| match is_system(file) {
        true => file.to_owned(),
        false => placed(needs, file, at),
    };
    let inside = placed(needs, &found, AGENT);
    if let Some(interpreter) = interpreter(&found) {
        let interpreter = look_up(&interpreter, path).ok_or(Missing {
            program: interpreter,
        })?;
        if !is_system(&interpreter) {
            let inside = placed(needs, &interpreter, INTERPRETER);
            needs
                .path
                .extend(inside.parent().and_then(Path::to_str).map(str::to_owned));
        }
    }
    needs.program = inside.to_str().map(str::to_owned);
    needs.file = Some(found);
    Ok(())
}

/// The file that a name on the `PATH` leads to.
fn look_up(name: &str, path: &str) -> Option<PathBuf> {
    let folders = path.split(':').filter(|folder| folder.starts_with('/'));
    folders
        .map(|folder| Path::new(folder).join(name))
        .find(|file| {
            rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file()
        })
        .and_then(|file| fs::canonicalize(file).ok())
}

fn is_system(path: &Path) -> bool {
    let first = path.components().find_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    path.starts_with(Path::new("/").join(STORE))
        || first.is_some_and(|first| SYSTEM.contains(&first))
}

/// Where a program that is not the system's is inside: its package is shown, which is the outermost
/// `node_modules` that it lies in, or else the file alone.
fn placed(needs: &mut Needs, file: &Path, at: &str) -> PathBuf {
    let mut package = PathBuf::new();
    for part in file.components() {
        package.push(part);
        if part.as_os_str() == "node_modules" {
            let target = Path::new(at).join("node_modules");
            let rest = file.strip_prefix(&package).unwrap_or(file);
            let inside = target.join(rest);
            show(needs, &package, target);
            return inside;
        }
    }
    let target = Path::new(at).join(file.file_name().unwrap_or_default());
    show(needs, file, target.clone());
    target
}

/// The program that `#!/usr/bin/env NAME` asks for.
fn interpreter(file: &Path) -> Option<String> {
    let mut line = Vec::new();
    let opened = fs::File::open(file).ok()?;
    opened.take(FIRST_LINE).read_to_end(&mut line).ok()?;
    let line = line.strip_prefix(b"#!")?;
    let line = line.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_whitespace();
    let program = words.next()?;
    if !program.ends_with("/env") {
        return None;
    }
    words.find(|word| !word.starts_with('-')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn program(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn sockets_and_private_files_in_what_is_shown_are_covered() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir(root.join("a b")).unwrap();
        fs::write(root.join("a b/socket"), "").unwrap();
        fs::write(root.join("other"), "").unwrap();
        let shown = BTreeSet::from([Shown {
            source: root.join("a b"),
            target: "/in".into(),
        }]);
        let line = "0000000000000000: 00000002 00000000 00010000 0001 01 23";
        let listed = format!(
            "Num RefCount Protocol Flags Type St Inode Path\n{line} {0}/a b/socket\n{line} {0}/other\n{line}\n\
             {line} @/abstract\n{line} {0}/a b/gone\n",
            root.display()
        );
        let private = [root.join("a b/own"), root.join("other"), root.join("a b")];
        let covered = covered(&shown, &listed, &private);
        assert_eq!(covered, ["/in/own", "/in/socket"].map(PathBuf::from));
    }

    #[test]
    fn a_static_program_needs_nothing() {
        assert_eq!(needs(&Host::default(), "", &[]).unwrap(), Needs::default());
    }

    #[test]
    fn of_a_package_everything_beside_it_is_shown_and_its_interpreter() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        let script = root.join("lib/node_modules/tool/bin/tool.js");
        program(&script, "#!/usr/bin/env node\n");
        program(&root.join("node/bin/node"), "binary");
        fs::create_dir(root.join("bin")).unwrap();
        symlink(&script, root.join("bin/tool")).unwrap();
        let path = format!("{0}/bin:{0}/node/bin", root.display());
        let host = Host {
            system: true,
            program: "tool".into(),
            ..Host::default()
        };
        let needs = needs(&host, &path, &[]).unwrap();
        assert_eq!(
            needs.program.as_deref(),
            Some("/agent/node_modules/tool/bin/tool.js")
        );
        let shown = |target: &str| {
            let found = needs
                .shown
                .iter()
                .find(|shown| shown.target == Path::new(target));
            found.map(|shown| shown.source.clone())
        };
        assert_eq!(
            shown("/agent/node_modules"),
            Some(root.join("lib/node_modules"))
        );
        assert_eq!(
            shown("/agent-interpreter/node"),
            Some(root.join("node/bin/node"))
        );
        assert_eq!(needs.path, ["/agent-interpreter"]);
        assert_eq!(needs.file, Some(script));
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let host = Host {
            system: true,
            program: "no-such-program".into(),
            ..Host::default()
        };
        assert_eq!(
            needs(&host, "/usr/bin", &[]).unwrap_err().program,
            "no-such-program"
        );
    }

    #[test]
    fn no_file_of_etc_that_names_a_person_is_shown() {
        let mut needs = Needs::default();
        system(&mut needs, Path::new("/"));
        for name in [
            "passwd",
            "shadow",
            "group",
            "ssh",
            "hostname",
            "machine-id",
            "fstab",
            "ssl",
            "ssl/private",
            "pki",
        ] {
            let target = Path::new("/etc").join(name);
            assert!(needs.shown.iter().all(|shown| shown.target != target));
        }
        assert!(
            needs
                .shown
                .iter()
                .any(|shown| shown.target == Path::new("/usr"))
        );
    }
}
