//! What a person sees while a job runs: steps on stderr, the text on stdout as it is written.

use std::{
    collections::{BTreeMap, HashSet},
    io::IsTerminal as _,
    time::Instant,
};

use nostr::{Event, EventId, PublicKey, Timestamp};

use super::{flow::Flow, work::Starting};
use crate::{
    cli::{
        error::CommandError,
        output::{self, Passing},
        render::{Renderer, View},
        text::sanitize,
        view::{self, Feedback},
    },
    nips::{
        kind,
        nip90::Status,
        reference::tag_value,
        session::{ActionKind, Body, Record},
    },
};

/// The pieces of text that may wait for one that has not come.
const MAX_PIECES: usize = 4096;

/// Steps that may wait for the end of a sentence.
const MAX_HELD: usize = 100;

/// What treefort says when it takes a job.
pub(super) const ACCEPTED: &str = "accepted";

/// What an event means for the job.
#[derive(Debug)]
pub(super) enum Heard {
    /// Nothing that ends it.
    Nothing,
    /// The agent asks its owner something.
    Asks,
    /// A question was answered: its id.
    Answered(String),
    /// The answer.
    Result,
    /// The job is over, well.
    Success,
    /// The job is over without an answer.
    Failed {
        sentence: String,
        code: Option<String>,
    },
}

/// Follows one job.
pub(super) struct Progress {
    job: EventId,
    coordinator: PublicKey,
    /// The keys that the coordinator handed the job to: whose records and text count.
    sessions: HashSet<PublicKey>,
    renderer: Renderer,
    text: Stream,
    /// Breaks lines on a terminal.
    flow: Option<Flow>,
    /// The last step that was shown.
    last: String,
    /// Steps that wait for the end of a sentence.
    held: Vec<String>,
    /// What happens until the next step.
    passing: Passing,
    doing: String,
    since: Instant,
    /// Whether the answer is there.
    over: bool,
    /// Whether what is written to the terminal next begins a line.
    on_new_line: bool,
}

/// The port at which something can be seen from now on.
fn served(event: &Event) -> Option<u16> {
    let closed = event.tags.iter().any(|tag| tag.as_slice() == ["closed"]);
    let serves = tag_value(event, "l") == Some("serve") && !closed;
    serves.then(|| tag_value(event, "port")?.parse().ok())?
}

/// Text that arrives in numbered pieces, shown in order.
#[derive(Debug, Default)]
struct Stream {
    show: bool,
    next: u64,
    early: BTreeMap<u64, String>,
    shown: String,
}

impl Progress {
    pub(super) fn new(job: &Event, coordinator: PublicKey, stream: bool) -> Self {
        let view = View {
            columns: output::progress_columns(),
            verbose: false,
            now: Timestamp::now().as_secs(),
        };
        Self {
            job: job.id,
            coordinator,
            sessions: HashSet::new(),
            renderer: Renderer::new(view, Some(coordinator)).since(job.created_at.as_secs()),
            text: Stream {
                show: stream,
                ..Stream::default()
            },
            flow: stream.then(|| Flow::new(output::terminal_columns())),
            last: String::new(),
            held: Vec::new(),
            passing: Passing::default(),
            doing: String::new(),
            since: Instant::now(),
            over: false,
            on_new_line: true,
        }
    }

    /// Says what happens first.
    pub(super) fn starting(&mut self, starting: Starting) {
        if let Some(note) = starting.note {
            for line in output::hanging("", &note, output::progress_columns()) {
                output::progress(line);
            }
        }
        self.doing(starting.doing);
    }

    /// The session at work, when there is one alone.
    pub(super) fn session(&self) -> Option<PublicKey> {
        let mut sessions = self.sessions.iter();
        sessions
            .next()
            .copied()
            .filter(|_| sessions.next().is_none())
    }

    /// Whether a session began.
    pub(super) fn began(&self) -> bool {
        !self.sessions.is_empty()
    }

