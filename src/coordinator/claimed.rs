//! What an agent says that its tools did, read for what it means to files.

use nostr::EventId;

use super::opening::excerpt;
use crate::{
    agent::claims::{Tool, ToolContent},
    recorder::Redactor,
    sandbox::WORKSPACE,
};

/// Tools that run at once, of which more is known than that they ended.
const RUNNING: usize = 64;
/// Paths that one claim may name, and bytes of them.
const PATHS: usize = 100;
const PATH_BYTES: usize = 32 * 1024;

/// What an agent says that a tool did to files.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) event: EventId,
    /// The call that it is about.
    pub(super) call: String,
    pub(super) title: String,
    pub(super) paths: Vec<Vec<u8>>,
    /// Whether it may have changed files that it does not name.
    pub(super) anything: bool,
}

impl Claimed {
    /// A command that the host ran.
    pub(super) fn command(redactor: &Redactor, event: EventId, command: &str) -> Self {
        Self {
            event,
            call: String::new(),
            title: excerpt(redactor, command),
            paths: Vec::new(),
            anything: true,
        }
    }

    /// The claim of a tool that ended, if it may have changed files.
    pub(super) fn of(redactor: &Redactor, event: EventId, tool: &Tool) -> Option<Self> {
        let anything = may_change_anything(tool);
        let changed = match tool.status.as_deref() {
            Some("completed") => may_change(tool),
            // A command that failed did something until then; an edit that failed did nothing.
            Some("failed") => anything,
            _ => false,
        };
        if !changed {
            return None;
        }
        Some(Self {
            event,
            call: tool.id.clone(),
            title: did(redactor, tool),
            paths: paths(tool),
            anything,
        })
    }
}

/// Tools that an agent says it began and that have not ended, as far as they may change files.
#[derive(Debug, Default)]
pub(super) struct Running(Vec<Tells>);

/// What a tool that runs may change.
#[derive(Debug)]
struct Tells {
    id: String,
    paths: Vec<Vec<u8>>,
    anything: bool,
}

impl Running {
    /// Takes in news of a tool, with what was said of it before.
    pub(super) fn hear(&mut self, whole: &Tool) {
        self.0.retain(|known| known.id != whole.id);
        let ended = matches!(whole.status.as_deref(), Some("completed" | "failed"));
        if !ended && !whole.id.is_empty() && may_change(whole) && self.0.len() < RUNNING {
            self.0.push(Tells {
                id: whole.id.clone(),
                paths: paths(whole),
                anything: may_change_anything(whole),
            });
        }
    }

    /// The calls that may be at this path right now.
    pub(super) fn at(&self, path: &[u8]) -> Vec<String> {
        let at_it = |tool: &&Tells| tool.anything || tool.paths.iter().any(|named| named == path);
        self.0
            .iter()
            .filter(at_it)
            .map(|tool| tool.id.clone())
            .collect()
    }

    /// Whether one of these calls has not ended.
    pub(super) fn any(&self, calls: &[String]) -> bool {
        self.0.iter().any(|tool| calls.contains(&tool.id))
    }

