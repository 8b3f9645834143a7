use super::*;
use crate::workspace::{
    diff,
    testing::{Things, file, link, mode, store, things, tree},
};

/// The flags of every changed path.
fn flags(a: &Things, b: &Things) -> Vec<(String, Vec<Flag>)> {
    let (_dir, store) = store();
    let (a, b) = (tree(&store, a), tree(&store, b));
    diff::changes(&store, Some(&a), &b)
        .unwrap()
        .iter()
        .map(|change| {
            let path = String::from_utf8(change.path.clone()).unwrap();
            (path, of(&store, change).unwrap())
        })
        .collect()
}

fn flags_of(path: &str) -> Vec<Flag> {
    flags(&things([]), &things([(path, file("x"))])).remove(0).1
}

#[test]
fn knows_what_acts_by_itself() {
    for (path, flag) in [
        (".husky/pre-commit", Flag::GitHook),
        ("sub/.githooks/x", Flag::GitHook),
        ("tools/hooks/post-checkout", Flag::GitHook),
        (".pre-commit-config.yaml", Flag::GitHook),
        (".github/workflows/ci.yml", Flag::Ci),
        ("Jenkinsfile", Flag::Ci),
        ("Jenkinsfile.release", Flag::Ci),
        (".circleci/config.yml", Flag::Ci),
        (".gitlab-ci.yml", Flag::Ci),
        (".envrc", Flag::Envrc),
        ("sub/.ENVRC", Flag::Envrc),
        ("mise.toml", Flag::Envrc),
        (".vscode/tasks.json", Flag::Editor),
        (".idea/runConfigurations/x.xml", Flag::Editor),
        (".devcontainer/devcontainer.json", Flag::Editor),
        ("x.code-workspace", Flag::Editor),
        (".dir-locals.el", Flag::Editor),
        ("Makefile", Flag::PackageScript),
        ("lib/rules.mk", Flag::PackageScript),
        ("justfile", Flag::PackageScript),
        ("build.rs", Flag::PackageScript),
        (".cargo/config.toml", Flag::PackageScript),
        ("package.json", Flag::PackageScript),
        (".npmrc", Flag::PackageScript),
        (".yarnrc.yml", Flag::PackageScript),
        ("vite.config.ts", Flag::PackageScript),
        ("setup.py", Flag::PackageScript),
        ("tests/conftest.py", Flag::PackageScript),
        ("pyproject.toml", Flag::PackageScript),
        ("x.pth", Flag::PackageScript),
        ("gradlew", Flag::PackageScript),
        ("gradle/wrapper/gradle-wrapper.jar", Flag::PackageScript),
        ("app/build.gradle.kts", Flag::PackageScript),
        ("pom.xml", Flag::PackageScript),
        ("CMakeLists.txt", Flag::PackageScript),
        ("flake.nix", Flag::PackageScript),
        (".gitattributes", Flag::GitConfig),
        (".gitmodules", Flag::GitConfig),
        (".gitconfig", Flag::GitConfig),
        ("Dockerfile", Flag::Container),
        ("docker/Dockerfile.dev", Flag::Container),
        ("compose.yaml", Flag::Container),
        ("AGENTS.md", Flag::AgentInstructions),
        ("CLAUDE.md", Flag::AgentInstructions),
        (".cursorrules", Flag::AgentInstructions),
        (".cursor/rules/x.mdc", Flag::AgentInstructions),
        (".claude/settings.json", Flag::AgentInstructions),
        (".mcp.json", Flag::AgentInstructions),
        (".ghci", Flag::PackageScript),
        (".octaverc", Flag::PackageScript),
        (".Rprofile", Flag::PackageScript),
        (".RData", Flag::PackageScript),
        (".pnp.cjs", Flag::PackageScript),
        (".pnp.loader.mjs", Flag::PackageScript),
        (".yarn/sdks/typescript/lib/tsserver.js", Flag::PackageScript),
        (".yarn/releases/yarn-4.cjs", Flag::PackageScript),
        (".pylintrc", Flag::PackageScript),
        ("mypy.ini", Flag::PackageScript),
        ("pytest.ini", Flag::PackageScript),
        ("tox.ini", Flag::PackageScript),
        ("sitecustomize.py", Flag::PackageScript),
        (".rubocop.yml", Flag::PackageScript),
        ("phpunit.xml", Flag::PackageScript),
        (".eslintrc", Flag::PackageScript),
        ("web/.eslintrc.json", Flag::PackageScript),
        ("eslint.config.mjs", Flag::PackageScript),
        (".prettierrc.yaml", Flag::PackageScript),
        ("prettier.config.js", Flag::PackageScript),
        ("tsconfig.json", Flag::PackageScript),
        ("tsconfig.build.json", Flag::PackageScript),
        ("Makefile.am", Flag::PackageScript),
        ("configure.ac", Flag::PackageScript),
        ("meson.build", Flag::PackageScript),
        ("Taskfile.yml", Flag::PackageScript),
        ("Rakefile", Flag::PackageScript),
        ("Gemfile", Flag::PackageScript),
        ("go.work", Flag::PackageScript),
        ("go.mod", Flag::Downloads),
        ("Cargo.lock", Flag::Downloads),
        ("web/package-lock.json", Flag::Downloads),
        ("requirements-dev.txt", Flag::Downloads),
        (".env", Flag::Environment),
        (".env.local", Flag::Environment),
        (".gitignore", Flag::GitConfig),
        (".zed/tasks.json", Flag::Editor),
        (".travis.yml", Flag::Ci),
    ] {
        assert_eq!(flags_of(path), [flag], "{path}");
    }
}

