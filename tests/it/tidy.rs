//! The architecture as a test: who may import whom, how long a file may be, what is at the top level.

mod imports;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Modules that import nothing of ours, and that anybody may import.
const LEAVES: &[&str] = &["bucket", "home", "loopback", "ndjson", "plain_toml"];

/// Which module may import which; the table of DESIGN.md §4. Change it when the design asks for it, in the
/// commit that has the reason.
const TABLE: &[(&str, &[&str])] = &[
    ("nips", &[]),
    ("keys", &["nips"]),
    ("job", &["nips"]),
    ("workspace", &["nips"]),
    ("sandbox", &["nips"]),
    ("recipe", &["nips"]),
    ("store", &["nips", "job"]),
    ("model", &["nips", "sandbox"]),
    // What an agent built, in a browser: the way into its sandbox, and the files of its copy.
    ("preview", &["sandbox", "workspace"]),
    ("agent", &["nips", "sandbox"]),
    // The proxy of jobs that were given a network: it takes any byte stream, and knows of no session.
    ("egress", &[]),
    ("relay", &["nips", "store", "keys"]),
    ("recorder", &["nips", "keys", "workspace", "agent", "model"]),
    // `egress` for which addresses are on the internet and which are near.
    ("sync", &["nips", "store", "relay", "keys", "egress"]),
    (
        "coordinator",
        &[
            "nips",
            "keys",
            "job",
            "workspace",
            "sandbox",
            "recipe",
            "store",
            "model",
            "preview",
            "egress",
            "agent",
            "relay",
            "recorder",
        ],
    ),
    // The page: it answers for the relay's port what is not the relay's (`relay::Front`), signs with the owner's key
    // what `recorder` redacted, and keeps files as blobs (`store`).
    ("web", &["nips", "keys", "store", "relay", "recorder"]),
    // The modules that own a `Config`.
    (
        "config",
        &[
            "keys",
            "job",
            "workspace",
            "sandbox",
            "store",
            "model",
            "egress",
            "agent",
            "relay",
            "recorder",
            "sync",
            "coordinator",
        ],
    ),
    (
        "server",
        &[
            "nips",
            "keys",
            "job",
            "workspace",
            "sandbox",
            "recipe",
            "store",
            "model",
            "preview",
            "egress",
            "agent",
            "relay",
            "recorder",
            "sync",
            "coordinator",
            "web",
            "config",
        ],
    ),
    // `sandbox` to build an agent's image, which needs no server, `model` for the demo's scripted server, `relay` to count the clients of a server of its own, `recorder`
    // to cut secrets out of a question before the person's key signs it.
    (
        "cli",
        &[
            "config",
            "nips",
            "server",
            "keys",
            "recipe",
            "agent",
            "sandbox",
            "model",
            "relay",
            "recorder",
            // The file to hand on that `export` writes is the one that the page gives.
            "web",
            // What `run --network` lets an agent reach is said before it starts.
            "egress",
            // What the owner asks about sync, and the answers.
            "sync",
            // A folder that no agent may have is refused before anything starts.
            "workspace",
        ],
    ),
    // The program is the command line, and inside a container the multiplexer and the chat agent.
    ("main", &["cli", "sandbox", "agent"]),
];

/// What may be at the top level of the repository: what the owner fixed, and what the ecosystem expects.
const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "src",
    "nips",
    "relay-config",
    "agents",
    "tests",
    "README.md",
    "Cargo.lock",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "CHANGELOG.md",
    "benches",
    ".cargo",
    ".ci",
    ".clippy.toml",
    ".gitignore",
];

/// The most lines that a source file may have without a reason.
const MAX_LINES: usize = 500;

/// Files that may be longer, each with its reason.
const LONG: &[(&str, &str)] = &[];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file under a folder, sorted.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The module path of a file below `src/`: `relay/http.rs` is `["relay", "http"]`, `lib.rs` is `[]`.
fn module_path(file: &Path) -> Vec<String> {
    let mut path: Vec<String> = file
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if path
        .last()
        .is_some_and(|last| last == "mod" || (last == "lib" && path.len() == 1))
    {
        path.pop();
    }
    path
}

