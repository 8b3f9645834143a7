//! An answer in steps: what a model server said, for whoever says it in the words of another API.
//!
//! A server's frames are OpenAI's chunks or Ollama's lines; [`Steps`] reads both. Calls of tools come whole, since
//! other APIs want their arguments to be an object and not every model writes one.

use serde_json::{Map, Value, json};

use super::sse::Frame;
use crate::model::ModelError;

/// What is held of one answer.
const HELD_BYTES: usize = 16 * 1024 * 1024;
/// What a call weighs beside its words, so that empty ones are not without end.
const CALL_BYTES: usize = 256;

/// A step of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::model) enum Step {
    /// A piece of what it thinks.
    Thinking(String),
    /// A piece of what it says.
    Text(String),
    /// A tool that it calls.
    Call(ToolCall),
    /// The end.
    End(End),
}

/// A call of a tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::model) struct ToolCall {
    pub(in crate::model) id: String,
    pub(in crate::model) name: String,
    /// An object, as text.
    pub(in crate::model) arguments: String,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) struct End {
    pub(in crate::model) reason: Reason,
    pub(in crate::model) usage: Usage,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::model) enum Reason {
    /// Everything is said.
    #[default]
    Stop,
    /// Tools are to be called.
    Calls,
    /// It became too long.
    Length,
    /// The provider did not let it be said.
    Filter,
}

/// Tokens, as the server counted them; 0 where it did not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::model) struct Usage {
    pub(in crate::model) read: u64,
    /// Of those read, the ones that a cache knew.
    pub(in crate::model) cached: u64,
    pub(in crate::model) written: u64,
    /// Of those written, the ones that were thought.
    pub(in crate::model) thought: u64,
}

/// Reads an answer's frames.
#[derive(Debug)]
pub(in crate::model) struct Steps {
    /// Unlike any other answer's.
    unique: String,
    held: usize,
    made: usize,
    /// Calls that come in pieces, with the number that their server gave them.
    calls: Vec<(u64, ToolCall)>,
    called: bool,
    reason: Reason,
    usage: Usage,
}

impl Steps {
    pub(in crate::model) fn new(unique: &str) -> Self {
        Self {
            unique: unique.to_owned(),
            held: 0,
            made: 0,
            calls: Vec::new(),
            called: false,
            reason: Reason::Stop,
            usage: Usage::default(),
        }
    }

    /// What a frame says; `done`: it is the last. A stream may end without a frame for that.
    ///
    /// # Errors
    ///
    /// When the answer is longer than any.
    pub(in crate::model) fn frame(
        &mut self,
        frame: Option<&Frame>,
        done: bool,
    ) -> Result<Vec<Step>, ModelError> {
        let value: Value = frame
            .and_then(|frame| serde_json::from_slice(&frame.data).ok())
            .unwrap_or_default();
        let mut steps = Vec::new();
        if value["message"].is_object() {
            self.line(&value, &mut steps);
        } else {
            self.chunk(&value, &mut steps);
        }
        if done {
            for (_, call) in std::mem::take(&mut self.calls) {
                steps.push(self.called(call));
            }
            let reason = match self.reason {
                Reason::Stop if self.called => Reason::Calls,
                reason => reason,
            };
            let usage = self.usage;
            steps.push(Step::End(End { reason, usage }));
        }
        let weight = |step: &Step| match step {
            Step::Thinking(text) | Step::Text(text) => text.len(),
            Step::Call(_) | Step::End(_) => 0,
        };
        self.held += steps.iter().map(weight).sum::<usize>();
        if self.held > HELD_BYTES {
            return Err(ModelError::Malformed);
        }
        Ok(steps)
    }

