//! What of a folder that its agent may do anything to is shown, and what is not.

use std::os::unix::fs::symlink;

use super::*;
use crate::workspace::{Rules, Workspace};

/// A copy as an agent may leave it.
fn copy() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy");
    let tree = copy.join("tree");
    std::fs::create_dir_all(tree.join("sub/deep")).unwrap();
    std::fs::create_dir(tree.join(".git")).unwrap();
    std::fs::write(copy.join("outside"), "secret").unwrap();
    for (name, text) in [
        ("a.txt", "a"),
        ("sub/index.html", "<p>sub"),
        ("sub/deep/x y.js", "x"),
        (".env", "KEY"),
        (".git/config", "git"),
    ] {
        std::fs::write(tree.join(name), text).unwrap();
    }
    symlink("../outside", tree.join("out")).unwrap();
    symlink("..", tree.join("up")).unwrap();
    symlink("sub", tree.join("alias")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        tree.join("pipe"),
        FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    (dir, copy)
}

/// The same files on the disk and in a store.
fn roots(copy: &std::path::Path) -> [Root; 2] {
    let store = Arc::new(Store::open(&copy.join("../store")).unwrap());
    let mut workspace = Workspace::open(copy, store.clone(), Rules::default(), None).unwrap();
    let state = workspace.checkpoint("as it is", 1).unwrap();
    [
        Root::Folder(copy.join("tree")),
        Root::State(store, state.tree),
    ]
}

fn ask(files: &Files, path: &str) -> Reply {
    let parts = decode(path).as_deref().and_then(parts);
    parts.map_or(Reply::Nothing, |parts| {
        find(files, &parts, path.ends_with('/')).unwrap()
    })
}

fn text(reply: Reply) -> Option<String> {
    use std::io::Read as _;
    match reply {
        Reply::File(Content::Whole(bytes), _) => Some(String::from_utf8(bytes).unwrap()),
        Reply::File(Content::Open(mut file, size), _) => {
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text.len() as u64, size);
            Some(text)
        }
        _ => None,
    }
}

#[test]
fn files_of_the_copy_are_read_and_nothing_else_is_there() {
    let (_dir, copy) = copy();
    for root in roots(&copy) {
        let files = Files::open(root, None).unwrap();
        assert_eq!(files.folder(), "");
        for (path, content) in [
            ("/a.txt", "a"),
            ("/sub/", "<p>sub"),
            ("/sub/deep/x%20y.js", "x"),
            ("//sub/./deep/x%20y.js", "x"),
        ] {
            assert_eq!(text(ask(&files, path)).as_deref(), Some(content), "{path}");
        }
        for nothing in [
            "/out",
            "/out/",
            "/up/outside",
            "/up/",
            "/alias/index.html",
            "/pipe",
            "/.env",
            "/.git/config",
            "/.git/",
            "/sub/../a.txt",
            "/..%2foutside",
            "/%2e%2e/outside",
            "/a.txt/",
            "/a.txt/b",
            "/a%00.txt",
            "/%ff",
            "/%",
            "/%zz",
            "/none",
        ] {
            assert!(matches!(ask(&files, nothing), Reply::Nothing), "{nothing}");
        }
        assert!(matches!(ask(&files, "/sub"), Reply::ToFolder));
        let Reply::Names(names, false) = ask(&files, "/") else {
            panic!("a list");
        };
        assert_eq!(names, ["a.txt", "sub/"]);
        let long = format!("/{}", "sub/".repeat(2000));
        assert!(matches!(ask(&files, &long), Reply::Nothing));
        assert!(matches!(ask(&files, &"/sub".repeat(200)), Reply::Nothing));
    }
}

#[test]
fn the_top_is_where_the_site_is_or_where_its_owner_says() {
    let (_dir, copy) = copy();
    let tree = copy.join("tree");
    std::fs::create_dir(tree.join("dist")).unwrap();
    std::fs::write(tree.join("dist/index.html"), "built").unwrap();
    for root in roots(&copy) {
        let files = Files::open(root.clone(), None).unwrap();
        assert_eq!(files.folder(), "dist");
        assert_eq!(text(ask(&files, "/")).as_deref(), Some("built"));
        assert!(matches!(ask(&files, "/a.txt"), Reply::Nothing));
        let files = Files::open(root.clone(), Some("/sub/deep")).unwrap();
        assert!(text(ask(&files, "/x%20y.js")).is_some());
        for wrong in ["none", "a.txt", "out", "up", "../x", ".git", "alias"] {
            assert!(Files::open(root.clone(), Some(wrong)).is_err(), "{wrong}");
        }
    }
    std::fs::write(tree.join(INDEX), "top").unwrap();
    let files = Files::open(Root::Folder(tree), None).unwrap();
    assert_eq!(files.folder(), "");
}

#[tokio::test]
async fn names_are_text_in_a_list_and_lead_nowhere_else() {
    let names = [
        "<img src=x>",
        "a&\"'b/",
        "\u{202e}txt.exe",
        "//evil.example",
    ];
    let response = list(&names.map(str::to_owned), true);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(
        !body.contains("<img") && !body.contains('\u{202e}'),
        "{body}"
    );
    assert!(body.contains("href=\"./a%26%22%27b/\""), "{body}");
    assert!(body.contains("href=\"./%2F%2Fevil.example\""), "{body}");
    assert!(body.contains("There are more."));
    let to = to_folder(&["a b".to_owned(), "c".to_owned()]);
    assert_eq!(to.headers()["location"], "/a%20b/c/");
    assert_eq!(to_folder(&[]).headers()["location"], "/");
}
