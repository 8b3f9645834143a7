//! The folder of an agent: everything that is wrong with it ([`check`]), and a new one ([`create`]).

use std::io;
use std::path::{Path, PathBuf};

use super::manifest::{Error, Manifest, Problem};

/// The manifest's name in an agent's folder.
pub const MANIFEST: &str = "agent.toml";
/// The largest file that is read.
const MAX_FILE: u64 = 1024 * 1024;
/// A new agent's files; `NAME` in them is its name.
const TEMPLATE: &[(&str, &str, u32)] = &[
    (
        MANIFEST,
        include_str!("../../agents/template/agent.toml"),
        0o644,
    ),
    (
        "Dockerfile",
        include_str!("../../agents/template/Dockerfile"),
        0o644,
    ),
    (
        "agent.sh",
        include_str!("../../agents/template/agent.sh"),
        0o755,
    ),
];

/// One thing that is wrong, and in which file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub path: PathBuf,
    /// What.
    pub problem: Problem,
}

/// What the agent in a folder may read of this computer without an image, beside the system, and where that is
/// inside; nothing when its manifest is not right.
#[must_use]
pub fn reads(folder: &Path) -> Vec<(String, String)> {
    let text = read(&folder.join(MANIFEST)).unwrap_or_default();
    let manifest = Manifest::parse(&text).ok();
    let host = manifest.and_then(|manifest| manifest.embedded);
    host.map(|host| host.reads.into_iter().collect())
        .unwrap_or_default()
}

/// Everything that is wrong with the agent in a folder; `home` is treefort's own.
#[must_use]
pub fn check(folder: &Path, home: &Path) -> Vec<Finding> {
    let path = folder.join(MANIFEST);
    let found = |path: &Path, problem| Finding {
        path: path.to_owned(),
        problem,
    };
    let text = match read(&path) {
        Ok(text) => text,
        Err(error) => return vec![found(&path, unreadable(&error))],
    };
    let manifest = match Manifest::parse(&text) {
        Ok(manifest) => manifest,
        Err(Error::Invalid { problems }) => {
            return problems
                .into_iter()
                .map(|problem| found(&path, problem))
                .collect();
        }
        Err(error) => return vec![found(&path, problem(1, "", &error.to_string(), ""))],
    };
    let mut findings = Vec::new();
    let called = folder.canonicalize().ok();
    let called = called.as_deref().and_then(Path::file_name);
    if called.is_none_or(|name| name != manifest.name.as_str()) {
        let message = format!("is {:?}, which is not the folder's name", manifest.name);
        let fix = "rename one of them";
        findings.push(found(
            &path,
            problem(line_of(&text, "name"), "name", &message, fix),
        ));
    }
    let host = manifest.embedded.as_ref();
    for refused in host.into_iter().flat_map(|host| host.refused(Some(home))) {
        let names_it = |line: &str| line.contains(&refused.name);
        let line = text.lines().position(names_it).map_or(1, |at| at + 1);
        let field = format!("embedded.{}.{}", refused.table, refused.name);
        let fix = "change or remove the line";
        findings.push(found(&path, problem(line, &field, &refused.why, fix)));
    }
    let dockerfile = folder.join(&manifest.image.dockerfile);
    match read(&dockerfile) {
        Ok(text) => findings.extend(
            dockerfile_problems(&manifest, &text)
                .into_iter()
                .map(|problem| found(&dockerfile, problem)),
        ),
        Err(error) => findings.push(found(&dockerfile, unreadable(&error))),
    }
    findings
}

/// What would make a build fail, or a container that cannot start.
fn dockerfile_problems(manifest: &Manifest, text: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let joined = text.replace("\\\n", " ");
    let words =
        |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
    let lines: Vec<Vec<String>> = joined.lines().map(words).collect();
    let last = text.lines().count().max(1);
    let from = |line: &&Vec<String>| {
        line.first()
            .is_some_and(|word| word.eq_ignore_ascii_case("FROM"))
    };
    if !lines.iter().any(|line| from(&line)) {
        problems.push(problem(
            1,
            "",
            "builds on nothing",
            "FROM ${BASE}, or FROM scratch",
        ));
    }
    let uses_base = lines
        .iter()
        .filter(from)
        .any(|line| line.iter().any(|word| word == "${BASE}" || word == "$BASE"));
    if manifest.image.base && !uses_base {
        let fix =
            "ARG BASE before the first FROM, then FROM ${BASE}; or base = false in agent.toml";
        problems.push(problem(1, "", "does not use treefort's base", fix));
    }
    let copies = |line: &Vec<String>| {
        let copy = line
            .first()
            .is_some_and(|word| word.eq_ignore_ascii_case("COPY"));
        copy && line.last().is_some_and(|to| to == "/treefort")
    };
    if !lines.iter().any(copies) {
        let message = "does not put treefort's first process into the image";
        problems.push(problem(last, "", message, "COPY treefort /treefort"));
    }
    problems
}

/// Why a new agent was not written.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Something is there already.
    #[error("{} is there already", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// A file cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// Writes a new agent, which works as it is, into `<parent>/<name>`; nothing is overwritten.