    /// Says what happens until the next step; an empty text says nothing.
    fn doing(&mut self, doing: String) {
        self.doing = doing;
        self.since = Instant::now();
        if self.doing.is_empty() {
            self.passing.clear();
        } else {
            self.passing.show(&format!("· {} …", self.doing));
        }
    }

    /// A second went by.
    pub(super) fn tick(&mut self) {
        let seconds = self.since.elapsed().as_secs();
        if seconds > 0 && !self.doing.is_empty() && std::io::stderr().is_terminal() {
            let line = format!("· {} … {seconds} s", self.doing);
            self.passing.show(&line);
        }
    }

    /// Writes text of the answer, and between its lines the steps that waited for them.
    fn write(&mut self, text: &str) -> Result<(), CommandError> {
        if !self.held.is_empty()
            && let Some((line, rest)) = text.split_once('\n')
        {
            self.put(line)?;
            self.put("\n")?;
            for step in std::mem::take(&mut self.held) {
                output::progress(&step);
            }
            return if rest.is_empty() {
                Ok(())
            } else {
                self.put(rest)
            };
        }
        self.put(text)
    }

    fn put(&mut self, text: &str) -> Result<(), CommandError> {
        self.doing(String::new());
        let shown = match &mut self.flow {
            Some(flow) => flow.add(text),
            None => text.to_owned(),
        };
        output::piece(&shown)?;
        if let Some(last) = text.chars().last() {
            self.on_new_line = last == '\n';
        }
        Ok(())
    }

    /// Takes one event of the subscription. What neither the coordinator nor a session of this job signed
    /// is somebody else's word.
    pub(super) fn hear(&mut self, event: &Event) -> Result<Heard, CommandError> {
        let by_coordinator = event.pubkey == self.coordinator;
        if !by_coordinator && !self.sessions.contains(&event.pubkey) {
            return Ok(Heard::Nothing);
        }
        match event.kind.as_u16() {
            kind::LIVE_DELTA => {
                if let Some(seq) = tag_value(event, "stream-seq").and_then(|seq| seq.parse().ok())
                    && let Some(ready) = self.text.take(seq, &event.content)
                {
                    self.write(&ready)?;
                }
            }
            kind::SESSION_START..=kind::ERROR => {
                // What is said is the answer itself, on stdout; what the model cost is for the timeline.
                let aside = Record::parse(event).is_ok_and(|record| match record.body {
                    Body::Action(action) => {
                        action.kind == ActionKind::Message
                            || action.kind == ActionKind::Other("model".to_owned())
                    }
                    _ => false,
                });
                let label = tag_value(event, "l");
                if !self.over && label == Some("question") {
                    // What is asked stands below it, and nothing runs over that.
                    self.release()?;
                    if let Some(line) = self.renderer.entry(event) {
                        self.step(line)?;
                    }
                    return Ok(Heard::Asks);
                }
                if !aside && let Some(line) = self.renderer.entry(event) {
                    self.step(line)?;
                    // Models think for a long time, and a person wonders.
                    let last = event.kind.as_u16() == kind::SESSION_END;
                    if !last && !self.over && self.on_new_line && std::io::stderr().is_terminal() {
                        self.doing("working".to_owned());
                    }
                }
                if let Some(port) = served(event) {
                    let dim = anstyle::Style::new().dimmed();
                    self.step(format!(
                        "{dim}     see it, in another terminal: treefort preview --port {port}{dim:#}"
                    ))?;
                }
                if label == Some("answer")
                    && let Some(question) = tag_value(event, "question")
                {
                    return Ok(Heard::Answered(question.to_owned()));
                }
            }
            _ if by_coordinator => return self.hear_coordinator(event),
            _ => {}
        }
        Ok(Heard::Nothing)
    }

