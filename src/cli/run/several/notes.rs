//! What any client shows of a comparison: a note that opens it, one as each begins, and one with what came of it.

use nostr::{Event, PublicKey};

use crate::{
    cli::{
        compare::{
            contest::{Contest, Entry},
            table,
        },
        figures::{dollars, thousands},
        text::one_line,
        view::JobState,
    },
    nips::{Draft, Reference, nip10},
};

/// Bytes of a question that a note repeats.
const QUESTION: usize = 500;

/// The note that opens it: what is asked of whom.
pub(super) fn opening(provider: &PublicKey, prompt: &str, names: &[String]) -> Draft {
    let asked = one_line(prompt);
    let cut = asked.floor_char_boundary(QUESTION);
    let dots = if cut < asked.len() { "…" } else { "" };
    let mut text = format!(
        "🏁 The same question to {}:\n\n“{}{dots}”\n",
        names.len(),
        &asked[..cut]
    );
    for (at, name) in names.iter().enumerate() {
        text.push_str(&format!("\n{}. {name}", at + 1));
    }
    text.push_str("\n\nEach works in a sandbox and on a copy of its own.");
    nip10::comparison(provider, &text)
}

/// One has begun; its own thread is quoted.
pub(super) fn began(root: &Reference, n: usize, name: &str, thread: &Event, relay: &str) -> Draft {
    let address = nip10::nevent(thread.id, thread.pubkey, relay);
    let text = format!("{n}. {name} is on it.\n\n{address}");
    nip10::reply(root, Some(&Reference::to(thread, relay)), &text)
}

/// What came of it.
pub(super) fn closing(root: &Reference, contest: &Contest) -> Draft {
    let done = contest.entries.iter().filter(|entry| entry.done()).count();
    let mut text = format!("🏁 {done} of {} done\n", contest.entries.len());
    for entry in &contest.entries {
        text.push('\n');
        text.push_str(&result(entry));
    }
    nip10::reply(root, None, &text)
}

fn result(entry: &Entry) -> String {
    let symbol = match entry.state {
        JobState::Done => "✅",
        JobState::Failed(_) => "❌",
        JobState::Cancelled => "✋",
        JobState::Waiting | JobState::Working => "⏳",
    };
    let mut said = Vec::new();
    match &entry.state {
        JobState::Failed(why) if !why.is_empty() => said.push(one_line(why)),
        JobState::Done => {}
        state => said.push(table::outcome(state).1.to_owned()),
    }
    said.extend(entry.ms().map(table::time));
    if entry.figures.calls > 0 {
        said.push(format!("{} tokens", thousands(entry.figures.tokens())));
    }
    said.extend(entry.figures.cost().filter(|cost| *cost > 0).map(dollars));
    let (files, added, removed) = entry.changes();
    if files > 0 {
        let files = crate::cli::render::plural(files, "file");
        said.push(format!("{files} changed (+{added} −{removed})"));
    }
    said.extend(
        table::checks(entry).map(|(passed, of)| format!("checks passed: {passed} of {of}")),
    );
    format!(
        "{symbol} {}. {}: {}",
        entry.n,
        entry.name(),
        said.join(", ")
    )
}