///
/// # Errors
///
/// [`CreateError`].
pub fn create(parent: &Path, name: &str) -> Result<PathBuf, CreateError> {
    let folder = parent.join(name);
    let fail = |path: &Path, source| CreateError::Write {
        path: path.to_owned(),
        source,
    };
    std::fs::create_dir_all(parent).map_err(|source| fail(parent, source))?;
    match std::fs::create_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(CreateError::Exists { path: folder });
        }
        made => made.map_err(|source| fail(&folder, source))?,
    }
    for (file, text, mode) in TEMPLATE {
        let path = folder.join(file);
        write(&path, &text.replace("NAME", name), *mode).map_err(|source| fail(&path, source))?;
    }
    Ok(folder)
}

#[cfg(unix)]
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(not(unix))]
fn write(path: &Path, text: &str, _mode: u32) -> io::Result<()> {
    std::fs::write(path, text)
}

fn read(path: &Path) -> io::Result<String> {
    if std::fs::metadata(path)?.len() > MAX_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    std::fs::read_to_string(path)
}

fn unreadable(error: &io::Error) -> Problem {
    problem(1, "", &format!("cannot be read: {error}"), "")
}

fn problem(line: usize, field: &str, message: &str, fix: &str) -> Problem {
    Problem {
        line,
        field: field.to_owned(),
        message: message.to_owned(),
        fix: fix.to_owned(),
    }
}

fn line_of(text: &str, key: &str) -> usize {
    let is_key = |line: &str| {
        line.trim_start()
            .strip_prefix(key)
            .is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    text.lines().position(is_key).map_or(1, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_agent_has_nothing_wrong_and_is_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let folder = create(&dir.path().join("agents"), "my-agent").unwrap();
        assert_eq!(check(&folder, Path::new("/no/home")), []);
        let agent = crate::agent::registry::read(&folder).unwrap();
        assert_eq!(agent.manifest.name, "my-agent");
        std::fs::write(folder.join("agent.sh"), "mine").unwrap();
        let again = create(&dir.path().join("agents"), "my-agent");
        assert!(matches!(again, Err(CreateError::Exists { .. })));
        assert_eq!(
            std::fs::read_to_string(folder.join("agent.sh")).unwrap(),
            "mine"
        );
    }

    #[test]
    fn the_template_shows_every_field_with_its_default_or_a_reason_to_change_it() {
        let text = TEMPLATE[0].1;
        for field in super::super::manifest::fields() {
            assert!(
                text.lines()
                    .any(|line| line.trim_start_matches(['#', ' ', '[']).starts_with(field)),
                "{field} is not in the template"
            );
        }
    }

    #[test]
    fn lines_that_no_sandbox_follows_are_found_and_the_others_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().canonicalize().unwrap();
        let folder = create(&home.join("agents"), "mine").unwrap();
        let manifest = folder.join(MANIFEST);
        let text = std::fs::read_to_string(&manifest).unwrap();
        let own = home.join("keys");
        let with = |reads: &str| {
            let text = format!("{text}\n[embedded.reads]\n{reads}\n");
            std::fs::write(&manifest, text).unwrap();
            (check(&folder, &home), super::reads(&folder))
        };
        let (found, told) = with("\"/opt/jdk\" = \"/opt/jdk\"");
        assert_eq!(found, []);
        assert_eq!(told, [("/opt/jdk".to_owned(), "/opt/jdk".to_owned())]);
        let (found, _) = with(&format!("{own:?} = \"/k\"\n\"/opt/x\" = \"/treefort\""));
        let fields: Vec<_> = found.iter().map(|found| &found.problem.field).collect();
        assert_eq!(fields.len(), 2, "{found:?}");
        assert!(found[0].problem.message.contains("its keys are there"));
        assert!(found.iter().all(|found| found.problem.line > 1));
    }

    #[test]
    fn finds_what_is_wrong_beyond_the_manifest() {
        let dir = tempfile::tempdir().unwrap();
        let folder = create(dir.path(), "one").unwrap();
        let other = dir.path().join("two");
        std::fs::rename(&folder, &other).unwrap();
        std::fs::write(other.join("Dockerfile"), "FROM scratch\nCOPY x /x\n").unwrap();
        let found: Vec<String> = check(&other, Path::new("/no/home"))
            .iter()
            .map(|finding| {
                let file = finding.path.file_name().unwrap().to_string_lossy();
                format!("{file}: {}", finding.problem)
            })
            .collect();
        assert_eq!(
            found,
            [
                "agent.toml: line 9: name is \"one\", which is not the folder's name (rename one of them)",
                "Dockerfile: line 1: does not use treefort's base (ARG BASE before the first FROM, then FROM ${BASE}; \
                 or base = false in agent.toml)",
                "Dockerfile: line 2: does not put treefort's first process into the image (COPY treefort /treefort)",
            ]
        );
        std::fs::remove_file(other.join("Dockerfile")).unwrap();
        assert!(
            check(&other, Path::new("/no/home"))[1]
                .problem
                .message
                .starts_with("cannot be read")
        );
        assert!(
            check(dir.path(), Path::new("/no/home"))[0]
                .problem
                .message
                .starts_with("cannot be read")
        );
    }
}
