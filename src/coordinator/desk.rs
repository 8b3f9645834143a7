//! Who is at work, and how their owner speaks to them: each session hears words in its own loop, one after the other,
//! and answers each of them.
//!
//! A session is on the list from its first job to its end. One that has nothing to do right now is there too, and says
//! so; one that ended in the moment in which it was spoken to has dropped the word, which is an answer as well.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nostr::{EventId, PublicKey};
use tokio::sync::{mpsc, oneshot};

use crate::{
    job::Failure,
    nips::workspace::{QuestionLine, Which},
};

/// Words that wait for a session; more are refused.
const WORDS: usize = 16;
/// How long a session may take to answer a word.
const PATIENCE: Duration = Duration::from_secs(20);
/// Sessions that a sentence names.
const NAMED: usize = 5;

/// What a session says when it has nothing to do.
const NOTHING: &str = "the agent has nothing to do right now: to say more to it, ask a follow-up \
                       (`treefort run --continue \"…\"`)";
const ENDED: &str = "the agent has just ended: to say more to it, ask a follow-up (`treefort run --continue \"…\"`)";
const NOBODY: &str = "no agent is at work: to say more to one that has answered, ask a follow-up \
                      (`treefort run --continue \"…\"`)";

/// The sessions that are open.
#[derive(Debug, Default)]
pub struct Desk {
    seats: Mutex<HashMap<PublicKey, Seat>>,
}

/// What is known of a session from outside.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) session: PublicKey,
    pub(super) agent: String,
    /// The beginning of what it was asked last.
    pub(super) title: String,
    pub(super) private: bool,
    /// The copy that it works on.
    pub(super) workspace: Option<PublicKey>,
    /// What that is a copy of.
    pub(super) project: Option<PathBuf>,
    /// The first note of the thread of its job.
    pub(super) thread: Option<EventId>,
    /// When it turned to its job, in Unix seconds.
    pub(super) at: u64,
    /// Whether it is on a job.
    pub(super) busy: bool,
}

#[derive(Debug)]
struct Seat {
    about: About,
    words: mpsc::Sender<Word>,
}

/// The answer to a word.
pub(super) type Heard<T> = oneshot::Sender<Result<T, Failure>>;

/// What an owner says to a session.
#[derive(Debug)]
pub(super) enum Word {
    /// A question's answer.
    Answer {
        question: EventId,
        /// The option's id.
        option: String,
        /// Nothing when it does not wait for this answer.
        heard: Heard<Option<Answered>>,
    },
    /// Stand still.
    Pause(Heard<()>),
    /// Go on.
    Resume(Heard<()>),
    /// Do this instead.
    Steer {
        text: String,
        /// The note that said so, if one did.
        note: Option<EventId>,
        heard: Heard<()>,
    },
    /// How it stands.
    Look(Heard<Seen>),
    /// End, when there is nothing to do.
    Leave,
}

/// The option that was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) option: String,
    pub(super) kind: String,
    pub(super) name: String,
}

/// How a session stands.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) paused: bool,
    pub(super) questions: Vec<QuestionLine>,
}

impl Word {
    /// It has nothing to do.
    pub(super) fn nothing_to_do(self) {
        match self {
            Self::Look(heard) => drop(heard.send(Ok(Seen::default()))),
            word => word.refuse(NOTHING),
        }
    }

    /// It will not be done; why.
    pub(super) fn refuse(self, sentence: &str) {
        let failure = Failure::new("workspace", sentence);
        // Who asked may not wait any more.
        match self {
            Self::Answer { heard, .. } => drop(heard.send(Err(failure))),
            Self::Pause(heard) | Self::Resume(heard) | Self::Steer { heard, .. } => {
                drop(heard.send(Err(failure)));
            }
            Self::Look(heard) => drop(heard.send(Err(failure))),
            Self::Leave => {}
        }
    }
}

/// A session's place on the list; it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    desk: Arc<Desk>,
    session: PublicKey,
}

