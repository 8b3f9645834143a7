//! Folders to choose from, files for a job, and bytes by their hash.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
};

use sha2::{Digest as _, Sha256};

use super::*;

fn encoded(path: &str) -> String {
    path.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

async fn listed(page: &Page, path: &str) -> Answer {
    page.get(&format!("/api/folders?path={}", encoded(path)))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_are_named_as_they_are_and_files_are_not() {
    let model = ModelServer::start().await;
    let page = Page::open(&model).await;
    let temp = tempfile::tempdir().unwrap();
    let top = fs::canonicalize(temp.path()).unwrap();
    let hostile = [
        "<img src=x onerror=alert(1)>",
        "\"quoted\"",
        "line\nbreak",
        "tab\tand\u{1b}[2Jescape",
        "\u{202e}gpj.txet",
        " spaces ",
        "a&path=b#c?d=e%2e",
        "../up",
        "日本語",
        ".hidden",
    ];
    let names: Vec<String> = hostile.iter().map(|name| name.replace('/', "∕")).collect();
    for name in &names {
        fs::create_dir(top.join(name)).unwrap();
    }
    fs::create_dir(top.join(OsStr::from_bytes(b"no \xff text"))).unwrap();
    fs::write(top.join("a file"), "x").unwrap();
    symlink(top.join("日本語"), top.join("link")).unwrap();
    symlink("/nowhere", top.join("broken")).unwrap();

    let path = top.to_str().unwrap();
    let listing = listed(&page, path).await.json();
    assert_eq!(listing["path"], path);
    assert_eq!(listing["parent"], top.parent().unwrap().to_str().unwrap());
    assert_eq!(listing["more"], false);
    let mut found: Vec<&str> = listing["folders"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(found.last(), Some(&".hidden"), "{found:?}");
    found.sort_unstable();
    let mut right: Vec<&str> = names.iter().map(String::as_str).chain(["link"]).collect();
    right.sort_unstable();
    assert_eq!(found, right);
    for name in &names {
        let below = listed(&page, &format!("{path}/{name}")).await.json();
        assert_eq!(below["path"], format!("{path}/{name}"));
        assert_eq!(below["folders"], json!([]));
    }
    // A path is said as it is in the end.
    assert_eq!(
        listed(&page, &format!("{path}/日本語/..")).await.json()["path"],
        path
    );
    let root = listed(&page, "/").await.json();
    assert_eq!(
        (&root["path"], &root["parent"]),
        (&json!("/"), &Value::Null)
    );

    for (path, status, code) in [
        (format!("{path}/nothing"), 404, "not-found"),
        (format!("{path}/a file"), 400, "bad-request"),
        ("relative".to_owned(), 400, "bad-request"),
        ("../..".to_owned(), 400, "bad-request"),
        (String::new(), 400, "bad-request"),
        ("/\0".to_owned(), 400, "bad-request"),
        (format!("/{}", "x".repeat(5000)), 400, "bad-request"),
    ] {
        let answer = listed(&page, &path).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{path:?}"
        );
    }
    let own = page.get("/api/folders").await.json();
    assert_eq!(
        own["path"],
        fs::canonicalize(std::env::home_dir().unwrap())
            .unwrap()
            .to_str()
            .unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_many_names_is_cut_and_says_so() {
    let model = ModelServer::start().await;
    let page = Page::open(&model).await;
    let temp = tempfile::tempdir().unwrap();
    for number in 0..2001 {
        fs::create_dir(temp.path().join(format!("{number:05}"))).unwrap();
    }
    let listing = listed(&page, temp.path().to_str().unwrap()).await.json();
    assert_eq!(listing["folders"].as_array().unwrap().len(), 2000);
    assert_eq!(listing["folders"][0]["name"], "00000");
    assert_eq!(listing["more"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_kept_under_its_hash() {
    let model = ModelServer::start().await;
    let page = Page::open(&model).await;
    let text = "<script>alert(1)</script>";
    let hash = hex::encode(Sha256::digest(text));
    let put = async |headers: &str| {
        page.send(
            "PUT",
            "/api/files",
            &format!("{}{headers}", page.bearer()),
            text,
        )
        .await
    };
    let name = encoded("my <b>file\".html");
    let kept = put(&format!(
        "Content-Type: text/html; charset=utf-8\r\nX-Name: {name}\r\n"
    ))
    .await
    .json();
    assert_eq!(
        kept,
        json!({"sha256": hash, "size": text.len(), "type": "text/html", "name": "my <b>file\".html"})
    );
    for (content_type, said) in [
        ("image/png", "image/png"),
        ("image/svg+xml", "image/svg+xml"),
        ("nonsense", "application/octet-stream"),
        ("a/b/c", "application/octet-stream"),
        ("text/\"><script>", "application/octet-stream"),
    ] {
        let kept = put(&format!("Content-Type: {content_type}\r\n"))
            .await
            .json();
        assert_eq!(
            (&kept["type"], &kept["name"]),
            (&json!(said), &json!("")),
            "{content_type}"
        );
    }
    for (name, said) in [
        ("a/b\\c.txt", Some("c.txt")),
        ("../../.ssh/authorized_keys", Some("authorized_keys")),
        ("a+b & c#d=e.txt", Some("a+b & c#d=e.txt")),
        ("C:\\x\\y.png", Some("y.png")),
        ("..", None),
        (".", None),
        ("a/", None),
        ("two\nlines", None),
        ("nul\0", None),
    ] {
        let answer = put(&format!("X-Name: {}\r\n", encoded(name))).await;
        match said {
            Some(said) => assert_eq!(answer.json()["name"], said, "{name}"),
            None => assert_eq!(answer.code(), "bad-request", "{name}"),
        }
    }
    let long = put(&format!("X-Name: {}\r\n", "a".repeat(256))).await;
    assert_eq!(long.status, 400);

    // No browser shows it as a page of ours.
    let blob = page.get(&format!("/api/blob/{hash}")).await;
    assert_eq!((blob.status, blob.text().as_str()), (200, text));
    assert_eq!(
        blob.header("content-type"),
        Some("application/octet-stream")
    );
    assert_eq!(blob.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(blob.header("content-disposition"), Some("attachment"));
    assert_eq!(blob.header("cache-control"), Some("no-store"));
    let path = page.treefort.home().join("blobs").join(&hash);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);

    for no_hash in [
        "",
        "..",
        "../keys/operator.key",
        "..%2Fkeys%2Foperator.key",
        "/etc/passwd",
        &hash[..63],
        &hash.to_uppercase(),
        &format!("{hash}/"),
        &"0".repeat(64),
    ] {
        let answer = page.get(&format!("/api/blob/{no_hash}")).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, "not-found"),
            "{no_hash}"
        );
    }
    fs::write(&path, "other bytes").unwrap();
    let changed = page.get(&format!("/api/blob/{hash}")).await;
    assert_eq!((changed.status, changed.code().as_str()), (500, "inside"));
}
