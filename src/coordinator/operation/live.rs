//! What an owner says to a session at work: it is paused and let go on, steered, and answered.

use std::time::Duration;

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use nostr::EventId;

use crate::{
    coordinator::{
        context::Context,
        desk::{Answered, Desk, Ear, Seen, Word},
    },
    job::{Answer as JobAnswer, Failure},
    nips::workspace::{
        Answer, Operation, Outcome, QuestionLine, Task, Which, WorkLine, cut_questions,
    },
};

use super::{IN_CLEAR, text_of};

/// How long a session may take to say how it stands: it may be busy with its files.
const LOOK: Duration = Duration::from_secs(3);
/// Bytes of who is at work and what they ask: nearly all that an answer holds.
const ASKED: usize = 56_000;
const NOBODY: &str =
    "nobody waits for this answer: it was given already, or the time for it is over";

/// Who is at work, with what each of them asks. What is private is left out of an answer in the clear.
pub(super) async fn at_work(
    context: &Context,
    which: &Which,
    hidden: bool,
) -> Result<JobAnswer, Failure> {
    let mut ears = context.desk.at_work();
    if let Which::Session(_) = which {
        ears = vec![context.desk.find(which)?];
    }
    let looks = futures_util::future::join_all(ears.iter().map(look)).await;
    let lines = ears.iter().zip(looks).map(|(ear, seen)| {
        let shown = hidden || !ear.about.private;
        line(ear, seen, shown)
    });
    let mut sessions: Vec<WorkLine> = lines.collect();
    let total = sessions.len();
    cut_questions(&mut sessions, ASKED);
    answer(context, None, Outcome::AtWork { sessions, total })
}

fn line(ear: &Ear, seen: Option<Seen>, shown: bool) -> WorkLine {
    let silent = seen.is_none();
    let Seen { paused, questions } = seen.unwrap_or_default();
    let about = &ear.about;
    let blank = |question: QuestionLine| QuestionLine {
        text: String::new(),
        options: Vec::new(),
        ..question
    };
    let project = about.project.as_ref().filter(|_| shown);
    WorkLine {
        session: about.session,
        agent: about.agent.clone(),
        title: about.title.clone(),
        at: about.at,
        workspace: about.workspace,
        project: project.map(|project| project.to_string_lossy().into_owned()),
        paused,
        questions: match shown {
            true => questions,
            false => questions.into_iter().map(blank).collect(),
        },
        more_questions: 0,
        silent,
    }
}

/// How a session stands; nothing when it does not say so soon.
async fn look(ear: &Ear) -> Option<Seen> {
    let seen = tokio::time::timeout(LOOK, ear.say(Word::Look)).await;
    seen.ok().and_then(Result::ok)
}

/// Says it to the session that is meant.
pub(super) async fn say(context: &Context, task: Task, hidden: bool) -> Result<JobAnswer, Failure> {
    if let Operation::Answer { question, option } = &task.operation {
        let (ear, answered) =
            answer_it(&context.desk, &task.which, *question, option, hidden).await?;
        let outcome = Outcome::Answered {
            session: ear.about.session,
            option: answered.option,
            kind: answered.kind,
            name: answered.name,
        };
        return answer(context, Some(&ear), outcome);
    }
    let ear = context.desk.find(&task.which)?;
    if ear.about.private && !hidden {
        return Err(Failure::new("workspace", IN_CLEAR));
    }
    let session = ear.about.session;
    let outcome = match task.operation {
        Operation::Pause => {
            ear.say(Word::Pause).await?;
            Outcome::Pause { session }
        }
        Operation::Resume => {
            ear.say(Word::Resume).await?;
            Outcome::Resume { session }
        }
        Operation::Steer { text } => {
            let word = |heard| Word::Steer {
                text,
                note: None,
                heard,
            };
            ear.say(word).await?;
            Outcome::Steer { session }
        }
        other => {
            let sentence = format!("`{}` is not said to a session", other.word());
            return Err(Failure::new("workspace", sentence));
        }
    };
    answer(context, Some(&ear), outcome)
}

/// Answers a question: the session that is named, else whichever asked it, for the question itself says who did.
async fn answer_it(
    desk: &Desk,
    which: &Which,
    question: EventId,
    option: &str,
    hidden: bool,
) -> Result<(Ear, Answered), Failure> {
    let ears = match which {
        Which::Session(_) => vec![desk.find(which)?],
        Which::Project(_) | Which::Newest => desk.at_work(),
    };
    let mut told: FuturesUnordered<_> = ears
        .into_iter()
        .map(
            async |ear| match tell(&ear, question, option, hidden).await {
                Ok(answered) => Ok(answered.map(|answered| (ear, answered))),
                Err(failure) => Err(failure),
            },
        )
        .collect();
    let mut failed = None;
    while let Some(heard) = told.next().await {
        match heard {
            Ok(Some(answered)) => return Ok(answered),
            Ok(None) => {}
            Err(failure) => failed = Some(failure),
        }
    }
    Err(failed.unwrap_or_else(|| Failure::new("workspace", NOBODY)))
}