    /// The turn is over.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Whether a tool may change files that it does not name.
fn may_change_anything(tool: &Tool) -> bool {
    may_change(tool) && !matches!(tool.kind.as_deref(), Some("edit" | "delete" | "move"))
}

/// What an agent says that it did with a tool, after "it".
pub(super) fn did(redactor: &Redactor, tool: &Tool) -> String {
    let (_, did, what) = deed(redactor, tool);
    format!("{did} {what}")
}

/// What an agent wants to do with a tool, after "it wants to".
pub(super) fn wish(redactor: &Redactor, tool: &Tool) -> String {
    let (does, _, what) = deed(redactor, tool);
    format!("{does} {what}")
}

/// What a tool is for: in the present, in the past, and with what.
fn deed(redactor: &Redactor, tool: &Tool) -> (&'static str, &'static str, String) {
    let title = tool.title.as_deref().unwrap_or("a tool");
    let nothing = |old: &Option<String>| old.as_deref().is_none_or(str::is_empty);
    let new = matches!(&tool.content[..], [ToolContent::Diff { old, .. }] if nothing(old))
        || tool.raw.pointer("/rawInput/content").is_some()
        || title == "write";
    let path = || {
        paths(tool).first().map_or_else(
            || excerpt(redactor, title),
            |path| excerpt(redactor, &String::from_utf8_lossy(path)),
        )
    };
    match tool.kind.as_deref() {
        Some("edit") if new => ("write", "wrote", path()),
        Some("edit") => ("edit", "edited", path()),
        Some("delete") => ("delete", "deleted", path()),
        Some("move") => ("move", "moved", path()),
        Some("read") => ("read", "read", path()),
        Some("execute") => {
            let command = tool.raw.pointer("/rawInput/command");
            let command = command.and_then(serde_json::Value::as_str).unwrap_or(title);
            ("run", "ran", format!("`{}`", excerpt(redactor, command)))
        }
        Some("search") => ("search for", "searched for", excerpt(redactor, title)),
        Some("fetch") => ("fetch", "fetched", excerpt(redactor, title)),
        _ => ("use", "used", excerpt(redactor, title)),
    }
}

/// An option's kind, if it is one of the protocol's.
pub(super) fn known_kind(kind: &str) -> &str {
    match kind {
        "allow_once" | "allow_always" | "reject_once" | "reject_always" => kind,
        _ => "other",
    }
}

/// Whether a tool that ended may have changed files.
pub(super) fn may_change(tool: &Tool) -> bool {
    !matches!(
        tool.kind.as_deref(),
        Some("read" | "search" | "think" | "fetch" | "switch_mode")
    )
}

/// The paths that a tool names, below the workspace.
fn paths(tool: &Tool) -> Vec<Vec<u8>> {
    let input = tool.raw.get("rawInput");
    let named = ["filePath", "file_path", "path", "abs_path", "absolute_path"]
        .iter()
        .filter_map(|key| input?.get(key)?.as_str());
    let located = tool.locations.iter().map(|at| at.path.as_str());
    let changed = tool.content.iter().filter_map(|content| match content {
        ToolContent::Diff { path, .. } => Some(path.as_str()),
        _ => None,
    });
    let mut paths: Vec<Vec<u8>> = named
        .chain(located)
        .chain(changed)
        .take(PATHS)
        .map(|path| {
            let inside = path.strip_prefix(WORKSPACE).unwrap_or(path);
            inside
                .trim_start_matches("./")
                .trim_start_matches('/')
                .as_bytes()
                .to_vec()
        })
        .collect();
    paths.sort();
    paths.dedup();
    let mut room = PATH_BYTES;
    paths.retain(|path| {
        let fits = path.len() <= room;
        room -= if fits { path.len() } else { 0 };
        fits
    });
    paths
}

/// Which claim covers a change: one that names the path, else a command, which can change anything.
pub(super) fn who_claimed<'a>(claims: &'a [Claimed], path: &[u8]) -> Option<&'a Claimed> {
    let names = |claimed: &&Claimed| claimed.paths.iter().any(|named| named == path);
    claims
        .iter()
        .rfind(names)
        .or_else(|| claims.iter().rfind(|claimed| claimed.anything))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agent::claims::tool;

    fn claimed(kind: &str, path: &str) -> Claimed {
        let tool = tool(
            json!({"toolCallId": "c", "kind": kind, "status": "completed",
            "rawInput": {"filePath": path}}),
        );
        Claimed {
            event: EventId::all_zeros(),
            call: String::new(),
            title: String::new(),
            paths: paths(&tool),
            anything: kind == "execute",
        }
    }

    #[test]
    fn a_claim_names_paths_below_the_workspace() {
        let tool = tool(json!({"toolCallId": "c", "kind": "edit",
            "rawInput": {"filePath": "/workspace/src/a.rs"},
            "locations": [{"path": "./b.txt"}, {"path": "/workspace/src/a.rs"}],
            "content": [{"type": "diff", "path": "c", "newText": "x"}]}));
        let expected: Vec<Vec<u8>> = ["b.txt", "c", "src/a.rs"].map(|p| p.into()).into();
        assert_eq!(paths(&tool), expected);
    }

    #[test]
    fn what_it_did_is_told_without_half_a_secret() {
        let redactor = Redactor::new(Vec::new());
        let command = format!("{}AKIAIOSFODNN7EXAMPLE", "x ".repeat(65));
        let kinds = ["execute", "search", "other"];
        for kind in kinds {
            let tool = tool(json!({"toolCallId": "c", "kind": kind, "title": command,
                "rawInput": {"command": command}}));
            let told = did(&redactor, &tool);
            assert!(told.contains('x') && !told.contains("AKIA"), "{told}");
        }
    }

    #[test]
    fn a_claim_keeps_no_more_paths_than_it_may() {
        let content: Vec<_> = (0..PATHS)
            .map(|n| json!({"type": "diff", "path": format!("{n}{}", "x".repeat(9999)), "newText": ""}))
            .collect();
        let tool = tool(json!({"toolCallId": "c", "kind": "edit", "content": content}));
        assert_eq!(paths(&tool).len(), PATH_BYTES / 10_000);
    }

    #[test]
    fn a_command_may_have_changed_anything_and_an_edit_what_it_names() {
        let edit = [claimed("edit", "/workspace/a")];
        assert!(who_claimed(&edit, b"a").is_some());
        assert!(who_claimed(&edit, b"b").is_none());
        let both = [claimed("edit", "/workspace/a"), claimed("execute", "")];
        assert!(!who_claimed(&both, b"a").unwrap().anything);
        assert!(who_claimed(&both, b"b").unwrap().anything);
    }

    #[test]
    fn tools_that_run_may_be_at_what_they_name_and_commands_at_anything() {
        let redactor = Redactor::new(Vec::new());
        let mut running = Running::default();
        let say = |json| tool(json);
        running.hear(&say(
            json!({"toolCallId": "e", "kind": "edit", "status": "in_progress",
            "rawInput": {"filePath": "/workspace/a"}}),
        ));
        running.hear(&say(
            json!({"toolCallId": "r", "kind": "read", "status": "pending"}),
        ));
        assert_eq!(running.at(b"a"), ["e"]);
        assert!(running.at(b"b").is_empty());
        running.hear(&say(
            json!({"toolCallId": "x", "kind": "execute", "status": "pending"}),
        ));
        assert_eq!(running.at(b"b"), ["x"]);
        let done = say(
            json!({"toolCallId": "e", "kind": "edit", "status": "completed",
            "rawInput": {"filePath": "/workspace/a"}}),
        );
        running.hear(&done);
        assert!(!running.any(&["e".into()]) && running.any(&["e".into(), "x".into()]));
        let claimed = Claimed::of(&redactor, EventId::all_zeros(), &done).unwrap();
        assert_eq!((claimed.paths.len(), claimed.anything), (1, false));
        // A command that failed did something; an edit that failed did not.
        let failed = say(json!({"toolCallId": "x", "kind": "execute", "status": "failed"}));
        assert!(
            Claimed::of(&redactor, EventId::all_zeros(), &failed)
                .unwrap()
                .anything
        );
        let edit = tool(json!({"toolCallId": "f", "kind": "edit", "status": "failed"}));
        assert!(Claimed::of(&redactor, EventId::all_zeros(), &edit).is_none());
    }
}
