//! What an owner says to a session at work: it is paused and let go on, steered, and answered.

use crate::{
    coordinator::{
        context::Context,
        desk::{Ear, Word},
    },
    job::{Answer as JobAnswer, Failure},
    nips::workspace::{Answer, Operation, Outcome, QuestionLine, Task, WorkLine, cut_to},
};

use super::{IN_CLEAR, LIST, text_of};

/// Who is at work, with what each of them asks. What is private is left out of an answer in the clear.
pub(super) async fn at_work(context: &Context, hidden: bool) -> Result<JobAnswer, Failure> {
    let ears = context.desk.at_work();
    let looks = ears.iter().map(|ear| ear.say(Word::Look));
    let looks = futures_util::future::join_all(looks).await;
    let lines = ears.iter().zip(looks).map(|(ear, seen)| {
        let about = &ear.about;
        let shown = hidden || !about.private;
        // One that does not answer is at work all the same.
        let seen = seen.unwrap_or_default();
        let blank = |question: QuestionLine| QuestionLine {
            text: String::new(),
            options: Vec::new(),
            ..question
        };
        let questions = seen.questions.into_iter();
        WorkLine {
            session: about.session,
            agent: about.agent.clone(),
            title: about.title.clone(),
            at: about.at,
            workspace: about.workspace,
            project: about
                .project
                .as_ref()
                .filter(|_| shown)
                .map(|project| project.to_string_lossy().into_owned()),
            paused: seen.paused,
            questions: match shown {
                true => questions.collect(),
                false => questions.map(blank).collect(),
            },
        }
    });
    let (sessions, _) = cut_to(lines, LIST);
    answer(context, None, Outcome::AtWork { sessions })
}

/// Says it to the session that is meant.
pub(super) async fn say(context: &Context, task: Task, hidden: bool) -> Result<JobAnswer, Failure> {
    let ear = match (&task.operation, &task.which) {
        // The question itself names who asked it.
        (Operation::Answer { question, .. }, which) => {
            asker(context, &question.to_hex(), which).await?
        }
        (_, which) => context.desk.find(which)?,
    };
    if ear.about.private && !hidden {
        return Err(Failure::new("workspace", IN_CLEAR));
    }
    let session = ear.about.session;
    let outcome = match task.operation {
        Operation::Answer { question, option } => {
            let word = |heard| Word::Answer {
                question,
                option,
                heard,
            };
            let answered = ear.say(word).await?;
            Outcome::Answered {
                session,
                option: answered.option,
                kind: answered.kind,
                name: answered.name,
            }
        }
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

/// Who asked this; without a session's name all that are at work are looked at.
async fn asker(
    context: &Context,
    question: &str,
    which: &crate::nips::workspace::Which,
) -> Result<Ear, Failure> {
    if let crate::nips::workspace::Which::Session(_) = which {
        return context.desk.find(which);
    }
    for ear in context.desk.at_work() {
        let seen = ear.say(Word::Look).await.unwrap_or_default();
        if seen.questions.iter().any(|open| open.question == question) {
            return Ok(ear);
        }
    }
    Err(Failure::new(
        "workspace",
        "nobody waits for this answer: it was given already, or the time for it is over",
    ))
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