    fn hear_coordinator(&mut self, event: &Event) -> Result<Heard, CommandError> {
        if event.kind.as_u16() == kind::AGENT_TASK {
            self.sessions.extend(view::people(event));
            return Ok(Heard::Nothing);
        }
        if view::ids(event, "e").next() != Some(self.job) {
            return Ok(Heard::Nothing);
        }
        if kind::is_job_result(event.kind) {
            return Ok(Heard::Result);
        }
        let Some(feedback) = Feedback::of(event) else {
            return Ok(Heard::Nothing);
        };
        Ok(match feedback.status {
            Status::Success => Heard::Success,
            Status::Error => Heard::Failed {
                sentence: feedback.sentence,
                code: feedback.code,
            },
            Status::Processing => {
                // A question is shown where it is on the record. That it was taken is no news to who asked.
                let asks = tag_value(event, "question").is_some();
                let known = asks || matches!(feedback.sentence.as_str(), "" | ACCEPTED);
                if !known && self.on_new_line {
                    self.doing(feedback.sentence);
                }
                Heard::Nothing
            }
            Status::Partial | Status::PaymentRequired => Heard::Nothing,
        })
    }

    /// Shows a step on stderr, unless it was just shown. Text that is being written to the same terminal gets
    /// its line ended first.
    fn step(&mut self, line: String) -> Result<(), CommandError> {
        if line == self.last {
            return Ok(());
        }
        self.last.clone_from(&line);
        if self.text.show && !self.on_new_line {
            if !self.text.ends_sentence() && self.held.len() < MAX_HELD {
                self.held.push(line);
                return Ok(());
            }
            self.write("\n")?;
        }
        self.doing(String::new());
        output::progress(&line);
        Ok(())
    }

    /// Shows the steps that wait, whatever is being written: somebody is asked, or it is over.
    fn release(&mut self) -> Result<(), CommandError> {
        if self.held.is_empty() {
            return Ok(());
        }
        self.write("\n")
    }

    /// Writes the answer: what of it has not been streamed.
    pub(super) fn answer(&mut self, result: &Event) -> Result<(), CommandError> {
        self.over = true;
        let rest = self.text.rest(&sanitize(&result.content));
        self.write(&rest)?;
        self.release()
    }

    /// Ends a line that was begun.
    pub(super) fn finish(&mut self) -> Result<(), CommandError> {
        self.over = true;
        self.doing(String::new());
        if !self.text.shown.is_empty() && !self.text.shown.ends_with('\n') {
            self.write("\n")?;
            self.text.shown.push('\n');
        }
        self.release()
    }
}

impl Stream {
    /// Takes a piece; returns what can be shown now. A piece that comes twice is shown once.
    fn take(&mut self, seq: u64, piece: &str) -> Option<String> {
        if !self.show || seq < self.next || self.early.len() >= MAX_PIECES {
            return None;
        }
        self.early.insert(seq, sanitize(piece));
        let mut ready = String::new();
        while let Some(piece) = self.early.remove(&self.next) {
            ready.push_str(&piece);
            self.next += 1;
        }
        self.shown.push_str(&ready);
        Some(ready).filter(|ready| !ready.is_empty())
    }

    /// Whether what is shown is a whole sentence, as far as that can be seen.
    fn ends_sentence(&self) -> bool {
        let end = self
            .shown
            .trim_end_matches(['"', '\'', '`', '*', ')', '”', '’', ' ']);
        end.ends_with(['.', '!', '?', ':', '…', '。', '！', '？'])
    }

    /// What is still to be written so that the whole answer stands there, with its last line ended.
    fn rest(&mut self, answer: &str) -> String {
        let mut rest = match answer.strip_prefix(self.shown.as_str()) {
            Some(rest) => rest.to_owned(),
            // White space at the ends is all that differs.
            None if answer.trim() == self.shown.trim() => String::new(),
            // Text was lost on the way, or the answer is another one: it stands there in full, once.
            None => format!("\n\n{answer}"),
        };
        let last = rest.chars().last().or(self.shown.chars().last());
        if last != Some('\n') {
            rest.push('\n');
        }
        self.shown.push_str(&rest);
        rest
    }
}

