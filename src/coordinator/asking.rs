//! An agent's requests for permission, put to its owner: the question and its answer are on the record, with a
//! checkpoint before either, so that what it does then can be undone.

use std::time::Duration;

use tokio::{sync::oneshot, time::Instant};

use super::{
    claimed,
    clock::Clock,
    context::now,
    executor::Order,
    facts,
    publisher::PublishError,
    questions::Question,
    saying::{report, tag},
    session::{Lines, Session},
};
use crate::{
    agent::claims::{Answer, Calls, Permission, Tool, ToolContent},
    egress::Said,
    job::Report,
    nips::{session::ActionKind, workspace::OptionLine},
    recorder::Redactor,
    workspace::diff,
};

/// Bytes of what is asked.
const TEXT: usize = 24 << 10;
/// How long the difference is looked for that it tells of.
const COMPARE: Duration = Duration::from_millis(100);
/// What is on the record of an agent that asks more than its owner can answer.
const TOO_MANY: &str = "The agent asked for more permissions, in all or at once, than its owner can answer. The rest \
                        were refused.";

/// Who waits for an answer.
#[derive(Debug)]
pub(super) enum Waiting {
    /// The agent, for a permission.
    Agent(Answer),
    /// Its requests to a host that no rule names.
    Host(oneshot::Sender<Said>),
}

impl Waiting {
    /// The option at this place was chosen, by its owner or because the time is over.
    fn choose(self, place: usize, by_time: bool) {
        match self {
            Self::Agent(answer) => drop(answer.choose(place)),
            Self::Host(tell) => {
                let said = match place {
                    _ if by_time => Said::Nothing,
                    0 => Said::Once,
                    1 => Said::Always,
                    _ => Said::No,
                };
                // Who asked may have gone.
                let _ = tell.send(said);
            }
        }
    }

    /// Nobody answers any more.
    fn cancel(self) {
        if let Self::Agent(answer) = self {
            answer.cancel();
        }
    }

    /// The place of the option that stands for no.
    fn no(&self) -> Option<usize> {
        match self {
            Self::Agent(answer) => answer.no(),
            Self::Host(_) => Some(2),
        }
    }
}

/// Puts a request to the owner; one that nobody can answer any more, or that is one too many, is refused at once.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn ask(
    session: &mut Session,
    order: &Order,
    lines: &Lines,
    calls: &mut Calls,
    permission: Permission,
) -> Result<(), PublishError> {
    let Permission { tool, answer, .. } = permission;
    if !session.stand.questions.has_room() || !answer.hold() {
        answer.give();
        if session.stand.questions.too_many() {
            let entry = session.log.error("questions", true, TOO_MANY, now())?;
            session.publish(entry).await?;
        }
        return Ok(());
    }
    if answer.options().is_empty() {
        // There is nothing to choose from.
        answer.cancel();
        return Ok(());
    }
    let tool = calls.whole(tool);
    let redactor = session.context.redactor.clone();
    let wish = claimed::wish(&redactor, &tool);
    let about = if session.private {
        "before a tool".to_owned()
    } else {
        format!("before it {}", claimed::did(&redactor, &tool))
    };
    facts::checkpoint(session, &about).await?;
    let text = text(&redactor, &wish, &tool);
    let options = options(&redactor, &answer);
    let mut detail = vec![tag("claim", ["asked".to_owned()])];
    // Names of tools are left out of a private job's record.
    let kind = tool.kind.clone().filter(|_| !session.private);
    detail.extend(kind.map(|kind| tag("tool", [kind])));
    let asked = Asked {
        about,
        wish,
        text,
        options,
        detail,
        answer: Waiting::Agent(answer),
    };
    put(session, order, lines, asked).await
}

/// What an owner is asked.
pub(super) struct Asked {
    /// What the checkpoint before it is about; empty where there is none.
    pub(super) about: String,
    /// What it would do, as in "whether it may …".
    pub(super) wish: String,
    /// The whole of it.
    pub(super) text: String,
    pub(super) options: Vec<OptionLine>,
    /// What the record says of it in front of the options.
    pub(super) detail: Vec<Vec<String>>,
    /// Who waits for the answer.
    pub(super) answer: Waiting,
}

