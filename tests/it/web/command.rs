//! `treefort page`, and what `treefort up` says.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::harness::PROGRAM;

/// A folder with a program of this name.
fn program(name: &str, script: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

async fn page_command(page: &Page, path: &std::path::Path) -> std::process::Output {
    let mut command = tokio::process::Command::new(PROGRAM);
    command
        .args(["page", "--home"])
        .arg(page.treefort.home())
        .env("PATH", path);
    let output = command.stdin(std::process::Stdio::null()).output();
    tokio::time::timeout(Duration::from_secs(60), output)
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_browser_gets_a_file_that_only_the_owner_can_read() {
    let model = ModelServer::start().await;
    let page = Page::open(&model).await;
    let seen = page.treefort.home().join("seen");
    let browser = program(
        "xdg-open",
        &format!("echo \"$#:$*\" >> '{}'", seen.display()),
    );
    let output = page_command(&page, browser.path()).await;
    assert!(output.status.success(), "{output:?}");
    let file = page.treefort.home().join("page.html");
    let said = fs::read_to_string(seen).unwrap();
    assert_eq!(said.trim(), format!("1:{}", file.display()));
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let html = fs::read_to_string(&file).unwrap();
    let link = html
        .split("url=")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let code = link
        .strip_prefix(&format!("http://{}/#t=", page.address()))
        .unwrap();
    for text in [&output.stdout, &output.stderr] {
        assert!(!String::from_utf8_lossy(text).contains(code));
    }
    assert_eq!(page.enter(code).await.status, 200);

    // A person sees the link as well: whether the browser can read the file nobody can tell.
    let command = format!("{PROGRAM} page --home '{}'", page.treefort.home().display());
    let mut terminal = tokio::process::Command::new("script");
    let terminal = terminal
        .args(["-qefc", &command, "/dev/null"])
        .env(
            "PATH",
            format!("{}:/usr/bin:/bin", browser.path().display()),
        )
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&terminal.stdout).into_owned();
    let code = said.split("/#t=").nth(1).expect("a link");
    let code: String = code
        .chars()
        .take_while(char::is_ascii_alphanumeric)
        .collect();
    assert_eq!(page.enter(&code).await.status, 200);

    // One that is the browser itself is not waited for.
    let browser = program("xdg-open", "exec /bin/sleep 30");
    assert!(page_command(&page, browser.path()).await.status.success());
    // Without a browser: what to do about it.
    for browser in [program("xdg-open", "exit 3"), tempfile::tempdir().unwrap()] {
        let output = page_command(&page, browser.path()).await;
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("treefort page --print"), "{said}");
    }
}

/// The ready line of `treefort up`, run by `script`, which gives it a terminal.
#[tokio::test(flavor = "multi_thread")]
async fn up_says_the_link_to_a_person_and_to_no_log() {
    let home = tempfile::tempdir().unwrap();
    let up = format!(
        "exec {PROGRAM} up --listen 127.0.0.1:0 --home '{}'",
        home.path().display()
    );
    let mut child = tokio::process::Command::new("script")
        .args(["-qfec", &up, "/dev/null"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut out = child.stdout.take().unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !said.contains("opens it again") {
        let mut bytes = [0; 4096];
        let read = tokio::time::timeout_at(deadline, out.read(&mut bytes)).await;
        let read = read.expect("a ready line").unwrap();
        assert!(read > 0, "{said}");
        said.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    let link = said.split("treefort is ready at ").nth(1).unwrap();
    let link = link.split(' ').next().unwrap();
    let (place, code) = link.split_once("/#t=").unwrap();
    let address = place.strip_prefix("http://").unwrap();
    let body = json!({ "code": code }).to_string();
    let request = format!(
        "POST /api/enter HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(raw(address, request.as_bytes()).await.status, 200);
    assert_eq!(raw(address, request.as_bytes()).await.status, 401);
    let run: Value =
        serde_json::from_slice(&fs::read(home.path().join("run.json")).unwrap()).unwrap();
    let pid = i32::try_from(run["pid"].as_i64().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    child.wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_running_treefort_there_is_no_page() {
    let model = ModelServer::start().await;
    let mut treefort = Treefort::start_with(&model, &[], AT_ONCE);
    treefort.terminate();
    let output = treefort.command(&["page", "--print"]).await;
    assert!(!output.status.success() && output.stdout.is_empty());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("treefort up"), "{said}");
}
