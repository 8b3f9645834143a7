//! An answer that fits into one event, whatever it lists.
//!
//! Lists are filled by bytes where they are made ([`cut_to`](super::cut_to)); this is for what nobody
//! foresaw, so that something that was done is never answered as an error.

use serde_json::Value;

use super::{Answer, Outcome, asked};

impl Answer {
    /// The content of the result, in at most `most` bytes. `clean` takes secrets out of every text in it, before
    /// anything is cut: what is found in one field takes nothing of the next with it.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn to_text(
        self,
        most: usize,
        clean: impl Fn(&str) -> String,
    ) -> Result<String, serde_json::Error> {
        // It is no text, and would be another one without what only looks like a secret in it.
        let mut whole = self;
        let bytes = whole.outcome.bytes().and_then(Option::take);
        let mut value = serde_json::to_value(&whole)?;
        clean_texts(&mut value, &clean);
        let mut answer: Self = serde_json::from_value(value)?;
        if let Some(place) = answer.outcome.bytes() {
            *place = bytes;
        }
        loop {
            let text = serde_json::to_string(&answer)?;
            if text.len() <= most || !answer.shrink() {
                return Ok(text);
            }
        }
    }

    /// Leaves half of what takes most room out; no when nothing is left to leave out.
    fn shrink(&mut self) -> bool {
        if self.outcome.shrink() {
            return true;
        }
        let named = [&mut self.title, &mut self.project, &mut self.path];
        named.into_iter().any(|name| name.take().is_some())
    }
}

/// Cleans every text, however deep.
fn clean_texts(value: &mut Value, clean: &impl Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = clean(text),
        Value::Array(items) => items.iter_mut().for_each(|item| clean_texts(item, clean)),
        Value::Object(fields) => fields
            .values_mut()
            .for_each(|item| clean_texts(item, clean)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Leaves the second half of a list out.
fn halve<T>(list: &mut Vec<T>) -> bool {
    let some = !list.is_empty();
    list.truncate(list.len() / 2);
    some
}

impl Outcome {
    /// Where it holds bytes in base64.
    fn bytes(&mut self) -> Option<&mut Option<String>> {
        match self {
            Self::File { base64, .. } => Some(base64),
            _ => None,
        }
    }

    fn shrink(&mut self) -> bool {
        match self {
            // The newest are last.
            Self::Checkpoints {
                checkpoints,
                earlier,
            } => {
                let out = checkpoints.len().div_ceil(2);
                *earlier += out;
                checkpoints.drain(..out).len() > 0
            }
            Self::Diff {
                files,
                text,
                cut,
                left_out,
                ..
            } => {
                *cut = true;
                if text.is_empty() {
                    return halve(files) || halve(left_out);
                }
                text.truncate(text.floor_char_boundary(text.len() / 2));
                true
            }
            Self::Files {
                entries,
                next,
                total,
                left_out,
                ..
            } => {
                let all = entries.len();
                if !halve(entries) {
                    return halve(left_out);
                }
                let out = (all - entries.len()) as u64;
                *next = Some(next.unwrap_or(*total).saturating_sub(out));
                true
            }
            // It is made to fit with its path, however long that is.
            Self::File { .. } => false,
            Self::Undo { uncovered, .. } => halve(uncovered),
            Self::Plan { steps, .. } => halve(steps),
            Self::Apply { conflicts, .. } => halve(conflicts),
            Self::List { copies, images, .. } => halve(copies) || halve(images),
            Self::Clean { left, .. } => halve(left),
            Self::Purge {
                sessions, linked, ..
            } => halve(linked) || halve(sessions),
            Self::TakeBack { kept, .. } => halve(kept),
            // Texts go before questions, and these before who is at work.
            Self::AtWork { sessions, .. } => asked::shrink(sessions) || halve(sessions),
            Self::Discard { .. }
            | Self::Locate { .. }
            | Self::Answered { .. }
            | Self::Pause { .. }
            | Self::Resume { .. }
            | Self::Steer { .. }
            | Self::Preview { .. }
            | Self::PreviewEnd { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(outcome: Outcome) -> Answer {
        Answer {
            workspace: None,
            project: Some("p".repeat(4096)),
            path: None,
            title: None,
            at: None,
            passed_over: 0,
            outcome,
        }
    }

    #[test]
    fn each_text_is_cleaned_by_itself_before_anything_is_cut() {
        let found = answer(Outcome::Discard { bytes: 1, files: 2 });
        let found = Answer {
            title: Some("\tsecret".to_owned()),
            ..found
        };
        let clean = |text: &str| match text.strip_prefix('\t') {
            Some("secret") => "[gone]".to_owned(),
            _ => text.replace('p', "q"),
        };
        let back: Answer = serde_json::from_str(&found.to_text(60_000, clean).unwrap()).unwrap();
        assert_eq!(back.title.as_deref(), Some("[gone]"));
        assert_eq!(back.project, Some("q".repeat(4096)));
        assert_eq!(back.outcome, Outcome::Discard { bytes: 1, files: 2 });
    }

    #[test]
    fn an_answer_is_cut_until_it_fits_and_stays_one() {
        let long = answer(Outcome::Undo {
            before: 4,
            to: 2,
            after: 5,
            written: 1,
            removed: 0,
            uncovered: vec!["\u{1}".repeat(4000); 300],
            uncovered_in_all: 300,
            unrecorded: None,
            moved: Vec::new(),
        });
        // What takes secrets out may make it longer.
        let text = long
            .to_text(60_000, |text| text.replace('\u{1}', "\u{1}\u{1}"))
            .unwrap();
        assert!(text.len() <= 60_000);
        let back: Answer = serde_json::from_str(&text).unwrap();
        let Outcome::Undo {
            uncovered,
            uncovered_in_all,
            ..
        } = back.outcome
        else {
            panic!("{text}")
        };
        assert!(!uncovered.is_empty() && uncovered_in_all == 300);
        let diff = answer(Outcome::Diff {
            files: Vec::new(),
            changed: 1,
            left_out: Vec::new(),
            left_out_in_all: 0,
            text: "ü".repeat(90_000),
            cut: false,
            earlier: 0,
        });
        let text = diff.to_text(60_000, str::to_owned).unwrap();
        let back: Answer = serde_json::from_str(&text).unwrap();
        assert!(
            matches!(back.outcome, Outcome::Diff { cut: true, text, .. } if text.len() > 10_000)
        );
        // What cannot be shorter is still an answer.
        let text = answer(Outcome::Locate {
            agents_git: false,
            repositories: Vec::new(),
        })
        .to_text(10, str::to_owned)
        .unwrap();
        assert!(text.contains("locate") && text.len() < 200, "{text}");
    }
}
