//! What an agent says about itself and its work: claims, not facts (DESIGN.md #7).
//!
//! [`from_update`] maps the ACP v1 `SessionUpdate` kinds. Nothing is dropped: a kind or a shape that
//! is not known survives as [`Claim::Other`] with its raw JSON, and typed claims about tools keep
//! theirs.

use std::collections::VecDeque;

use serde_json::Value;

pub use super::permission::Answer;

/// One thing that an agent said.
#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    /// A piece of its message (`agent_message_chunk` with text). Pieces join without a separator.
    Text(String),
    /// A piece of its thinking (`agent_thought_chunk` with text).
    Thought(String),
    /// It calls a tool (`tool_call`).
    ToolCall(Tool),
    /// News about a tool call (`tool_call_update`); absent fields are unchanged.
    ToolUpdate(Tool),
    /// Its plan, whole (`plan`).
    Plan(Vec<PlanEntry>),
    /// It asked for permission; it may still wait for the answer.
    Permission(Permission),
    /// What it says about its context and cost (`usage_update`).
    Usage(Usage),
    /// Anything else: an unknown update, notification or request, or content that is not text.
    Other {
        /// The update's kind or the method's name.
        kind: String,
        /// The whole update, or the parameters.
        raw: Value,
    },
    /// A line that is not JSON, or JSON that is not a message.
    NotJson(String),
}

/// A tool call or news about one.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// The call's id; empty when the agent gave none.
    pub id: String,
    /// A title for people.
    pub title: Option<String>,
    /// read, edit, delete, move, search, execute, think, fetch, switch_mode, other.
    pub kind: Option<String>,
    /// pending, in_progress, completed, failed.
    pub status: Option<String>,
    /// What it produced.
    pub content: Vec<ToolContent>,
    /// Files that it names.
    pub locations: Vec<Location>,
    /// The update as it came: `rawInput`, `rawOutput`, `_meta` and what we do not know.
    pub raw: Value,
}

/// A piece of a tool call's content.
#[derive(Debug, Clone, PartialEq)]
pub enum ToolContent {
    /// Text.
    Text(String),
    /// A change to a file, as the agent tells it.
    Diff {
        /// The path as the agent sees it.
        path: String,
        /// The text before; `None` for a new file.
        old: Option<String>,
        /// The text after.
        new: String,
    },
    /// A terminal's id.
    Terminal(String),
    /// Anything else, raw.
    Other(Value),
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The path as the agent sees it.
    pub path: String,
    /// The line, from 1 where the agent keeps to the protocol.
    pub line: Option<u64>,
}

/// One entry of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanEntry {
    /// What is to be done.
    pub content: String,
    /// high, medium, low; empty when not given.
    pub priority: String,
    /// pending, in_progress, completed; empty when not given.
    pub status: String,
}

/// A request for permission and its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Permission {
    /// The tool call in question.
    pub tool: Tool,
    /// What the agent is told, and the way to tell it.
    pub answer: Answer,
    /// The request's parameters as they came.
    pub raw: Value,
}

/// What an agent says about its use of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// Tokens in its context.
    pub used: Option<u64>,
    /// The size of its context.
    pub size: Option<u64>,
    /// Amount and currency.
    pub cost: Option<(f64, String)>,
}

/// The tool calls of a session, whole: an update names only what is new.
#[derive(Debug, Default)]
pub struct Calls {
    calls: VecDeque<Tool>,
}

/// Calls that are remembered; agents make few at once.
const CALLS: usize = 64;
/// Bytes of a call's id, of its title and of a path that are kept, and files that it may name.
const ID_BYTES: usize = 256;
const TITLE_BYTES: usize = 4096;
const PATH_BYTES: usize = 4096;
const LOCATIONS: usize = 100;
/// What a tool is, in the protocol's words; whatever else an agent says is the last of them.
const KINDS: &[&str] = &[
    "read",
    "edit",
    "delete",
    "move",
    "search",
    "execute",
    "think",
    "fetch",
    "switch_mode",
    OTHER,
];
const OTHER: &str = "other";
/// How far a call is, in the protocol's words.
const STATUSES: &[&str] = &["pending", "in_progress", "completed", "failed"];
/// The fields of a call's input that are remembered, and the largest of them.
const INPUT_FIELDS: usize = 16;
const INPUT_BYTES: usize = 4096;

impl Calls {
    /// Adds what was said before about the same call.
    #[must_use]
    pub fn whole(&mut self, mut tool: Tool) -> Tool {
        if tool.id.is_empty() {
            return tool;
        }
        let known = self.calls.iter().position(|call| call.id == tool.id);
        if let Some(before) = known.and_then(|at| self.calls.remove(at)) {
            tool.kind = tool.kind.or(before.kind);
            tool.title = tool.title.or(before.title);
            if tool.locations.is_empty() {
                tool.locations = before.locations;
            }
            let input = before.raw.get("rawInput").filter(|input| is_filled(input));
            if let (Some(input), Value::Object(raw)) = (input, &mut tool.raw)
                && !raw.get("rawInput").is_some_and(is_filled)
            {
                raw.insert("rawInput".to_owned(), input.clone());
            }
        }
        let ended = matches!(tool.status.as_deref(), Some("completed" | "failed"));
        if !ended {
            if self.calls.len() >= CALLS {
                self.calls.pop_front();
            }
            self.calls.push_back(remembered(&tool));
        }
        tool
    }
}