impl Place {
    /// The session turns to a job.
    pub(super) fn turns_to(&self, about: About) {
        self.change(|known| *known = about);
    }

    /// The session has nothing to do.
    pub(super) fn rests(&self) {
        self.change(|known| known.busy = false);
    }

    fn change(&self, change: impl FnOnce(&mut About)) {
        if let Some(seat) = self.desk.seats().get_mut(&self.session) {
            change(&mut seat.about);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.desk.seats().remove(&self.session);
    }
}

/// The way to a session.
#[derive(Debug, Clone)]
pub(super) struct Ear {
    pub(super) about: About,
    words: mpsc::Sender<Word>,
}

impl Ear {
    /// Says something and waits for the answer.
    ///
    /// # Errors
    /// The session's own, or that it does not hear.
    pub(super) async fn say<T>(&self, word: impl FnOnce(Heard<T>) -> Word) -> Result<T, Failure> {
        let failed = |sentence| Failure::new("workspace", sentence);
        let (heard, answer) = oneshot::channel();
        self.words.try_send(word(heard)).map_err(|error| {
            failed(match error {
                mpsc::error::TrySendError::Full(_) => {
                    "too much is said to this agent at once; try again in a moment"
                }
                mpsc::error::TrySendError::Closed(_) => ENDED,
            })
        })?;
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(failed(ENDED)),
            Err(_) => Err(failed(
                "the session is busy with something else; it hears this as soon as that is done",
            )),
        }
    }
}

impl Desk {
    fn seats(&self) -> MutexGuard<'_, HashMap<PublicKey, Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session comes; gives its place and what is said to it.
    pub(super) fn sit(self: &Arc<Self>, about: About) -> (Place, mpsc::Receiver<Word>) {
        let (words, heard) = mpsc::channel(WORDS);
        let session = about.session;
        self.seats().insert(session, Seat { about, words });
        let desk = self.clone();
        (Place { desk, session }, heard)
    }

    /// The sessions that are on a job, the newest first.
    pub(super) fn at_work(&self) -> Vec<Ear> {
        let mut all: Vec<Ear> = self.ears(|about| about.busy);
        all.sort_by_key(|ear| std::cmp::Reverse((ear.about.at, ear.about.session)));
        all
    }

    /// Whether a session is on the list, and is on a job.
    pub(super) fn is_busy(&self, session: &PublicKey) -> Option<bool> {
        self.seats().get(session).map(|seat| seat.about.busy)
    }

    /// Asks a session to end as soon as it has nothing to do; it may have left.
    pub(super) fn send_away(&self, session: &PublicKey) {
        if let Some(seat) = self.seats().get(session) {
            let _ = seat.words.try_send(Word::Leave);
        }
    }

    fn ears(&self, wanted: impl Fn(&About) -> bool) -> Vec<Ear> {
        let seats = self.seats();
        let wanted = seats.values().filter(|seat| wanted(&seat.about));
        wanted
            .map(|seat| Ear {
                about: seat.about.clone(),
                words: seat.words.clone(),
            })
            .collect()
    }

    /// The session that a note means: the one whose job's thread it is in, else the only one that it names.
    pub(super) fn of_note(&self, thread: &[EventId], people: &[PublicKey]) -> Option<Ear> {
        let in_thread = |about: &About| about.thread.is_some_and(|root| thread.contains(&root));
        let mut meant = self.ears(in_thread);
        if meant.is_empty() {
            meant = self.ears(|about| people.contains(&about.session));
        }
        meant.pop().filter(|_| meant.is_empty())
    }