/// Puts a question to the owner: on the record, at the desk, and to whoever follows the job.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn put(
    session: &mut Session,
    order: &Order,
    lines: &Lines,
    asked: Asked,
) -> Result<(), PublishError> {
    let Asked {
        about,
        wish,
        text,
        options,
        mut detail,
        answer,
    } = asked;
    let seconds = session.context.jobs.ask_s;
    let until = now().saturating_add(seconds);
    // Names of options are left out of a private job's record: they may repeat those of tools.
    let private = session.private;
    detail.extend(options.iter().map(|option| option_tag(option, private)));
    detail.push(tag("until", [until.to_string()]));
    let (alt, content) = if private {
        detail.push(tag("withheld", [text.len().to_string()]));
        ("Asks its owner something".to_owned(), "")
    } else {
        (format!("Asks whether it may {wish}"), text.as_str())
    };
    let action = ActionKind::Other("question".to_owned());
    let entry = session.log.action(action, detail, alt, content, now())?;
    let id = entry.event.id;
    session.publish(entry).await?;

    let mut tags = vec![tag("question", [id.to_hex()])];
    tags.extend(options.iter().map(|option| option_tag(option, false)));
    tags.push(tag("until", [until.to_string()]));
    session.stand.questions.ask(Question {
        id,
        about,
        text: text.clone(),
        options,
        until,
        clock: Clock::new(seconds, Instant::now()),
        answer,
    });
    session.stand.settle();
    let asks = Report::Asks {
        sentence: format!("The agent asks whether it may {wish}"),
        text,
        tags,
    };
    report(session, order, lines, asks).await;
    Ok(())
}

/// Records the answer, then tells the agent. Without an option it is told that the turn is broken off.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn answer(
    session: &mut Session,
    question: Question<Waiting>,
    place: Option<usize>,
    by: &str,
) -> Result<(), PublishError> {
    if place.is_some() && matches!(question.answer, Waiting::Agent(_)) {
        facts::checkpoint(session, &question.about).await?;
    }
    let chosen = place.and_then(|place| question.options.get(place));
    if chosen.is_some_and(|option| option.kind.starts_with("reject")) {
        session.stand.questions.refused = true;
    }
    let mut detail = vec![tag("question", [question.id.to_hex()])];
    detail.extend(chosen.map(|option| option_tag(option, session.private)));
    detail.push(tag("by", [by.to_owned()]));
    let alt = match (chosen, by) {
        (None, _) => "The question was withdrawn".to_owned(),
        (Some(_), "time") => "Nobody answered in time: the agent was told no".to_owned(),
        (Some(_), _) if session.private => "The question was answered".to_owned(),
        (Some(option), _) => format!("Answered: {}", option.name),
    };
    let action = ActionKind::Other("answer".to_owned());
    let entry = session.log.action(action, detail, alt, "", now())?;
    session.publish(entry).await?;
    match place {
        Some(place) => question.answer.choose(place, by == "time"),
        None => question.answer.cancel(),
    }
    session.stand.settle();
    Ok(())
}

/// Answers what has waited long enough: no.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn too_late(session: &mut Session) -> Result<(), PublishError> {
    while let Some(question) = session.stand.questions.take_due(Instant::now()) {
        let no = question.answer.no();
        answer(session, question, no, "time").await?;
    }
    Ok(())
}

/// Withdraws what is open: the turn is over or broken off.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn close_all(session: &mut Session) -> Result<(), PublishError> {
    for question in session.stand.questions.take_all() {
        answer(session, question, None, "policy").await?;
    }
    Ok(())
}

/// The options under names of ours: those of the agent may be anything, the same twice too.
fn options(redactor: &Redactor, answer: &Answer) -> Vec<OptionLine> {
    let numbered = answer.options().iter().zip(1..);
    numbered
        .map(|(option, number)| OptionLine {
            id: number.to_string(),
            kind: redactor.redact(&option.kind).into_owned(),
            name: redactor.redact(&option.name).into_owned(),
        })
        .collect()
}

