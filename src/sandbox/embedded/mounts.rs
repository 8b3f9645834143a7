//! The file system that an embedded sandbox sees: a new root in memory with what the plan shows of the host,
//! read-only, and places to write to: the workspace, `/tmp`, its home, and what it keeps.
//!
//! The host's own tree is at [`OLD`] while this runs, and gone from the sandbox's sight at the end.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive,
    mount_change, mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root};

use super::plan::Plan;
use super::step::{Failure, Step, at, at_path};
use super::tree::Tree;
use crate::sandbox::{AGENT_HOME, AGENT_ID, PROGRAM, STATE, WORKSPACE};

/// Where the two roots lie while one is built: a folder that every Linux has.
const STAGE: &str = "/tmp";
/// The host's tree, after the first turn.
const OLD: &str = "/old";
/// The sandbox's tree, after the first turn.
const NEW: &str = "/new";
/// A folder with nothing in it, after the first turn.
const EMPTY: &str = "/empty";
/// MiB of shared memory.
const SHM_MB: u32 = 64;
const HIDDEN: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
/// Devices that carry nothing in or out.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
/// What `/proc` shows of the kernel itself and no program needs: folders are read-only, files are empty.
const PROC_READ_ONLY: [&str; 5] = ["sys", "irq", "bus", "fs", "sysrq-trigger"];
const PROC_EMPTY: [&str; 18] = [
    "acpi",
    "asound",
    "cmdline",
    "config.gz",
    "diskstats",
    "interrupts",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "latency_stats",
    "modules",
    "partitions",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
];
/// What the new user namespace may have of the kernel (namespaces(7), inotify(7)): no further namespaces, and not
/// all that its user may watch on the host.
const SYSCTLS: [(&str, &str); 9] = [
    ("max_user_namespaces", "0"),
    ("max_mnt_namespaces", "0"),
    ("max_pid_namespaces", "0"),
    ("max_net_namespaces", "0"),
    ("max_ipc_namespaces", "0"),
    ("max_uts_namespaces", "0"),
    ("max_cgroup_namespaces", "0"),
    ("max_time_namespaces", "0"),
    ("max_inotify_instances", "16"),
];
/// The host's own bound of what its user may watch; a sandbox may watch a part of it.
const WATCHES: &str = "proc/sys/fs/inotify/max_user_watches";
const WATCHES_PART: u32 = 8;
const MOST_WATCHES: u32 = 65_536;
/// Pages of 4 KiB in a MiB: a file in memory takes one at least, so that there are no more files than that.
const FILES_PER_MB: u32 = 256;

/// Builds the tree and makes it the root.
///
/// # Errors
/// With the step at which the kernel refused.
pub(super) fn build(plan: &Plan) -> Result<(), Failure> {
    at(Step::Root, stage())?;
    let tree = at(Step::Root, Tree::at(Path::new(NEW)))?;
    for shown in &plan.shown {
        show(&tree, &shown.source, &shown.target)?;
    }
    for path in &plan.covered {
        at_path(Step::Shown, path, hide(path))?;
    }
    let program = Path::new(PROGRAM);
    if host(&plan.program).exists() {
        show(&tree, &plan.program, program)?;
    } else {
        // It was replaced by an update since treefort started: this process still is the old one.
        at_path(Step::Shown, program, copy_of_this(&tree, program))?;
    }
    for (path, to) in &plan.links {
        at_path(Step::Shown, path, tree.link(path, to))?;
    }
    for (path, text) in &plan.files {
        at_path(Step::Shown, path, tree.text(path, text))?;
    }
    at(Step::Root, devices(&tree))?;
    at(Step::Process, process(&tree))?;
    at(Step::Root, memory(&tree, plan))?;
    if let Some(workspace) = &plan.workspace {
        let bound = bind_writable(&tree, workspace, WORKSPACE);
        at_path(Step::Workspace, workspace, bound)?;
    }
    if let Some(state) = &plan.state {
        at_path(Step::Workspace, state, bind_writable(&tree, state, STATE))?;
        // The workspace's programs run; there are none here.
        let flags = HIDDEN | MountFlags::NOEXEC;
        at_path(
            Step::Workspace,
            state,
            restrict(&below(Path::new(STATE)), flags),
        )?;
    }
    at(Step::Root, finish())
}

fn copy_of_this(tree: &Tree, target: &Path) -> io::Result<()> {
    let mut own = fs::File::open(Path::new(OLD).join("proc/self/exe"))?;
    let mut made = tree.file(target)?;
    io::copy(&mut own, &mut made)?;
    made.set_permissions(fs::Permissions::from_mode(0o755))
}

/// Where a path of the sandbox is while it is built.
fn below(path: &Path) -> PathBuf {
    let inner = path
        .components()
        .filter(|part| matches!(part, Component::Normal(_)));
    let mut whole = PathBuf::from(NEW);
    whole.extend(inner);
    whole
}

