//! OpenCode as a person without Docker has it: its npm package on this computer, at the version of its manifest.
//!
//! It is fetched once for a machine (npm keeps what it fetched) and unpacked once for a build tree, without any
//! script of it, as in the image's Dockerfile.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use treefort::agent::registry::Registry;

/// The program, in its package.
pub(crate) fn program() -> PathBuf {
    let (agents, _) = Registry::load(None);
    let version = &agents.get("opencode").unwrap().manifest.version;
    let package = package();
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = tmp.join(format!("opencode-{version}"));
    let inside = Path::new("node_modules").join(package).join("bin/opencode");
    let program = folder.join(&inside);
    if program.exists() {
        return program;
    }
    // One fetches, over all processes that run tests.
    let lock = std::fs::File::create(tmp.join("opencode.lock")).unwrap();
    lock.lock().unwrap();
    if !program.exists() {
        let made = tempfile::tempdir_in(tmp).unwrap();
        let npm = Command::new("npm")
            .args(["install", "--ignore-scripts", "--prefer-offline"])
            .args(["--no-audit", "--no-fund", "--no-update-notifier"])
            .args(["--loglevel=error", "--prefix"])
            .arg(made.path())
            .arg(format!("{package}@{version}"))
            .output();
        let npm =
            npm.unwrap_or_else(|error| panic!("OpenCode is not here, and npm neither: {error}"));
        let said = String::from_utf8_lossy(&npm.stderr);
        assert!(npm.status.success(), "OpenCode cannot be had: {said}");
        assert!(made.path().join(&inside).is_file(), "{package}: {said}");
        // For every user, since tests run as others too.
        std::fs::set_permissions(made.path(), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::rename(made.keep(), &folder).unwrap();
    }
    program
}

/// The package for this computer; see `agents/opencode/Dockerfile`.
fn package() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        return "opencode-linux-arm64";
    }
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    if processor.split_whitespace().any(|flag| flag == "avx2") {
        "opencode-linux-x64"
    } else {
        "opencode-linux-x64-baseline"
    }
}