#[cfg(test)]
mod tests {
    use nostr::Keys;

    use super::*;
    use crate::nips::Draft;

    fn stream() -> Stream {
        Stream {
            show: true,
            ..Stream::default()
        }
    }

    #[test]
    fn pieces_are_shown_in_order_and_once() {
        let mut text = stream();
        assert_eq!(text.take(1, "b"), None);
        assert_eq!(text.take(0, "a\u{1b}"), Some("ab".into()));
        assert_eq!(text.take(0, "a"), None);
        assert_eq!(text.take(3, "d"), None);
        assert_eq!(text.rest("abcd"), "cd\n");
    }

    #[test]
    fn the_whole_answer_stands_there_in_every_case() {
        assert_eq!(stream().rest("all of it"), "all of it\n");
        let mut whole = stream();
        whole.take(0, "x\n");
        assert_eq!(whole.rest("x\n"), "");
        let mut other = stream();
        other.take(0, "draft");
        assert_eq!(other.rest("answer"), "\n\nanswer\n");
    }

    #[test]
    fn a_step_waits_for_the_end_of_a_sentence() {
        let request = Draft::new(5050).sign(&Keys::generate(), 1).unwrap();
        let mut progress = Progress::new(&request, Keys::generate().public_key(), true);
        for (piece, waits) in [("I will write", 1), (" the page.\n\nDone", 0)] {
            let ready = progress.text.take(progress.text.next, piece).unwrap();
            progress.write(&ready).unwrap();
            if waits > 0 {
                progress.step("a step".to_owned()).unwrap();
            }
            assert_eq!(progress.held.len(), waits);
        }
        // A sentence that is whole is not waited for, and nothing waits when it is over.
        let ready = progress.text.take(progress.text.next, ": `a`.").unwrap();
        progress.write(&ready).unwrap();
        progress.step("another".to_owned()).unwrap();
        assert!(progress.held.is_empty() && progress.on_new_line);
        let ready = progress.text.take(progress.text.next, "and").unwrap();
        progress.write(&ready).unwrap();
        progress.step("the last".to_owned()).unwrap();
        assert_eq!(progress.held.len(), 1);
        progress.finish().unwrap();
        assert!(progress.held.is_empty());
    }

    #[test]
    fn only_the_coordinator_ends_a_job_and_only_its_sessions_write() {
        let (coordinator, session, stranger) =
            (Keys::generate(), Keys::generate(), Keys::generate());
        let request = Draft::new(5050).sign(&stranger, 1).unwrap();
        let job = request.id;
        let mut progress = Progress::new(&request, coordinator.public_key(), true);
        let about = |kind: u16| Draft::new(kind).tag(["e", &job.to_hex()]);
        let error = about(7000)
            .tag(["status", "error", "no"])
            .tag(["code", "no-model"]);

        let forged = error.sign(&stranger, 1).unwrap();
        assert!(matches!(progress.hear(&forged).unwrap(), Heard::Nothing));
        let result = about(6050).sign(&stranger, 1).unwrap();
        assert!(matches!(progress.hear(&result).unwrap(), Heard::Nothing));

        let delta = about(kind::LIVE_DELTA)
            .tag(["stream-seq", "0"])
            .content("hi");
        progress.hear(&delta.sign(&session, 1).unwrap()).unwrap();
        assert_eq!(progress.text.shown, "");
        let handed = about(kind::AGENT_TASK).tag(["p", &session.public_key().to_hex()]);
        progress
            .hear(&handed.sign(&coordinator, 1).unwrap())
            .unwrap();
        progress.hear(&delta.sign(&session, 1).unwrap()).unwrap();
        assert_eq!(progress.text.shown, "hi");

        let failed = progress
            .hear(&error.sign(&coordinator, 1).unwrap())
            .unwrap();
        assert!(matches!(failed, Heard::Failed { code: Some(code), .. } if code == "no-model"));
    }
}