fn is_filled(value: &Value) -> bool {
    value.as_object().is_some_and(|fields| !fields.is_empty())
}

/// What of a call later updates may leave out, within bounds.
fn remembered(tool: &Tool) -> Tool {
    let input = tool.raw.get("rawInput").and_then(Value::as_object);
    let small = input.map(|fields| {
        // A file's whole text is not needed to say what happened to it: its name is.
        let short = fields.iter().take(INPUT_FIELDS).map(|(name, value)| {
            let size = value.as_str().map_or(0, str::len);
            let fits = !value.is_object() && !value.is_array() && size <= INPUT_BYTES;
            let name: String = name.chars().take(64).collect();
            (name, if fits { value.clone() } else { Value::Null })
        });
        Value::Object(short.collect())
    });
    Tool {
        content: Vec::new(),
        raw: small.map_or(Value::Null, |input| serde_json::json!({"rawInput": input})),
        ..tool.clone()
    }
}

/// Maps one `session/update`'s `update` object.
#[must_use]
pub fn from_update(update: Value) -> Claim {
    let kind = text(&update, "sessionUpdate").unwrap_or_default();
    match kind.as_str() {
        "agent_message_chunk" => chunk(update, kind, Claim::Text),
        "agent_thought_chunk" => chunk(update, kind, Claim::Thought),
        "tool_call" => Claim::ToolCall(tool(update)),
        "tool_call_update" => Claim::ToolUpdate(tool(update)),
        "plan" => match update.get("entries").and_then(plan) {
            Some(entries) => Claim::Plan(entries),
            None => Claim::Other { kind, raw: update },
        },
        "usage_update" => Claim::Usage(Usage {
            used: update.get("used").and_then(Value::as_u64),
            size: update.get("size").and_then(Value::as_u64),
            cost: update
                .get("cost")
                .and_then(|cost| Some((cost.get("amount")?.as_f64()?, text(cost, "currency")?))),
        }),
        _ => Claim::Other { kind, raw: update },
    }
}

/// Reads a tool call out of an update or a permission request's `toolCall`. What stays of it is bounded; all of it is
/// in `raw` and `content`.
#[must_use]
pub fn tool(raw: Value) -> Tool {
    let list = |key: &str| raw.get(key).and_then(Value::as_array).into_iter().flatten();
    Tool {
        id: str_of(&raw, "toolCallId")
            .map(|id| id[..id.floor_char_boundary(ID_BYTES)].to_owned())
            .unwrap_or_default(),
        title: str_of(&raw, "title").map(title),
        kind: str_of(&raw, "kind").map(|kind| {
            let known = KINDS.iter().find(|known| **known == kind);
            (*known.unwrap_or(&OTHER)).to_owned()
        }),
        status: str_of(&raw, "status")
            .filter(|status| STATUSES.contains(status))
            .map(str::to_owned),
        content: list("content").map(content).collect(),
        locations: list("locations")
            .filter_map(|at| {
                Some(Location {
                    path: str_of(at, "path")
                        .filter(|path| path.len() <= PATH_BYTES)?
                        .to_owned(),
                    line: at.get("line").and_then(Value::as_u64),
                })
            })
            .take(LOCATIONS)
            .collect(),
        raw,
    }
}

/// A title within bounds. It is cut between words: half a secret looks like none.
fn title(text: &str) -> String {
    if text.len() <= TITLE_BYTES {
        return text.to_owned();
    }
    let cut = &text[..text.floor_char_boundary(TITLE_BYTES)];
    cut[..cut.rfind(char::is_whitespace).unwrap_or(cut.len())].to_owned()
}

fn content(item: &Value) -> ToolContent {
    let read = || match item.get("type")?.as_str()? {
        "content" => Some(ToolContent::Text(text_block(item.get("content")?)?)),
        "diff" => Some(ToolContent::Diff {
            path: text(item, "path")?,
            old: text(item, "oldText"),
            new: text(item, "newText")?,
        }),
        "terminal" => Some(ToolContent::Terminal(text(item, "terminalId")?)),
        _ => None,
    };
    read().unwrap_or_else(|| ToolContent::Other(item.clone()))
}

fn chunk(update: Value, kind: String, claim: fn(String) -> Claim) -> Claim {
    match update.get("content").and_then(text_block) {
        Some(text) => claim(text),
        None => Claim::Other { kind, raw: update },
    }
}