    /// The session that a task means. A copy's key means the session that works on it.
    ///
    /// # Errors
    /// When there is none, or there are several.
    pub(super) fn find(&self, which: &Which) -> Result<Ear, Failure> {
        let failed = |sentence: String| Failure::new("workspace", sentence);
        let mut meant = match which {
            Which::Session(key) => {
                let of = |about: &About| about.session == *key || about.workspace == Some(*key);
                let meant = self.ears(of);
                return match meant.into_iter().next() {
                    Some(ear) => Ok(ear),
                    None => Err(failed(
                        "this session is not at work: to say more to it, ask a follow-up \
                         (`treefort run --continue \"…\"`)"
                            .to_owned(),
                    )),
                };
            }
            Which::Project(path) => {
                let path = std::fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
                let all = self.at_work();
                let here = |ear: &&Ear| {
                    let project = ear.about.project.as_ref();
                    project.is_some_and(|project| path.starts_with(project))
                };
                let here: Vec<Ear> = all.iter().filter(here).cloned().collect();
                if here.is_empty() { all } else { here }
            }
            Which::Newest => self.at_work(),
        };
        if meant.len() > 1 {
            let named: Vec<String> = meant
                .iter()
                .take(NAMED)
                .map(|ear| {
                    let key = ear.about.session.to_hex();
                    format!("{} ({})", &key[..8], ear.about.agent)
                })
                .collect();
            return Err(failed(format!(
                "{} agents are at work: name the session that you mean: {}",
                meant.len(),
                named.join(", ")
            )));
        }
        meant.pop().ok_or_else(|| failed(NOBODY.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use nostr::Keys;

    use super::*;

    fn about(project: Option<&str>, busy: bool) -> About {
        About {
            session: Keys::generate().public_key(),
            agent: "scripted".to_owned(),
            title: String::new(),
            private: false,
            workspace: None,
            project: project.map(PathBuf::from),
            thread: None,
            at: 1,
            busy,
        }
    }

    #[test]
    fn the_one_that_is_at_work_here_is_meant_and_nobody_guesses_between_two() {
        let desk = Arc::new(Desk::default());
        let here = || Which::Project("/nowhere/shop/src".to_owned());
        let refused = |which: &Which| desk.find(which).unwrap_err().sentence;
        assert!(refused(&Which::Newest).contains("no agent is at work"));
        let (_resting, _) = desk.sit(about(Some("/nowhere/shop"), false));
        assert!(refused(&here()).contains("no agent is at work"));
        let chat = about(None, true);
        let (chat_place, _) = desk.sit(chat.clone());
        // The only one at work is meant wherever its owner is.
        assert_eq!(desk.find(&here()).unwrap().about.session, chat.session);
        let shop = about(Some("/nowhere/shop"), true);
        let (shop_place, _) = desk.sit(shop.clone());
        assert_eq!(desk.find(&here()).unwrap().about.session, shop.session);
        let sentence = refused(&Which::Newest);
        let name = shop.session.to_hex()[..8].to_owned();
        assert!(
            sentence.contains("2 agents") && sentence.contains(&name),
            "{sentence}"
        );
        chat_place.rests();
        let found = desk.find(&Which::Newest).unwrap();
        assert_eq!(found.about.session, shop.session);
        drop(shop_place);
        assert!(refused(&Which::Session(shop.session)).contains("not at work"));
    }

    #[tokio::test]
    async fn every_word_is_answered_whatever_becomes_of_who_it_is_said_to() {
        let desk = Arc::new(Desk::default());
        let at_work = about(None, true);
        let (place, mut words) = desk.sit(at_work);
        let ear = desk.find(&Which::Newest).unwrap();
        let session = tokio::spawn(async move {
            words.recv().await.unwrap().nothing_to_do();
            // The next one is dropped with the session.
            drop(words.recv().await);
            drop((place, words));
        });
        let steer = |heard| Word::Steer {
            text: String::new(),
            note: None,
            heard,
        };
        assert!(
            ear.say(steer)
                .await
                .unwrap_err()
                .sentence
                .contains("nothing to do")
        );
        assert!(
            ear.say(Word::Pause)
                .await
                .unwrap_err()
                .sentence
                .contains("just ended")
        );
        session.await.unwrap();
        assert!(
            ear.say(Word::Resume)
                .await
                .unwrap_err()
                .sentence
                .contains("just ended")
        );
        assert!(desk.at_work().is_empty());
    }
}
