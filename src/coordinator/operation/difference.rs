//! What changed between two states of a copy.

use std::sync::Arc;

use super::{
    FILES,
    state::{latest, pick},
};
use crate::{
    coordinator::{context::Context, facts, shared::Shared, words},
    job::Failure,
    nips::workspace::{FileLine, Outcome, State, cut_to},
    workspace::diff,
};

/// Bytes that the list of files beside a diff takes, and the diff's text.
const DIFF: (usize, usize) = (15_000, 30_000);

pub(super) async fn difference(
    context: &Context,
    shared: &Arc<Shared>,
    from: Option<State>,
    to: Option<State>,
) -> Result<Outcome, Failure> {
    let all = shared.with(|files| Ok(files.checkpoints()?)).await?;
    let from = match from {
        Some(state) => pick(&all, &state)?.tree,
        None => match shared.about().base {
            Some(base) => base,
            None => {
                return Err(Failure::new(
                    "workspace",
                    "the copy has no beginning to compare with",
                ));
            }
        },
    };
    let is_now = to.is_none();
    let earlier = shared.about().applied.len();
    let redactor = context.redactor.clone();
    let to = match to {
        Some(state) => pick(&all, &state)?.tree,
        None => latest(shared).await?.tree,
    };
    shared
        .with(move |files| {
            let changes = diff::changes(files.store(), Some(&from), &to)?;
            let limits = diff::Limits::default();
            let (mut text, mut cut, mut lines) = (String::new(), false, Vec::new());
            let mut room = DIFF.1;
            for change in changes.iter().take(FILES) {
                let rendered = diff::unified(files.store(), change, &limits)?;
                lines.push(FileLine {
                    path: String::from_utf8_lossy(&change.path).into_owned(),
                    op: facts::op(change.kind).to_owned(),
                    added: rendered.added,
                    removed: rendered.removed,
                });
                cut |= rendered.cut;
                // Half a secret would look like none.
                let clean = redactor.redact(&rendered.text);
                let end = written(&clean, room);
                cut |= end.0 < clean.len();
                room -= end.1;
                text.push_str(&clean[..end.0]);
            }
            let uncovered = if is_now { files.uncovered() } else { &[] };
            let (left_out, left_out_in_all) = words::left_out(uncovered);
            let (files, _) = cut_to(lines, DIFF.0);
            Ok(Outcome::Diff {
                left_out,
                left_out_in_all,
                cut: cut || changes.len() > files.len(),
                files,
                changed: changes.len(),
                text,
                earlier,
            })
        })
        .await
}

/// How much of a text fits into so many bytes of JSON, and how many it takes there.
pub(super) fn written(text: &str, room: usize) -> (usize, usize) {
    let mut bytes = 0;
    for (at, char) in text.char_indices() {
        let more = match char {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            char if u32::from(char) < 0x20 => 6,
            char => char.len_utf8(),
        };
        if bytes + more > room {
            return (at, bytes);
        }
        bytes += more;
    }
    (text.len(), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_by_what_it_takes_when_it_is_written() {
        for text in [
            "a\"b\\c\n",
            "\u{1}\u{1}",
            "grün 日本",
            "\u{7f}\t\u{8}\u{c}\r",
            "",
        ] {
            let json = serde_json::to_string(text).unwrap().len() - 2;
            assert_eq!(written(text, 1000), (text.len(), json), "{text:?}");
            for room in 0..json {
                let (end, bytes) = written(text, room);
                let cut = serde_json::to_string(&text[..end]).unwrap().len() - 2;
                assert_eq!(bytes, cut);
                assert!(cut <= room && end < text.len());
            }
        }
    }
}
