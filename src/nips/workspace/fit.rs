//! An answer that fits into one event, whatever it lists.
//!
//! Lists are filled by bytes where they are made ([`cut_to`](super::cut_to)); this is for what nobody
//! foresaw, so that something that was done is never answered as an error.

use super::{Answer, Outcome};

impl Answer {
    /// The content of the result, in at most `most` bytes. `clean` has the last word on the text: it takes
    /// secrets out, which can make it longer.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn to_text(
        mut self,
        most: usize,
        clean: impl Fn(&str) -> String,
    ) -> Result<String, serde_json::Error> {
        loop {
            let text = clean(&serde_json::to_string(&self)?);
            if text.len() <= most || !self.shrink() {
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

/// Leaves the second half of a list out.
fn halve<T>(list: &mut Vec<T>) -> bool {
    let some = !list.is_empty();
    list.truncate(list.len() / 2);
    some
}

impl Outcome {
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
            Self::Undo { uncovered, .. } => halve(uncovered),
            Self::Plan { steps, .. } => halve(steps),
            Self::Apply { conflicts, .. } => halve(conflicts),
            Self::List { copies, images, .. } => halve(copies) || halve(images),
            Self::Clean { left, .. } => halve(left),
            Self::TakeBack { kept, .. } => halve(kept),
            Self::Discard { .. } | Self::Locate { .. } => false,
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
            outcome,
        }
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
        });
        // What takes secrets out may make it longer.
        let text = long
            .to_text(60_000, |text| text.replace('p', "pp"))
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
        });
        let text = diff.to_text(60_000, str::to_owned).unwrap();
        let back: Answer = serde_json::from_str(&text).unwrap();
        assert!(
            matches!(back.outcome, Outcome::Diff { cut: true, text, .. } if text.len() > 10_000)
        );
        // What cannot be shorter is still an answer.
        let text = answer(Outcome::Locate { agents_git: false })
            .to_text(10, str::to_owned)
            .unwrap();
        assert!(text.contains("locate") && text.len() < 200, "{text}");
    }
}
