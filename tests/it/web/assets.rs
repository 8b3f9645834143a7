//! What is served to everyone on this machine: the built page, under its policy.

use std::{fs, path::Path};

use sha2::{Digest as _, Sha256};

use super::*;

const FILES: [(&str, &str, &str); 4] = [
    ("/", "index.html", "text/html; charset=utf-8"),
    ("/app.js", "app.js", "text/javascript; charset=utf-8"),
    ("/app.css", "app.css", "text/css; charset=utf-8"),
    ("/icon.svg", "icon.svg", "image/svg+xml"),
];

fn web() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/web")
}

#[tokio::test(flavor = "multi_thread")]
async fn assets_are_what_was_built_and_nothing_else_runs() {
    let model = ModelServer::start().await;
    let page = Page::open(&model).await;
    let own = page.address().to_owned();
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self' \
         ws://{own}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'"
    );
    let guarded = |answer: &Answer| {
        for (name, value) in [
            ("content-security-policy", policy.as_str()),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{}", answer.head);
        }
        for name in [
            "set-cookie",
            "access-control-allow-origin",
            "x-powered-by",
            "server",
        ] {
            assert_eq!(answer.header(name), None);
        }
    };
    for (path, file, content_type) in FILES {
        let answer = page.send("GET", path, "", "").await;
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.body,
            fs::read(web().join("assets").join(file)).unwrap()
        );
        assert_eq!(answer.header("content-type"), Some(content_type));
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
        guarded(&answer);

        let tag = answer.header("etag").unwrap().to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}")] {
            let again = page
                .send("GET", path, &format!("If-None-Match: {known}\r\n"), "")
                .await;
            assert_eq!((again.status, again.body.len()), (304, 0), "{known}");
            assert_eq!(again.header("etag"), Some(tag.as_str()));
            guarded(&again);
        }
        let another = page
            .send("GET", path, "If-None-Match: \"other\"\r\n", "")
            .await;
        assert_eq!(another.status, 200);
        let head = page.send("HEAD", path, "", "").await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(
            head.header("content-length"),
            answer.header("content-length")
        );
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let refused = page.send(method, path, "", "").await;
            assert_eq!(
                (refused.status, refused.header("allow")),
                (405, Some("GET, HEAD"))
            );
            guarded(&refused);
        }
    }
    // Answers of the API, refusals too, and what is not there.
    for answer in [
        page.get("/api/who").await,
        page.get("/api/nothing").await,
        page.send("GET", "/api/who", "", "").await,
        page.send("GET", "/nothing", "", "").await,
        page.send("GET", "/app.js/", "", "").await,
        page.send("GET", "//app.js", "", "").await,
        page.send("GET", "/../Cargo.toml", "", "").await,
    ] {
        guarded(&answer);
        assert_eq!(
            answer.header("cache-control"),
            Some("no-store"),
            "{}",
            answer.head
        );
        assert!(matches!(answer.status, 200 | 401 | 404), "{}", answer.head);
    }
    for (path, right) in [
        ("/api/who", "GET, HEAD"),
        ("/api/folders", "GET, HEAD"),
        ("/api/blob/00", "GET, HEAD"),
        ("/api/share/00", "GET, HEAD"),
        ("/api/sign", "POST"),
        ("/api/decrypt", "POST"),
        ("/api/link", "POST"),
        ("/api/demo", "POST"),
        ("/api/enter", "POST"),
        ("/api/files", "PUT"),
    ] {
        for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS"] {
            if !right.contains(method) {
                let refused = page.ask(method, path, "").await;
                assert_eq!(
                    (refused.status, refused.code().as_str()),
                    (405, "method"),
                    "{method} {path}"
                );
                assert_eq!(refused.header("allow"), Some(right));
            }
        }
    }
    assert_eq!(page.ask("HEAD", "/api/who", "").await.body.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_opens_from_anywhere_and_stands_in_no_other_page() {
    let model = ModelServer::start().await;
    let page = Page::open(&model).await;
    let navigation = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
    let frame = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n";
    let script = "Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: script\r\n";
    for (path, site, how, status) in [
        // From the file of `treefort page`, a bookmark, and itself.
        ("/", "cross-site", navigation, 200),
        ("/", "same-site", navigation, 200),
        ("/", "none", navigation, 200),
        ("/", "same-origin", navigation, 200),
        ("/app.js", "same-origin", script, 200),
        ("/app.js", "none", navigation, 200),
        ("/", "cross-site", frame, 403),
        ("/", "same-site", frame, 403),
        (
            "/",
            "cross-site",
            "Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n",
            403,
        ),
        (
            "/",
            "cross-site",
            "Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n",
            403,
        ),
        ("/", "cross-site", "", 403),
        ("/app.js", "cross-site", script, 403),
        ("/app.js", "same-site", script, 403),
        ("/app.js", "cross-site", navigation, 403),
        ("/nothing", "cross-site", navigation, 403),
    ] {
        let headers = format!("Sec-Fetch-Site: {site}\r\n{how}");
        let answer = page.send("GET", path, &headers, "").await;
        assert_eq!(answer.status, status, "{path} {headers}");
    }
    // A form that is sent to the page from elsewhere.
    let form =
        format!("Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\n{navigation}");
    assert_eq!(page.send("POST", "/", &form, "").await.status, 403);
    assert_eq!(
        page.send("GET", "/", "Host: evil.example\r\n", "")
            .await
            .status,
        403
    );
}

/// Every file of the sources, by the rule at the head of `build.mjs`.
fn sources(folder: &Path, below: &str, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{below}{name}");
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && name != "node_modules" {
            sources(&entry.path(), &format!("{path}/"), found);
        } else if kind.is_file() {
            found.push((path, fs::read(entry.path()).unwrap()));
        }
    }
}

#[test]
fn assets_were_built_from_the_sources_beside_them() {
    let mut found = Vec::new();
    sources(&web().join("page"), "", &mut found);
    found.sort();
    assert!(found.iter().any(|(path, _)| path == "build.mjs"));
    let mut hash = Sha256::new();
    for (path, bytes) in found {
        hash.update(format!("{path}\0{}\0", bytes.len()));
        hash.update(bytes);
    }
    let built_from = fs::read_to_string(web().join("assets/sources.sha256")).unwrap();
    assert_eq!(
        built_from,
        format!("{}\n", hex::encode(hash.finalize())),
        "src/web/page was changed after src/web/assets was built: npm ci && npm run build there, and commit both"
    );
}

#[test]
fn nothing_in_the_page_comes_from_elsewhere() {
    let html = fs::read_to_string(web().join("assets/index.html")).unwrap();
    for inline in [
        "<style",
        "style=",
        "onclick",
        "onload",
        "javascript:",
        "http:",
        "https:",
        "//",
    ] {
        assert!(!html.contains(inline), "{inline}");
    }
    for script in html.split("<script").skip(1) {
        assert!(script.trim_start().starts_with("src=\"/"), "{script}");
    }
}