#[test]
fn leaves_ordinary_files_alone() {
    for path in [
        "src/main.rs",
        "src/hooks/useState.ts",
        "README.md",
        "docs/makefile.md",
        "build/x.txt",
        "lib/package.rs",
        "src/envrc",
        "data.json",
        ".environment",
        "src/tsconfig_reader.rs",
        "eslintrc.md",
        "src/ci.rs",
        "vscode/x",
        "tests/setup.rs",
        "mk",
        "src/agents.rs",
        ".github/ISSUE_TEMPLATE.md",
    ] {
        assert_eq!(flags_of(path), [], "{path}");
    }
}

#[test]
fn a_package_json_is_flagged_when_what_it_runs_changes() {
    let change = |old: &str, new: &str| {
        let of = |text| things([("package.json", file(text))]);
        flags(&of(old), &of(new)).remove(0).1
    };
    let base = r#"{"version":"1","scripts":{"test":"x"}}"#;
    assert_eq!(
        change(base, r#"{"version":"2","scripts":{"test":"x"}}"#),
        []
    );
    for new in [
        r#"{"version":"1","scripts":{"test":"x","postinstall":"evil"}}"#,
        r#"{"version":"1","scripts":{"test":"x"},"dependencies":{"evil":"1"}}"#,
        r#"{"version":"1"}"#,
        "not json",
    ] {
        assert_eq!(change(base, new), [Flag::PackageScript], "{new}");
    }
}

#[test]
fn becoming_executable_is_flagged_once() {
    let a = things([
        ("was", mode("1", 0o755)),
        ("becomes", file("1")),
        ("gone", mode("1", 0o755)),
    ]);
    let b = things([
        ("was", mode("2", 0o755)),
        ("becomes", mode("1", 0o755)),
        ("new", mode("n", 0o700)),
        (".envrc", mode("n", 0o755)),
        ("link", link("new")),
    ]);
    let expected = [
        (".envrc", vec![Flag::Envrc, Flag::Executable]),
        ("becomes", vec![Flag::Executable]),
        ("gone", vec![]),
        ("link", vec![]),
        ("new", vec![Flag::Executable]),
        ("was", vec![]),
    ]
    .map(|(path, flags)| (path.to_owned(), flags));
    assert_eq!(flags(&a, &b), expected);
}

#[test]
fn a_link_in_the_place_of_a_folder_that_acts_is_flagged() {
    let found = flags(
        &things([]),
        &things([(".vscode", link("src/evil")), (".husky", link("x"))]),
    );
    assert_eq!(
        found
            .into_iter()
            .map(|(_, flags)| flags)
            .collect::<Vec<_>>(),
        [[Flag::GitHook], [Flag::Editor]]
    );
}

#[test]
fn the_table_is_lower_case_and_says_nothing_twice() {
    for rule in RULES {
        let (At::Name(list)
        | At::Ending(list)
        | At::Beginning(list)
        | At::Folder(list)
        | At::Path(list)) = &rule.at;
        let mut words: Vec<_> = list.split(' ').collect();
        assert!(
            words
                .iter()
                .all(|word| !word.is_empty() && *word == word.to_lowercase()),
            "{list}"
        );
        words.sort_unstable();
        words
            .windows(2)
            .for_each(|pair| assert_ne!(pair[0], pair[1]));
    }
}