fn plan(entries: &Value) -> Option<Vec<PlanEntry>> {
    let read = |entry: &Value| {
        Some(PlanEntry {
            content: text(entry, "content")?,
            priority: text(entry, "priority").unwrap_or_default(),
            status: text(entry, "status").unwrap_or_default(),
        })
    };
    entries.as_array()?.iter().map(read).collect()
}

fn text_block(block: &Value) -> Option<String> {
    (block.get("type")?.as_str()? == "text").then(|| text(block, "text"))?
}

fn text(value: &Value, key: &str) -> Option<String> {
    str_of(value, key).map(str::to_owned)
}

fn str_of<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_kinds_and_shapes_survive_raw() {
        for update in [
            json!({"sessionUpdate": "current_mode_update", "currentModeId": "x"}),
            json!({"sessionUpdate": "from_the_future", "a": [1, {"b": null}]}),
            json!({"sessionUpdate": "agent_message_chunk", "content": {"type": "image"}}),
            json!({"sessionUpdate": "plan", "entries": [{"content": 1}]}),
            json!({"no": "kind"}),
            json!("not even an object"),
        ] {
            let Claim::Other { raw, .. } = from_update(update.clone()) else {
                panic!("{update} was taken for something known");
            };
            assert_eq!(raw, update);
        }
    }

    #[test]
    fn a_call_is_told_in_pieces_and_read_whole() {
        let mut calls = Calls::default();
        let mut say = |update: Value| calls.whole(tool(update));
        let _ = say(
            json!({"toolCallId": "c", "title": "write", "kind": "edit", "status": "pending", "rawInput": {}}),
        );
        let _ = say(
            json!({"toolCallId": "d", "title": "bash", "kind": "execute", "status": "pending"}),
        );
        let _ = say(
            json!({"toolCallId": "c", "status": "in_progress", "locations": [{"path": "/workspace/a"}],
            "rawInput": {"filePath": "/workspace/a", "content": "x".repeat(100_000)}}),
        );
        let done = say(json!({"toolCallId": "c", "status": "completed", "title": "a"}));
        assert_eq!(
            (done.kind.as_deref(), done.title.as_deref()),
            (Some("edit"), Some("a"))
        );
        assert_eq!(
            done.raw["rawInput"],
            json!({"filePath": "/workspace/a", "content": null})
        );
        assert_eq!(done.locations.len(), 1);
        // What ended is forgotten, and what is not known stays as it is.
        let again = say(json!({"toolCallId": "c", "status": "completed"}));
        assert_eq!(again.kind, None);
        for n in 0..10_000 {
            let _ = say(json!({"toolCallId": n.to_string(), "status": "pending", "kind": "edit"}));
        }
        assert_eq!(calls.calls.len(), CALLS);
    }

    #[test]
    fn what_is_kept_of_a_call_is_bounded() {
        let long = "x ".repeat(1 << 20);
        let places: Vec<Value> = (0..1000).map(|n| json!({"path": format!("{n}")})).collect();
        let call = tool(
            json!({"toolCallId": long, "title": long, "kind": long, "status": long, "locations": places}),
        );
        assert_eq!(call.kind.as_deref(), Some(OTHER));
        assert_eq!((call.id.len(), call.locations.len()), (ID_BYTES, LOCATIONS));
        assert!(call.title.unwrap().len() <= TITLE_BYTES && call.status.is_none());
        let call = tool(json!({"toolCallId": "c", "locations": [{"path": long}, {"path": "a"}]}));
        assert_eq!(call.locations.len(), 1);
        // A title is cut between words.
        let half = format!("{}secret-{}", "w ".repeat(2045), "s".repeat(99));
        assert!(
            !tool(json!({"title": half}))
                .title
                .unwrap()
                .contains("secret")
        );
    }

    #[test]
    fn reads_a_tool_call_with_its_diff() {
        let update = json!({"sessionUpdate": "tool_call_update", "toolCallId": "c1", "kind": "edit",
            "content": [{"type": "diff", "path": "/w/a", "oldText": null, "newText": "x"},
                        {"type": "content", "content": {"type": "text", "text": "ok"}}, {"type": "new"}],
            "locations": [{"path": "/w/a", "line": 3}, {}], "rawOutput": {"k": 1}});
        let Claim::ToolUpdate(tool) = from_update(update.clone()) else {
            panic!()
        };
        assert_eq!(
            tool.content[0],
            ToolContent::Diff {
                path: "/w/a".into(),
                old: None,
                new: "x".into()
            }
        );
        assert_eq!(tool.content[1], ToolContent::Text("ok".into()));
        assert_eq!(tool.content[2], ToolContent::Other(json!({"type": "new"})));
        assert_eq!(
            tool.locations,
            [Location {
                path: "/w/a".into(),
                line: Some(3)
            }]
        );
        assert_eq!((tool.status, tool.raw), (None, update));
    }
}