/// What is wrong with the imports of one file, as sentences.
fn violations(file: &str, source: &str, table: &BTreeMap<&str, &[&str]>) -> Vec<String> {
    let path = module_path(Path::new(file));
    let Some(module) = path.first() else {
        // lib.rs: only that every module it declares has a row.
        return imports::declared(source)
            .into_iter()
            .filter(|name| !table.contains_key(name.as_str()) && !LEAVES.contains(&name.as_str()))
            .map(|name| format!("{file}: module `{name}` is not in the table"))
            .collect();
    };
    let mut wrong = BTreeSet::new();
    let is_leaf = LEAVES.contains(&module.as_str());
    let allowed: &[&str] = match table.get(module.as_str()) {
        Some(allowed) => allowed,
        None if is_leaf => &[],
        None => return vec![format!("{file}: module `{module}` is not in the table")],
    };
    for target in imports::of(source, &path) {
        let known = table.contains_key(target.as_str());
        if &target == module || (LEAVES.contains(&target.as_str()) && !is_leaf) {
            continue;
        }
        if !known && !LEAVES.contains(&target.as_str()) {
            wrong.insert(format!(
                "{file}: imports `{target}`, which is no module of the table"
            ));
        } else if !allowed.contains(&target.as_str()) {
            wrong.insert(format!("{file}: `{module}` may not import `{target}`"));
        }
    }
    wrong.into_iter().collect()
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let table: BTreeMap<_, _> = TABLE.iter().copied().collect();
    let src = root().join("src");
    let wrong: Vec<String> = rust_files(&src)
        .iter()
        .flat_map(|path| {
            let file = path.strip_prefix(&src).unwrap().to_string_lossy();
            violations(&file, &fs::read_to_string(path).unwrap(), &table)
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_has_no_circle() {
    let table: BTreeMap<_, _> = TABLE.iter().copied().collect();
    fn visit(module: &str, table: &BTreeMap<&str, &[&str]>, on_way: &mut Vec<String>) {
        assert!(
            !on_way.iter().any(|seen| seen == module),
            "{} -> {module}",
            on_way.join(" -> ")
        );
        on_way.push(module.to_owned());
        for next in table[module] {
            visit(next, table, on_way);
        }
        on_way.pop();
    }
    for module in table.keys() {
        visit(module, &table, &mut Vec::new());
    }
}

#[test]
fn no_file_is_too_long() {
    let long: BTreeMap<String, usize> = ["src", "tests", "benches"]
        .iter()
        .flat_map(|folder| rust_files(&root().join(folder)))
        .filter(|path| !path.iter().any(|part| part == "node_modules"))
        .map(|path| {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            let file = path.strip_prefix(root()).unwrap();
            (file.to_string_lossy().into_owned(), lines)
        })
        .filter(|(_, lines)| *lines > MAX_LINES)
        .collect();
    let wrong: Vec<String> = long
        .iter()
        .filter(|(file, _)| !LONG.iter().any(|(known, _)| known == file))
        .map(|(file, lines)| format!("{file} has {lines} lines of {MAX_LINES}"))
        .chain(
            LONG.iter()
                .filter(|(file, _)| !long.contains_key(*file))
                .map(|(file, reason)| format!("{file} needs no reason any more ({reason})")),
        )
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_top_level_is_as_the_owner_fixed_it() {
    let extra: Vec<String> = top_level()
        .into_iter()
        .filter(|name| !TOP_LEVEL.contains(&name.as_str()))
        .collect();
    assert!(extra.is_empty(), "not in the layout: {}", extra.join(", "));
}

/// Names at the top level, as git tracks them; without git, as they are on the disk.
fn top_level() -> BTreeSet<String> {
    let tracked = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root())
        .output();
    match tracked {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout)
            .unwrap()
            .split('\0')
            .filter_map(|path| path.split('/').next())
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
        _ => fs::read_dir(root())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name != "target" && name != ".git")
            .collect(),
    }
}

#[test]
fn finds_every_spelling_of_an_import() {
    let table: BTreeMap<&str, &[&str]> = [("a", &[][..]), ("b", &[][..]), ("c", &["b"][..])].into();
    for (file, source) in [
        ("a/mod.rs", "use crate::b;"),
        ("a/mod.rs", "use crate::b::thing as other;"),
        ("a/x.rs", "pub(crate) use crate::{b::{One, Two}, a::x};"),
        ("a/x.rs", "use super::super::b::One;"),
        ("a/mod.rs", "use super::b;"),
        ("a/x.rs", "use super::{y, super::b};"),
        ("a/x.rs", "fn f() { let _ = crate::b::one(); }"),
        ("a/x.rs", "mod inner { use super::super::super::b; }"),
        ("a.rs", "fn f(x: &crate :: b :: T) {}"),
    ] {
        assert_eq!(
            violations(file, source, &table).len(),
            1,
            "{file}: {source}"
        );
    }
    for (file, source) in [
        ("c/x.rs", "use crate::{b::One, c::y, ndjson, home::Home};"),
        ("a/x.rs", "use super::b;"),
        (
            "a/x.rs",
            "// use crate::b;\n/* crate::b /* crate::b */ */ const S: &str = \"crate::b\";",
        ),
        (
            "a/x.rs",
            "const S: &str = r#\"crate::b \"quoted\" \"#; const C: char = '\"';",
        ),
        (
            "a/x.rs",
            "fn f<'a>(x: &'a str) {}\n#[cfg(test)]\nmod tests { use crate::b; }",
        ),
        ("a/x.rs", "use nostr::b; use crate::a::b;"),
        ("lib.rs", "pub mod a; mod b; pub mod ndjson;"),
    ] {
        assert_eq!(
            violations(file, source, &table),
            [""; 0],
            "{file}: {source}"
        );
    }
    assert_eq!(violations("lib.rs", "pub mod d;", &table).len(), 1);
    assert_eq!(violations("d.rs", "", &table).len(), 1);
    assert_eq!(violations("home.rs", "use crate::a;", &table).len(), 1);
    assert_eq!(violations("a.rs", "use crate::d;", &table).len(), 1);
    assert_eq!(
        violations("a.rs", "#[cfg(test)]\nmod tests {}\nuse crate::b;", &table).len(),
        1,
        "what follows the tests counts"
    );
}
