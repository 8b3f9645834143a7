//! What an embedded sandbox shows of this computer, and what hangs on it: where nothing is written through, what
//! is covered, which sockets, locks and signals lead nowhere.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
    path::Path,
};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use treefort::sandbox::{Config, Error, Runtime as _, embedded::EmbeddedRuntime};

use super::{
    Home, Host, attempt, bound,
    computer::{alone, is_root, with_programs},
    image,
};
use crate::sandbox::{Backend, finish, unique};

/// What a line of `[embedded]` of a hostile agent is answered.
async fn refusal(home: &Path, reads: &[(&str, &str)], files: &[(&str, &str)]) -> String {
    let mut image = image();
    let content = treefort::sandbox::Content::Bytes(b"theirs".to_vec());
    image.files.push(("agent.sh".to_owned(), content));
    let host = image.host.as_mut().unwrap();
    host.system = true;
    for (path, inside) in reads {
        host.reads.insert((*path).to_owned(), (*inside).to_owned());
    }
    for (name, inside) in files {
        host.files.insert((*name).to_owned(), (*inside).to_owned());
    }
    let runtime = EmbeddedRuntime::new(&unique("test"), Config::default()).with_home(home);
    let refused = runtime.prepare(&image, None).await;
    let Err(Error::Shows { refused, .. }) = refused else {
        panic!("{reads:?} {files:?}: {refused:?}");
    };
    format!("{} {}: {}", refused.table, refused.name, refused.why)
}

#[tokio::test]
async fn an_agent_that_would_write_through_what_it_is_shown_or_read_keys_does_not_start() {
    let host = Host::new();
    let at = |name: &str| host.dir.path().join(name).to_str().unwrap().to_owned();
    let (home, shown) = (at("home"), at("project"));
    symlink(at("session"), at("project/way")).unwrap();
    let home = Path::new(&home);
    for (reads, files) in [
        (
            &[(shown.as_str(), "/d")][..],
            &[("agent.sh", "/d/way/workspace.json")][..],
        ),
        (
            &[(&shown, "/d"), (&at("outside"), "/d/way/workspace.json")],
            &[],
        ),
        (&[(&shown, "/")], &[]),
        (&[(&shown, "/treefort")], &[]),
        (&[(&shown, "/usr/share")], &[]),
        (&[], &[("agent.sh", "/proc/sysrq-trigger")]),
        (&[], &[("agent.sh", "/workspace/x")]),
    ] {
        let said = refusal(home, reads, files).await;
        assert!(said.contains("would be put where"), "{said}");
    }
    for path in [at("home"), at("home/keys"), at("")] {
        let said = refusal(home, &[(&path, "/d")], &[]).await;
        assert!(said.contains("its keys are there"), "{said}");
    }
    for path in ["/proc", "/sys", "/dev/null", "/run", "/"] {
        let said = refusal(home, &[(path, "/d")], &[]).await;
        assert!(
            said.contains("how this computer runs") || path == "/",
            "{said}"
        );
    }
}

/// Of a person who has them below /usr: at a place that only root may make.
#[tokio::test]
async fn private_files_below_the_system_are_covered() {
    if !is_root() {
        return;
    }
    let folder = Path::new("/usr/local/src").join(unique("treefort-test"));
    fs::create_dir_all(folder.join("project")).unwrap();
    fs::create_dir(folder.join("home")).unwrap();
    for file in ["project/secret", "home/key", "seen"] {
        fs::write(folder.join(file), "ours").unwrap();
    }
    let mut image = image();
    image.host.as_mut().unwrap().system = true;
    let mut home = Home::of(Backend::Embedded, &image).await;
    let own = folder.join("home");
    let program = env!("CARGO_BIN_EXE_treefort").into();
    let runtime = EmbeddedRuntime::new(&home.id, Config::default()).with_home(&own);
    let runtime = runtime.with_program(program);
    runtime.prepare(&image, None).await.unwrap();
    home.runtime = Box::new(runtime);
    let host = Host::new();
    let script = format!(
        "cd {} && cat seen project/secret home/key; ls -A project home",
        folder.display()
    );
    let mut spec = bound(&home, &host, &script);
    spec.private = vec![folder.join("project")];
    let (output, stderr, _) = finish(home.runtime.start(spec).await.unwrap()).await;
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(output, "ourshome:\n\nproject:\n", "{stderr}");
    home.end().await;
}

/// What the kernel itself would send to what stands still, and what it counts for each user.
#[tokio::test]
async fn no_call_is_left_that_wakes_one_later_or_takes_all_that_may_be_watched() {
    let home = alone().await;
    let host = Host::new();
    let commands = [
        "/attack timer",
        "/attack signal-of-events",
        "/attack watchers x 17",
    ];
    let results = attempt(&home, &host, &commands).await;
    let answers = [
        "Function not implemented",
        "Operation not permitted",
        "Too many open files",
    ];
    for ((said, code), answer) in results.iter().zip(answers) {
        assert!(*code == 1 && said.contains(answer), "{results:?}");
    }
    home.end().await;
}

/// Whoever calls the second process of a sandbox by hand would turn over the root that they are in.
#[tokio::test]
async fn the_builder_of_roots_runs_as_a_first_process_only() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_treefort"))
        .arg("sandbox-root")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(output.stdout.is_empty(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("permission denied"), "{said}");
}

/// Its files are those of the host, and nothing else of them is: sockets, however and whenever they were bound,
/// and locks.
#[tokio::test]
async fn what_hangs_on_the_files_of_a_shown_folder_is_out_of_reach() {
    let host = Host::new();
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(folder.path().join("file"), "ours").unwrap();
    let home = with_programs(&[(folder.path(), "/shown")]).await;
    let script = "/attack lock /shown/file & /busybox usleep 300000; echo there; read line; \
        /attack unix /shown/late; /attack unix /shown/by-another-name; /busybox cat /shown/file";
    let mut spec = bound(&home, &host, script);
    spec.limits.pids = 64;
    let mut sandbox = home.runtime.start(spec).await.unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"there\n") {
        said.push(sandbox.agent.read_u8().await.unwrap());
    }
    assert!(String::from_utf8_lossy(&said).contains("lock: got it"));
    let file = fs::File::open(folder.path().join("file")).unwrap();
    file.try_lock()
        .expect("an agent holds a lock of the host's");
    let late = UnixListener::bind(folder.path().join("late")).unwrap();
    let moved = UnixListener::bind(folder.path().join("moved")).unwrap();
    for (listener, name) in [(&late, "late"), (&moved, "moved")] {
        listener.set_nonblocking(true).unwrap();
        fs::set_permissions(folder.path().join(name), PermissionsExt::from_mode(0o777)).unwrap();
    }
    // What the kernel lists of it is not where it is.
    fs::rename(
        folder.path().join("moved"),
        folder.path().join("by-another-name"),
    )
    .unwrap();
    sandbox.agent.write_all(b"\n").await.unwrap();
    let (output, _, _) = finish(sandbox).await;
    assert_eq!(output.matches("Connection refused").count(), 2, "{output}");
    assert!(output.ends_with("ours"), "{output}");
    assert!(late.accept().is_err() && moved.accept().is_err());
    home.end().await;
}
