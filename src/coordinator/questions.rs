//! What an agent waits for an answer to: the questions that are open, in a turn. Pure: whoever asks it keeps the record
//! and tells the agent.

use nostr::EventId;
use tokio::time::Instant;

use super::clock::Clock;
use crate::{job::Failure, nips::workspace::OptionLine};

/// Questions that an agent may put in one turn; then its owner is not asked any more.
const MOST: usize = 200;

/// The questions of a turn. `A` is the way to tell the agent.
#[derive(Debug)]
pub(super) struct Questions<A> {
    open: Vec<Question<A>>,
    asked: usize,
    /// Whether it was said that there were too many.
    told_of_too_many: bool,
    /// Whether one was answered with no since this was last looked at.
    pub(super) refused: bool,
}

/// A question that waits for its answer.
#[derive(Debug)]
pub(super) struct Question<A> {
    /// Its record.
    pub(super) id: EventId,
    /// What it is about, for the checkpoint before its answer.
    pub(super) about: String,
    /// What is asked.
    pub(super) text: String,
    /// What may be answered, in the agent's order.
    pub(super) options: Vec<OptionLine>,
    /// Until when, in Unix seconds, when nothing stands still.
    pub(super) until: u64,
    /// How long it still waits.
    pub(super) clock: Clock,
    /// The way to tell the agent.
    pub(super) answer: A,
}

impl<A> Default for Questions<A> {
    fn default() -> Self {
        Self {
            open: Vec::new(),
            asked: 0,
            told_of_too_many: false,
            refused: false,
        }
    }
}

impl<A> Questions<A> {
    /// Whether nothing is open.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// What is open, in the order in which it was asked.
    pub(super) fn open(&self) -> &[Question<A>] {
        &self.open
    }

    /// Whether one more may be asked.
    pub(super) fn has_room(&self) -> bool {
        self.asked < MOST
    }

    /// There was no room; whether that is news.
    pub(super) fn too_many(&mut self) -> bool {
        !std::mem::replace(&mut self.told_of_too_many, true)
    }

    /// One more is asked.
    pub(super) fn ask(&mut self, question: Question<A>) {
        self.asked += 1;
        self.open.push(question);
    }

    /// Time goes on or stands still.
    pub(super) fn run(&mut self, runs: bool, now: Instant) {
        for question in &mut self.open {
            question.clock.run(runs, now);
        }
    }

    /// When the next one has waited long enough.
    pub(super) fn due(&self) -> Option<Instant> {
        self.open.iter().filter_map(|it| it.clock.due()).min()
    }

    /// One that has waited long enough.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Question<A>> {
        let at = self.open.iter().position(|it| it.clock.is_over(now))?;
        Some(self.open.remove(at))
    }

    /// The one that is answered, with the place of the option that is chosen; nothing when it is not open.
    ///
    /// # Errors
    /// When it has no such option.
    pub(super) fn take(
        &mut self,
        id: &EventId,
        option: &str,
    ) -> Result<Option<(Question<A>, usize)>, Failure> {
        let failed = |sentence: String| Failure::new("workspace", sentence);
        let at = self.open.iter().position(|it| it.id == *id);
        let Some(at) = at else { return Ok(None) };
        let options = &self.open[at].options;
        let place = options.iter().position(|offered| offered.id == option);
        let place = place.ok_or_else(|| {
            let ids: Vec<&str> = options.iter().map(|option| option.id.as_str()).collect();
            failed(format!(
                "this is no answer to the question: its options are {}",
                ids.join(", ")
            ))
        })?;
        Ok(Some((self.open.remove(at), place)))
    }

    /// All that are open: the turn is over or broken off.
    pub(super) fn take_all(&mut self) -> Vec<Question<A>> {
        std::mem::take(&mut self.open)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn question(number: u8, seconds: u64, now: Instant) -> Question<u8> {
        let option = |id: &str| OptionLine {
            id: id.to_owned(),
            kind: "allow_once".to_owned(),
            name: String::new(),
        };
        Question {
            id: EventId::from_byte_array([number; 32]),
            about: String::new(),
            text: String::new(),
            options: vec![option("1"), option("2")],
            until: 0,
            clock: Clock::new(seconds, now),
            answer: number,
        }
    }

    #[test]
    fn each_is_answered_once_by_an_option_that_it_has_or_by_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut questions = Questions::default();
        questions.ask(question(1, 10, at(0)));
        questions.ask(question(2, 5, at(1)));
        questions.ask(question(3, 100, at(1)));
        let id = |number: u8| EventId::from_byte_array([number; 32]);
        assert_eq!(questions.due(), Some(at(6)));
        assert!(questions.take_due(at(5)).is_none());
        let wrong = questions.take(&id(1), "3").unwrap_err().sentence;
        assert!(wrong.contains("1, 2"), "{wrong}");
        let (taken, place) = questions.take(&id(1), "2").unwrap().unwrap();
        assert_eq!((taken.answer, place), (1, 1));
        assert!(questions.take(&id(1), "2").unwrap().is_none());
        // What stands still does not wait.
        questions.run(false, at(3));
        assert_eq!(questions.due(), None);
        assert!(questions.take_due(at(1000)).is_none());
        questions.run(true, at(1000));
        assert_eq!(questions.take_due(at(1003)).unwrap().answer, 2);
        assert!(questions.take(&id(2), "1").unwrap().is_none());
        let rest: Vec<u8> = questions.take_all().iter().map(|it| it.answer).collect();
        assert_eq!(rest, [3]);
        assert!(questions.is_empty() && questions.due().is_none());
    }

    #[test]
    fn an_agent_that_asks_without_end_is_not_asked_for_any_more() {
        let now = Instant::now();
        let mut questions = Questions::default();
        let mut asked = 0;
        for _ in 0..10_000 {
            if questions.has_room() {
                questions.ask(question(1, 1, now));
                drop(questions.take_all());
                asked += 1;
            }
        }
        assert_eq!(asked, MOST);
        assert!(questions.too_many() && !questions.too_many());
    }
}