fn option_tag(option: &OptionLine, private: bool) -> Vec<String> {
    let (kind, name) = match private {
        false => (option.kind.clone(), option.name.clone()),
        // A kind that is none of the protocol's may say anything too.
        true => (claimed::known_kind(&option.kind).to_owned(), String::new()),
    };
    tag("option", [option.id.clone(), kind, name])
}

/// What is asked, as a person has to see it: what the agent wants to do, and with what.
fn text(redactor: &Redactor, wish: &str, tool: &Tool) -> String {
    let mut text = format!("It wants to {wish}.");
    let input = tool.raw.get("rawInput");
    let command = input.and_then(|input| input.get("command"));
    let mut details = Vec::new();
    match command {
        Some(serde_json::Value::String(command)) => details.push(format!("$ {command}")),
        Some(serde_json::Value::Array(words)) => {
            let words = words.iter().filter_map(serde_json::Value::as_str);
            details.push(format!("$ {}", words.collect::<Vec<_>>().join(" ")));
        }
        _ => {}
    }
    for content in &tool.content {
        match content {
            ToolContent::Text(text) => details.push(text.clone()),
            ToolContent::Diff { path, old, new } => {
                let limits = diff::Limits {
                    max_output: TEXT,
                    deadline: COMPARE,
                    ..diff::Limits::default()
                };
                // Long lines are cut where they are compared.
                let old = redactor.redact(old.as_deref().unwrap_or_default());
                let new = redactor.redact(new);
                details.push(diff::texts(path, &old, &new, &limits).text);
            }
            ToolContent::Terminal(_) | ToolContent::Other(_) => {}
        }
    }
    if details.is_empty()
        && let Some(input) = input.filter(|input| !input.is_null())
    {
        details.push(input.to_string());
    }
    for detail in details {
        text.push_str("\n\n");
        text.push_str(&detail);
        if text.len() > TEXT {
            break;
        }
    }
    // Secrets go first: half of one would look like none.
    let text = redactor.redact(&text);
    let cut = text.floor_char_boundary(TEXT);
    let dots = if cut < text.len() { "\n…" } else { "" };
    format!("{}{dots}", &text[..cut])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::agent::claims::tool;

    fn asked(raw: serde_json::Value) -> String {
        let redactor = Redactor::new(vec!["correct horse battery".to_owned()]);
        let tool = tool(raw);
        text(&redactor, &claimed::wish(&redactor, &tool), &tool)
    }

    #[test]
    fn what_is_asked_shows_the_command_or_the_difference_and_no_secret() {
        let command = asked(json!({"kind": "execute", "title": "bash",
            "rawInput": {"command": "rm -rf build\necho correct horse battery"}}));
        assert_eq!(
            command,
            "It wants to run `rm -rf build echo [redacted]`.\n\n$ rm -rf build\necho [redacted]"
        );
        let edit = asked(json!({"kind": "edit", "title": "edit",
            "content": [{"type": "diff", "path": "/workspace/a.txt", "oldText": "one\ntwo\n", "newText": "one\n2\n"}]}));
        assert!(
            edit.starts_with("It wants to edit a.txt.\n\n--- "),
            "{edit}"
        );
        assert!(edit.contains("-two\n+2\n"), "{edit}");
        let other = asked(json!({"title": "look it up", "rawInput": {"url": "https://x"}}));
        assert_eq!(
            other,
            "It wants to use look it up.\n\n{\"url\":\"https://x\"}"
        );
    }

    #[test]
    fn what_is_asked_is_bounded() {
        let long = "x ".repeat(1 << 20);
        let text = asked(
            json!({"kind": "execute", "title": long, "rawInput": {"command": long},
            "content": [{"type": "content", "content": {"type": "text", "text": long}}]}),
        );
        assert!(text.len() <= TEXT + 8, "{}", text.len());
    }
}