/// Answers a session's question; nothing when it did not ask that.
async fn tell(
    ear: &Ear,
    question: EventId,
    option: &str,
    hidden: bool,
) -> Result<Option<Answered>, Failure> {
    if ear.about.private && !hidden {
        let seen = ear.say(Word::Look).await?;
        let id = question.to_hex();
        let asked = seen.questions.iter().any(|open| open.question == id);
        return match asked {
            true => Err(Failure::new("workspace", IN_CLEAR)),
            false => Ok(None),
        };
    }
    let word = |heard| Word::Answer {
        question,
        option: option.to_owned(),
        heard,
    };
    ear.say(word).await
}

fn answer(context: &Context, ear: Option<&Ear>, outcome: Outcome) -> Result<JobAnswer, Failure> {
    let about = ear.map(|ear| &ear.about);
    let answer = Answer {
        workspace: about.and_then(|about| about.workspace),
        project: about
            .and_then(|about| about.project.as_ref())
            .map(|project| project.to_string_lossy().into_owned()),
        path: None,
        title: about.map(|about| about.title.clone()),
        at: about.map(|about| about.at),
        passed_over: 0,
        outcome,
    };
    Ok(JobAnswer {
        text: text_of(context, answer)?,
        inner: None,
        tags: about
            .and_then(|about| about.workspace)
            .map(|workspace| vec!["workspace".to_owned(), workspace.to_hex()])
            .into_iter()
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::Arc};

    use nostr::Keys;

    use super::*;
    use crate::coordinator::desk::About;

    fn about(private: bool) -> About {
        About {
            session: Keys::generate().public_key(),
            agent: "scripted".to_owned(),
            title: String::new(),
            private,
            workspace: None,
            project: Some(PathBuf::from("/nowhere")),
            thread: None,
            at: 1,
            busy: true,
        }
    }

    #[tokio::test]
    async fn an_answer_reaches_who_asked_however_busy_and_whoever_else_is_at_work() {
        let desk = Arc::new(Desk::default());
        let asked = EventId::from_byte_array([7; 32]);
        let mut sessions = Vec::new();
        // Two that asked nothing, one that is silent for good, and who asked, busy for longer than a look.
        for (seconds, asks) in [(0, false), (1, false), (3600, false), (4, true)] {
            let (place, mut words) = desk.sit(about(false));
            sessions.push(tokio::spawn(async move {
                let _place = place;
                let mut busy = Duration::from_secs(seconds);
                while let Some(word) = words.recv().await {
                    tokio::time::sleep(std::mem::take(&mut busy)).await;
                    let Word::Answer {
                        question,
                        option,
                        heard,
                    } = word
                    else {
                        continue;
                    };
                    let answered = Answered {
                        option,
                        kind: String::new(),
                        name: String::new(),
                    };
                    let known = (asks && question == asked).then_some(answered);
                    let _ = heard.send(Ok(known));
                }
            }));
        }
        tokio::task::yield_now().await;
        let say = |which, question| {
            let desk = desk.clone();
            async move { answer_it(&desk, &which, question, "1", true).await }
        };
        let (ear, answered) = say(Which::Newest, asked).await.unwrap();
        assert_eq!(answered.option, "1");
        let named = Which::Session(ear.about.session);
        assert_eq!(
            say(named.clone(), asked).await.unwrap().0.about.session,
            ear.about.session
        );
        let other = EventId::all_zeros();
        let failure = say(named, other).await.unwrap_err();
        assert_eq!(failure.sentence, NOBODY);
        sessions.remove(2).abort();
        tokio::task::yield_now().await;
        let failure = say(Which::Newest, other).await.unwrap_err();
        assert_eq!(failure.sentence, NOBODY);
        for session in sessions {
            session.abort();
        }
    }

    #[test]
    fn in_the_clear_nothing_of_a_private_question_is_told_and_a_silent_session_is_called_so() {
        let desk = Arc::new(Desk::default());
        let (_place, _words) = desk.sit(about(true));
        let ear = desk.at_work().remove(0);
        let seen = || Seen {
            paused: false,
            questions: vec![QuestionLine {
                question: "id".to_owned(),
                text: "whisper".to_owned(),
                cut: 0,
                options: Vec::new(),
                until: 1,
            }],
        };
        let clear = serde_json::to_string(&line(&ear, Some(seen()), false)).unwrap();
        assert!(
            clear.contains("\"id\"") && !clear.contains("whisper") && !clear.contains("nowhere")
        );
        assert!(!line(&ear, Some(seen()), true).silent);
        assert!(line(&ear, None, true).silent);
    }
}
