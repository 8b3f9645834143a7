//! The files of a copy, without any program of the agent's.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_a_copy_are_a_site_now_and_as_they_were() {
    let fort = fort("auto", 0).await;
    fort.write("index.html", "<p>before");
    fort.write("img/a.svg", "<svg/>");
    fort.write(".env", "KEY=1");
    fort.run("echo after > index.html; ln -s /etc/passwd out; ln -s ../../.. up; claims edit index.html; says done")
        .await
        .ok();
    let said = fort.preview(&["--static"]).await.ok();
    let answer = said.json();
    assert_eq!(answer["folder"], "");
    assert!(answer["port"].is_null());
    let now = Opened::by(answer["url"].as_str().unwrap()).await;
    let page = now.get("/").await;
    assert_eq!((page.status, page.text().as_str()), (200, "after\n"));
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    let policy = &page.headers["content-security-policy"];
    assert!(policy.starts_with("default-src 'self'"), "{policy}");
    let image = now.get("/img/a.svg").await;
    assert_eq!(image.headers["content-type"], "image/svg+xml");
    assert_eq!(now.ask("HEAD", "/", &[]).await.body, b"");
    assert_eq!(now.get("/img").await.headers["location"], "/img/");
    let list = now.get("/img/").await.text();
    assert!(list.contains("<a href=\"./a.svg\">a.svg</a>"), "{list}");
    for path in [
        "/out",
        "/up/",
        "/up/home",
        "/.env",
        "/.git/config",
        "/../../keys/operator.key",
        "/%2e%2e/about.json",
    ] {
        let answer = now.get(path).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
    assert_eq!(now.ask("POST", "/", &[]).await.status, 405);
    assert_eq!(now.ask("DELETE", "/a.txt", &[]).await.status, 405);

    // At a checkpoint, and in a folder: previews of their own.
    let first = fort.opened(&["--static", "--at", "1"]).await;
    assert_eq!(first.get("/").await.text(), "<p>before");
    assert_ne!(first.host, now.host);
    let other = [
        ("Host", now.host.as_str()),
        ("Cookie", first.cookie.as_str()),
    ];
    let mixed = wire::send(now.address, &wire::request("GET", "/", &other)).await;
    assert_eq!(mixed.status, 403, "one's key opens no other");
    let folder = fort.opened(&["--static", "--folder", "img"]).await;
    assert_eq!(folder.get("/a.svg").await.status, 200);
    fort.preview(&["--static", "--folder", "../.."])
        .await
        .fails(1, "no such folder");
    fort.preview(&["--static", "--at", "99"])
        .await
        .fails(1, "there is no checkpoint 99");
    fort.preview(&["--port", "0"]).await.fails(2, "");
    fort.preview(&["--port", "80", "--static"])
        .await
        .fails(2, "");

    // It shows what is there, and goes with the copy.
    let copy = fort.copy().await;
    std::fs::write(copy.join("index.html"), "later").unwrap();
    assert_eq!(now.get("/").await.text(), "later");
    fort.say(&["discard", "--yes"]).await.ok();
    assert!(tokio::net::TcpStream::connect(now.address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_shows_a_link_and_stays_until_it_is_interrupted() {
    let fort = fort("auto", 0).await;
    fort.write("index.html", "hello");
    fort.run("says done").await.ok();
    let mut command = fort.command(fort.project.path(), &["preview", "--static"]);
    let mut child = command.spawn().unwrap();
    let mut out = tokio::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut out, &mut line)
        .await
        .unwrap();
    let preview = Opened::by(line.trim()).await;
    assert_eq!(preview.get("/").await.text(), "hello");
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::INT,
    )
    .unwrap();
    let status = tokio::time::timeout(PATIENCE, child.wait())
        .await
        .unwrap()
        .unwrap();
    assert!(status.success(), "{status}");
    assert!(
        tokio::net::TcpStream::connect(preview.address)
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_treefort_of_its_own_a_preview_lasts_as_long_as_its_command() {
    let mut fort = fort("auto", 0).await;
    fort.write("index.html", "hello");
    fort.run("says done").await.ok();
    fort.treefort.terminate();
    fort.preview(&["--static"])
        .await
        .fails(6, "for this command alone");
    fort.treefort.up();
}