    /// A line of Ollama's.
    fn line(&mut self, line: &Value, steps: &mut Vec<Step>) {
        let message = &line["message"];
        say(&message["thinking"], &message["content"], steps);
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let function = &call["function"];
            let arguments = match &function["arguments"] {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                arguments => arguments.to_string(),
            };
            self.held += arguments.len() + CALL_BYTES;
            let call = ToolCall {
                id: text(&call["id"]).to_owned(),
                name: text(&function["name"]).to_owned(),
                arguments,
            };
            steps.push(self.called(call));
        }
        if line["done"] == true {
            if line["done_reason"] == "length" {
                self.reason = Reason::Length;
            }
            let count = |name: &str| line[name].as_u64().unwrap_or(0);
            self.usage.read = count("prompt_eval_count");
            self.usage.written = count("eval_count");
        }
    }

    /// A chunk of OpenAI's, or a whole answer.
    fn chunk(&mut self, chunk: &Value, steps: &mut Vec<Step>) {
        let usage = &chunk["usage"];
        if usage.is_object() {
            let count = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap_or(0);
            self.usage = Usage {
                read: count("/prompt_tokens"),
                cached: count("/prompt_tokens_details/cached_tokens"),
                written: count("/completion_tokens"),
                thought: count("/completion_tokens_details/reasoning_tokens"),
            };
        }
        let choice = &chunk["choices"][0];
        match choice["finish_reason"].as_str() {
            Some("length") => self.reason = Reason::Length,
            Some("content_filter") => self.reason = Reason::Filter,
            _ => {}
        }
        let whole = choice["message"].is_object();
        let said = &choice[if whole { "message" } else { "delta" }];
        let thinking = [&said["reasoning_content"], &said["reasoning"]];
        let thinking = thinking.into_iter().find(|given| given.is_string());
        say(thinking.unwrap_or(&Value::Null), &said["content"], steps);
        say(&Value::Null, &said["refusal"], steps);
        for (at, call) in said["tool_calls"]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
        {
            let at = u64::try_from(at).unwrap_or_default();
            self.piece(call["index"].as_u64().unwrap_or(at), call);
        }
    }

    /// A piece of a call. Another id is another call, whatever its number: some servers number all of them 0.
    fn piece(&mut self, index: u64, piece: &Value) {
        let id = text(&piece["id"]);
        let same = |(number, call): &&mut (u64, ToolCall)| {
            *number == index && (id.is_empty() || call.id.is_empty() || call.id == id)
        };
        let at = match self.calls.iter_mut().rev().find(same) {
            Some((_, call)) => call,
            None => {
                self.held += CALL_BYTES;
                self.calls.push((index, ToolCall::default()));
                let Some((_, call)) = self.calls.last_mut() else {
                    return;
                };
                call
            }
        };
        let function = &piece["function"];
        if at.id.is_empty() {
            id.clone_into(&mut at.id);
        }
        if at.name.is_empty() {
            text(&function["name"]).clone_into(&mut at.name);
        }
        let arguments = match &function["arguments"] {
            object @ Value::Object(_) => object.to_string(),
            arguments => text(arguments).to_owned(),
        };
        self.held += id.len() + arguments.len();
        at.arguments.push_str(&arguments);
    }

    /// A call that is whole: it has an id, and an object for arguments.
    fn called(&mut self, mut call: ToolCall) -> Step {
        self.called = true;
        if call.id.is_empty() {
            call.id = format!("call_{}_{}", self.unique, self.made);
        }
        self.made += 1;
        if serde_json::from_str::<Map<String, Value>>(&call.arguments).is_err() {
            call.arguments = if call.arguments.trim().is_empty() {
                "{}".to_owned()
            } else {
                // What a model wrote in the place of an object is shown as it is.
                json!({"invalid": call.arguments}).to_string()
            };
        }
        Step::Call(call)
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn say(thinking: &Value, said: &Value, steps: &mut Vec<Step>) {
    if let Some(text) = thinking.as_str().filter(|text| !text.is_empty()) {
        steps.push(Step::Thinking(text.to_owned()));
    }
    if let Some(text) = said.as_str().filter(|text| !text.is_empty()) {
        steps.push(Step::Text(text.to_owned()));
    }
}

/// Adds a step to those before it, so that pieces of one text are one step.
pub(in crate::model) fn join(steps: &mut Vec<Step>, step: Step) {
    match (steps.last_mut(), step) {
        (Some(Step::Text(before)), Step::Text(more))
        | (Some(Step::Thinking(before)), Step::Thinking(more)) => before.push_str(&more),
        (_, step) => steps.push(step),
    }
}

/// Adds to a text of a message.
pub(in crate::model) fn append(message: &mut Map<String, Value>, name: &str, more: &str) {
    match message.get_mut(name) {
        Some(Value::String(text)) => text.push_str(more),
        _ => drop(message.insert(name.to_owned(), more.into())),
    }
}

impl ToolCall {
    /// The arguments as an object.
    pub(in crate::model) fn object(&self) -> Map<String, Value> {
        serde_json::from_str(&self.arguments).unwrap_or_default()
    }
}