fn in_memory(target: &Path, options: &str, flags: MountFlags) -> io::Result<()> {
    let options = CString::new(options)?;
    mount("tmpfs", target, "tmpfs", flags, options.as_c_str())?;
    Ok(())
}

/// The host's tree moves to [`OLD`], in front of an empty one at [`NEW`].
fn stage() -> io::Result<()> {
    let whole = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", whole)?;
    in_memory(Path::new(STAGE), "mode=0755,size=1m", HIDDEN)?;
    let at_stage = |path: &str| format!("{STAGE}{path}");
    fs::create_dir(at_stage(OLD))?;
    fs::create_dir(at_stage(NEW))?;
    fs::create_dir(at_stage(EMPTY))?;
    pivot_root(STAGE, at_stage(OLD))?;
    chdir("/")?;
    in_memory(Path::new(NEW), "mode=0755,size=64m", HIDDEN)
}

/// Puts nothing in front of what lies in what is shown. It may have gone since.
fn hide(path: &Path) -> io::Result<()> {
    let Ok(path) = below(path).canonicalize() else {
        return Ok(());
    };
    if !path.starts_with(NEW) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    cover(&path)
}

/// Puts nothing in front of a file or folder.
fn cover(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        let flags = HIDDEN | MountFlags::NOEXEC | MountFlags::RDONLY;
        return in_memory(path, "mode=0755,size=4k,nr_inodes=1", flags);
    }
    Ok(mount_bind(host(Path::new("/dev/null")), path)?)
}

/// Shows a file or folder of the host, and all that is mounted below it, read-only. A folder in which nothing is
/// mounted is the lower part of an overlay where the kernel lets it (since Linux 5.11): its files are the same,
/// but not what else hangs on a file. So nobody reaches the sockets and pipes in it, or sees or locks what others
/// do with its files.
fn show(tree: &Tree, source: &Path, target: &Path) -> Result<(), Failure> {
    let from = host(source);
    let made = fs::metadata(&from).and_then(|meta| {
        if meta.is_dir() {
            tree.folder(target)?;
        } else {
            tree.file(target)?;
        }
        Ok(meta.is_dir())
    });
    let shown = made.and_then(|is_folder| {
        if is_folder && overlay(&from, &below(target)).is_ok() {
            return Ok(());
        }
        mount_bind_recursive(&from, below(target))?;
        read_only_below(&below(target))
    });
    at_path(Step::Shown, source, shown)
}

fn overlay(from: &Path, target: &Path) -> io::Result<()> {
    let mounts = fs::read(format!("{OLD}/proc/self/mountinfo"))?;
    let holds_mounts = mount_points(&mounts)
        .iter()
        .any(|mounted| mounted != from && mounted.starts_with(from));
    // These mean something in the list of its layers.
    let path = from
        .to_str()
        .filter(|path| !path.contains([':', ',', '\\']));
    let Some(path) = path.filter(|_| !holds_mounts) else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let mut flags = HIDDEN | MountFlags::RDONLY;
    if statvfs(from)?.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        flags |= MountFlags::NOEXEC;
    }
    let layers = CString::new(format!("lowerdir={path}:{EMPTY}"))?;
    mount("overlay", target, "overlay", flags, layers.as_c_str())?;
    Ok(())
}

fn host(path: &Path) -> PathBuf {
    let mut whole = PathBuf::from(OLD);
    whole.extend(
        path.components()
            .filter(|part| matches!(part, Component::Normal(_))),
    );
    whole
}

/// Makes every mount at or below a path read-only.
fn read_only_below(path: &Path) -> io::Result<()> {
    let mounts = fs::read(format!("{OLD}/proc/self/mountinfo"))?;
    for mounted in mount_points(&mounts) {
        if mounted.starts_with(path) {
            restrict(&mounted, HIDDEN | MountFlags::RDONLY)?;
        }
    }
    Ok(())
}

/// Adds flags to a mount. Those that it has are kept: the kernel locks them in a user namespace. Of those about
/// times of access, which it locks too, none is named, so that the kernel itself keeps them.
fn restrict(path: &Path, more: MountFlags) -> io::Result<()> {
    let has = statvfs(path)?.f_flag;
    let kept = [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    ];
    let kept = kept.into_iter().filter(|(flag, _)| has.contains(*flag));
    let flags = kept.fold(more | MountFlags::BIND, |flags, (_, flag)| flags | flag);
    mount_remount(path, flags, "")?;
    Ok(())
}

/// The mount points of `/proc/self/mountinfo` (proc(5)): its fifth field, with octal escapes.
fn mount_points(mountinfo: &[u8]) -> Vec<PathBuf> {
    let lines = mountinfo.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(|field| PathBuf::from(std::ffi::OsStr::from_bytes(&unescape(field))))
        .collect()
}

fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'\\')
            .then(|| after.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match escaped {
            Some(byte) => {
                plain.push(byte);
                rest = &after[3..];
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

fn devices(tree: &Tree) -> io::Result<()> {
    let dev = Path::new("/dev");
    tree.folder(dev)?;
    in_memory(
        &below(dev),
        "mode=0755,size=64k",
        MountFlags::NOSUID | MountFlags::NOEXEC,
    )?;
    for name in DEVICES {
        let inside = dev.join(name);
        fs::File::create_new(below(&inside))?;
        mount_bind(host(&inside), below(&inside))?;
    }
    for (name, to) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(to, below(&dev.join(name)))?;
    }
    for name in ["pts", "shm"] {
        fs::create_dir(below(&dev.join(name)))?;
    }
    let quiet = MountFlags::NOSUID | MountFlags::NOEXEC;
    let options = c"newinstance,ptmxmode=0666,mode=0620,max=256";
    mount(
        "devpts",
        below(Path::new("/dev/pts")),
        "devpts",
        quiet,
        options,
    )?;
    restrict(&below(dev), quiet | MountFlags::RDONLY)
}

fn process(tree: &Tree) -> io::Result<()> {
    let proc = Path::new("/proc");
    tree.folder(proc)?;
    let quiet = HIDDEN | MountFlags::NOEXEC;
    mount("proc", below(proc), "proc", quiet, c"")?;
    let watches = fs::read_to_string(Path::new(OLD).join(WATCHES)).unwrap_or_default();
    let watches: u32 = watches.trim().parse().unwrap_or(MOST_WATCHES);
    let watches = (watches / WATCHES_PART).min(MOST_WATCHES).to_string();
    let all = SYSCTLS.into_iter();
    for (name, value) in all.chain([("max_inotify_watches", watches.as_str())]) {
        let path = below(&proc.join("sys/user").join(name));
        if path.exists() {
            fs::write(path, value)?;
        }
    }
    for name in PROC_READ_ONLY {
        let path = below(&proc.join(name));
        if path.exists() {
            mount_bind(&path, &path)?;
            restrict(&path, quiet | MountFlags::RDONLY)?;
        }
    }
    for name in PROC_EMPTY {
        let path = below(&proc.join(name));
        if path.is_dir() {
            in_memory(
                &path,
                "mode=0755,size=4k,nr_inodes=1",
                quiet | MountFlags::RDONLY,
            )?;
        } else if path.exists() {
            mount_bind(host(Path::new("/dev/null")), &path)?;
        }
    }
    Ok(())
}

/// What can be written and is gone with the sandbox.
fn memory(tree: &Tree, plan: &Plan) -> io::Result<()> {
    let own = format!("mode=0700,uid={AGENT_ID},gid={AGENT_ID}");
    let of_all = "mode=1777".to_owned();
    for (path, mode, mb) in [
        ("/tmp", &of_all, plan.scratch_mb),
        ("/dev/shm", &of_all, SHM_MB),
        (AGENT_HOME, &own, plan.scratch_mb),
    ] {
        let files = mb.saturating_mul(FILES_PER_MB);
        let options = format!("{mode},size={mb}m,nr_inodes={files}");
        let path = Path::new(path);
        if !path.starts_with("/dev") {
            tree.folder(path)?;
        }
        in_memory(&below(path), &options, HIDDEN | MountFlags::NOEXEC)?;
    }
    Ok(())
}

fn bind_writable(tree: &Tree, source: &Path, target: &str) -> io::Result<()> {
    let target = Path::new(target);
    tree.folder(target)?;
    mount_bind(host(source), below(target))?;
    restrict(&below(target), HIDDEN)
}

/// Turns to the new root; nothing of the host's tree is in sight any more.
fn finish() -> io::Result<()> {
    restrict(Path::new(NEW), HIDDEN | MountFlags::RDONLY)?;
    chdir(NEW)?;
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    chdir("/")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_unescaped() {
        let info = b"22 1 8:1 / / rw - ext4 /dev/vda rw\n\
                     23 22 0:5 / /a\\040b\\134 rw - proc proc rw\nbroken\n";
        let expected = [PathBuf::from("/"), PathBuf::from("/a b\\")];
        assert_eq!(mount_points(info), expected);
        assert_eq!(unescape(b"end\\04"), b"end\\04");
    }

    #[test]
    fn nothing_is_built_outside_of_the_new_root() {
        assert_eq!(
            below(Path::new("/etc/../../x")),
            PathBuf::from("/new/etc/x")
        );
        assert_eq!(host(Path::new("/a/b")), PathBuf::from("/old/a/b"));
    }
}
