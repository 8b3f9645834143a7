//! Events that would leave, shown so that a person can judge them: what is seen here is what others would get.

use super::words::Show;
use crate::{
    cli::text::{escape_json, name, one_line, reveal, truncate},
    nips::kind,
    sync::Leaving,
};

/// Columns of a first line, and of a tag.
const LINE: usize = 160;
/// Tags and characters of one event that are shown to who asks for all of it; `--json` cuts nothing.
const TAGS: usize = 40;
const CHARACTERS: usize = 4000;

/// The events, below the folders that they are about.
pub(super) fn events(all: &[Leaving], show: &Show) -> Vec<String> {
    let mut lines = Vec::new();
    let mut folder = None;
    for one in all {
        let of = one.project.as_deref().map(|path| (path, one.names_project));
        if of != folder
            && let Some((path, named)) = of
        {
            let how = match named {
                true => "these name this path, too",
                false => "this path stays here",
            };
            lines.push(format!("  done in {} ({how}):", name(path)));
        }
        folder = of;
        let indent = if of.is_some() { "    " } else { "  " };
        lines.push(format!("{indent}{}", title(one, show)));
        lines.extend(
            words(one, show)
                .into_iter()
                .map(|line| format!("{indent}  {line}")),
        );
    }
    lines
}

/// How to see more of them.
pub(super) fn more(all: &[Leaving], show: &Show) -> Option<String> {
    let cut = !show.whole && all.iter().any(|one| !one.says.is_empty());
    cut.then(|| {
        "  with --verbose: all words and tags of each; with --json: the events themselves"
            .to_owned()
    })
}

fn title(one: &Leaving, show: &Show) -> String {
    let what = match one.alt.as_str() {
        "" => kind_words(one.kind),
        alt => alt,
    };
    let line = format!("{} {:>5}  {}", show.id(&one.id), one.kind, one_line(what));
    line.trim_end().to_owned()
}

/// What is in it: how it begins, or all that there is room for.
fn words(one: &Leaving, show: &Show) -> Vec<String> {
    let Some(event) = one.event.as_ref().filter(|_| show.whole) else {
        let says = truncate(&name(&one.says), LINE);
        return match says.is_empty() || says == one_line(&one.alt) {
            true => Vec::new(),
            false => vec![format!("| {says}")],
        };
    };
    let tags = event.tags.iter().map(nostr::Tag::as_slice);
    let mut lines: Vec<String> = tags
        .take(TAGS)
        .map(|tag| truncate(&escape_json(&serde_json::json!(tag).to_string()), LINE))
        .collect();
    if event.tags.len() > TAGS {
        let more = event.tags.len() - TAGS;
        lines.push(format!("and {more} more tags; --json shows them"));
    }
    let shown: String = event.content.chars().take(CHARACTERS).collect();
    lines.extend(reveal(&shown).lines().map(|line| format!("| {line}")));
    let more = event.content[shown.len()..].chars().count();
    if more > 0 {
        lines.push(format!("and {more} more characters; --json shows them"));
    }
    if lines.is_empty() {
        lines.push("(no words and no tags)".to_owned());
    }
    lines
}

/// What an event of a kind is, to somebody who knows no numbers.
pub(super) fn kind_words(of: u16) -> &'static str {
    match of {
        kind::PROFILE => "who an agent, or this treefort, is",
        kind::NOTE => "a note",
        kind::DELETION => "a request to delete",
        kind::COMMENT => "a comment",
        kind::REACTION => "a reaction",
        kind::RECIPE | kind::RECIPE_HEAD => "a recipe",
        kind::SESSION_START => "that a session began",
        kind::ACTION => "what an agent did or said",
        kind::CHECKPOINT => "that there is a checkpoint",
        kind::ERROR => "what went wrong",
        kind::SESSION_END => "how a session ended",
        kind::RECEIPT => "a receipt",
        kind::VERIFICATION => "what a look at a receipt found",
        kind::JOB_FEEDBACK => "how a job stands",
        30382..=30385 => "an assertion of trust",
        kind::HANDLER => "what is offered here",
        of if kind::JOB_REQUESTS.contains(&of) => "a job",
        of if kind::JOB_RESULTS.contains(&of) => "the answer to a job",
        _ => "",
    }
}
