//! The scripted model of the trials: it has an agent write a file with whatever tool that has for it, says a word that
//! can be recognised, or does not answer at all; and it notes what it was asked.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Map, Value, json};

use crate::model::scripted::{Answer, Asked, Script, Tool};

/// The file that is written, in the workspace.
pub(super) const FILE: &str = "treefort-check.txt";
/// What is written into it.
pub(super) const TEXT: &str = "tried by treefort\n";
/// What the model says when it is done.
pub(super) const DONE: &str = "The scripted model says: pinecone.";
/// The word by which that is recognised.
pub(super) const WORD: &str = "pinecone";
/// In a prompt: the model does not answer.
pub(super) const WAIT: &str = "(treefort-check: wait)";
/// In a prompt: the model has a file written.
pub(super) const WRITE: &str = "(treefort-check: write)";
/// As good as never.
const LONG: Duration = Duration::from_secs(600);

/// What the model was asked so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Watched(Arc<Mutex<Vec<Asked>>>);

impl Watched {
    /// The script that notes it.
    pub(super) fn script(&self) -> Script {
        let log = Arc::clone(&self.0);
        Arc::new(move |asked| {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            log.push(asked.clone());
            answer(asked)
        })
    }

    /// Takes what it was asked since the last time.
    pub(super) fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn answer(asked: &Asked) -> Answer {
    let says = |marker: &str| {
        let mut messages = asked.messages.iter();
        messages.any(|message| message.role == "user" && message.content.contains(marker))
    };
    if says(WAIT) {
        return Answer {
            first: LONG,
            ..Answer::new(DONE)
        };
    }
    // What asks for a title or a summary offers nothing to act with.
    let acted = asked.messages.iter().any(|message| message.role == "tool");
    if says(WRITE)
        && !acted
        && let Some((tool, arguments)) = asked.tools.iter().find_map(write_with)
    {
        return Answer::call(tool, arguments);
    }
    Answer::new(DONE).at_once()
}

/// The call of a tool that writes a file, or runs a command.
fn write_with(tool: &Tool) -> Option<(String, Value)> {
    let named = |words: &[&str]| {
        let mut names = tool.fields.keys();
        names.find(|name| words.contains(&name.to_lowercase().replace('_', "").as_str()))
    };
    let path = format!("/workspace/{FILE}");
    if let (Some(place), Some(content)) = (
        named(&["path", "filepath", "file", "filename"]),
        named(&["content", "contents", "filetext", "text"]),
    ) {
        let fields = [(place.clone(), json!(path)), (content.clone(), json!(TEXT))];
        return Some((tool.name.clone(), Value::Object(Map::from_iter(fields))));
    }
    let command = named(&["command", "cmd", "script"])?;
    let line = format!("printf '{}' > {path}", TEXT.replace('\n', "\\n"));
    let is_list = tool.fields[command]["type"] == "array";
    let mut fields = Map::new();
    fields.insert(
        command.clone(),
        if is_list {
            json!(["sh", "-c", line])
        } else {
            json!(line)
        },
    );
    if tool.fields.contains_key("description") {
        fields.insert("description".to_owned(), json!("Writes the file"));
    }
    Some((tool.name.clone(), Value::Object(fields)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::scripted::Message;

    fn tool(name: &str, fields: Value) -> Tool {
        Tool {
            name: name.to_owned(),
            fields: fields.as_object().unwrap().clone(),
        }
    }

    #[test]
    fn writes_with_what_the_agents_of_this_world_have() {
        let text = json!({"type": "string"});
        for (name, fields, expected) in [
            (
                "write",
                json!({"filePath": text, "content": text}),
                json!({"filePath": "/workspace/treefort-check.txt", "content": TEXT}),
            ),
            (
                "Write",
                json!({"file_path": text, "content": text}),
                json!({"file_path": "/workspace/treefort-check.txt", "content": TEXT}),
            ),
            (
                "exec_command",
                json!({"cmd": text}),
                json!({"cmd": "printf 'tried by treefort\\n' > /workspace/treefort-check.txt"}),
            ),
            (
                "shell",
                json!({"command": {"type": "array"}}),
                json!({"command": ["sh", "-c", "printf 'tried by treefort\\n' > /workspace/treefort-check.txt"]}),
            ),
        ] {
            let (called, arguments) = write_with(&tool(name, fields)).unwrap();
            assert_eq!((called.as_str(), arguments), (name, expected));
        }
        let edit = tool(
            "edit",
            json!({"filePath": text, "oldString": text, "newString": text}),
        );
        assert_eq!(write_with(&edit), None);
    }

    #[test]
    fn acts_once_and_only_when_it_is_asked_to() {
        let said = |role: &str, content: &str| Message {
            role: role.to_owned(),
            content: content.to_owned(),
        };
        let write = tool("write", json!({"path": {}, "content": {}}));
        let mut asked = Asked {
            messages: vec![said("user", "hello")],
            tools: vec![write],
            bytes: 1,
        };
        assert_eq!(answer(&asked).text, DONE);
        asked.messages = vec![said("user", WRITE)];
        assert!(answer(&asked).call.is_some());
        asked.messages.push(said("tool", "written"));
        assert_eq!(answer(&asked).text, DONE);
        asked.messages = vec![said("user", WAIT)];
        assert_eq!(answer(&asked).first, LONG);
    }
}
