//! One job of a session: the prompt, what comes back, and the answer.

use tokio::time::Instant;

use super::{
    attached::Prompt,
    checks::{self, Checks},
    context::now,
    facts,
    growing::Growing,
    listen::listen,
    memory,
    process::Talk,
    publisher::PublishError,
    reach,
    saying::{answer, message, record_error, report, take_call},
    session::{After, Lines, Session, Turn},
    shell,
    usage::Usage,
    watch::ended_too_large,
};
use crate::{
    agent::acp::{self, StopReason},
    job::{Failure, Report},
    nips::session::Outcome,
};

/// What ended the wait for the agent.
pub(super) enum Ended {
    Turn(Result<acp::Turn, acp::Error>),
    Cancelled,
    TimedOut,
    Shutdown,
    TooLong,
    /// It did not stop although the files under it were brought back.
    Stubborn,
    /// It stood still for its owner, and could not be woken for another job.
    Stiff,
    /// A command ended, with the exit code that the host saw.
    Exited(i64),
    /// A budget is used up.
    Budget(Failure),
}

/// Has the agent do one job, and reports the answer.
pub(super) async fn run(
    session: &mut Session,
    turn: &Turn,
    prompt: &Prompt,
    lines: &Lines,
) -> After {
    let order = &turn.order;
    match Box::pin(work(session, turn, prompt, lines)).await {
        Ok(after) => after,
        Err(error) => {
            // The relay or the disk refuses records: going on would leave a gap in the chain.
            tracing::error!(%error, "the session's record could not be written");
            let failure =
                Failure::new("agent", format!("the record could not be written: {error}"));
            report(session, order, lines, Report::Failed(failure)).await;
            After::Over(Outcome::Failed, "record")
        }
    }
}

async fn work(
    session: &mut Session,
    turn: &Turn,
    prompt: &Prompt,
    lines: &Lines,
) -> Result<After, PublishError> {
    let order = &turn.order;
    // The session's first job was handed over before its start.
    let inner = match session.first_inner.take() {
        Some(inner) => inner,
        None => {
            // What a job may use is its own, not what the one before left of it.
            session.process.new_budget();
            let mut events = Vec::new();
            let inner = session.take_job(order, prompt, &mut events)?;
            session.emit(events).await?;
            inner
        }
    };
    session.rests(false);
    report(session, order, lines, Report::Began).await;
    // A command runs already; the state before it is that of the start.
    if matches!(session.process.talk, Talk::Acp { .. }) {
        facts::begin_turn(session).await?;
    }
    if let (Some(bench), true) = (&session.bench, order.continues.is_some()) {
        bench.shared.goes_on().await;
    }
    memory::hears(session, order.event.id).await;
    let began = Instant::now();
    let mut growing = Growing::new(began);
    let mut usage = Usage::new(began);
    session.forget_claims();
    reach::begin(session);
    let ended = match session.process.talk {
        Talk::Acp { .. } => listen(session, turn, prompt, lines, &mut growing, &mut usage).await?,
        Talk::Exec { .. } => shell::listen(session, turn, lines, &mut growing, &mut usage).await?,
    };
    reach::end(session).await?;
    session.process.model_settled().await;
    session.rests(true);
    while let Ok(call) = session.calls.try_recv() {
        take_call(session, &mut usage, call)?;
    }
    // The call that passed a budget may be heard of after the agent's last word.
    let ended = match (ended, usage.exhausted.take()) {
        (Ended::Turn(_) | Ended::Exited(_), Some(failure)) => Ended::Budget(failure),
        (ended, _) => ended,
    };
    // A command is recorded before what it changed.
    if !matches!(ended, Ended::Exited(_)) {
        facts::end_turn(session).await?;
    }
    session.log.spend(usage.prompt_tokens + usage.output_tokens);
    if usage.truncated {
        let sentence =
            "The prompt was longer than the model's context; the model did not read all of it.";
        let entry = session
            .log
            .error("truncated-prompt", true, sentence, now())?;
        session.publish(entry).await?;
    }

    for sentence in std::mem::take(&mut usage.fell_back) {
        // It holds what the model's provider said, which may repeat the prompt.
        let sentence = if session.private {
            "Another model answered than the one that was asked first.".to_owned()
        } else {
            session.context.redactor.redact(&sentence).into_owned()
        };
        let entry = session.log.error("fallback", true, &sentence, now())?;
        session.publish(entry).await?;
    }

    // What a command wrote is in its own record.
    if !matches!(ended, Ended::Turn(Ok(_)) | Ended::Exited(_))
        && let Some(said) = growing.take_unrecorded()
    {
        // What was shown is on the record, also when it did not become an answer.
        let said = message(
            session,
            &said,
            &usage,
            began.elapsed(),
            "Said before it stopped",
        )?;
        session.publish(said).await?;
    }

    let refused = std::mem::take(&mut session.stand.questions.refused);
    let failure = match ended {
        Ended::Turn(Ok(done)) if done.stop_reason == StopReason::Refusal => {
            Some(Failure::new("agent", "the agent refused the job"))
        }
        Ended::Turn(Ok(done))
            if refused
                && (done.stop_reason == StopReason::Cancelled
                    || growing.text.trim().is_empty()) =>
        {
            Some(Failure::new(
                "refused",
                "the agent was told no, and ended there; what it did until then is in its copy",
            ))
        }
        Ended::Turn(Ok(done)) if done.stop_reason == StopReason::Cancelled => {
            Some(Failure::new("interrupted", "the agent ended the job early"))
        }
        Ended::Exited(code) => {
            ended_too_large(session, order, lines).await?;
            return shell::answer_with(session, order, &inner, &growing.text, code, began, lines)
                .await;
        }
        Ended::Turn(Ok(_)) if growing.text.trim().is_empty() => {
            Some(Failure::new("model", "the model gave an empty answer"))
        }
        Ended::Turn(Ok(_)) => None,
        Ended::Turn(Err(error)) => Some(turn_failed(session, &error, usage.failed.take()).await),
        Ended::TooLong => Some(Failure::new(
            "agent",
            "the agent said more than an answer may hold",
        )),
        Ended::Stubborn => Some(Failure::new(
            "agent",
            "the agent went on although its files were brought back to an earlier state",
        )),
        Ended::Stiff => Some(Failure::new(
            "agent",
            "the agent stood still and could not be woken",
        )),
        Ended::TimedOut => {
            record_error(session, "timeout", "The job took longer than it may.").await?;
            let failure = Failure::new("timeout", "the job took longer than it may");
            report(session, order, lines, Report::Failed(failure)).await;
            return Ok(After::Over(Outcome::Failed, "timeout"));
        }
        Ended::Budget(failure) => {
            record_error(session, failure.code, &failure.sentence).await?;
            report(session, order, lines, Report::Failed(failure)).await;
            return Ok(After::Over(Outcome::Failed, "budget"));
        }
        Ended::Cancelled => return Ok(After::Over(Outcome::Interrupted, "cancelled")),
        Ended::Shutdown => return Ok(After::Over(Outcome::Interrupted, "stopped")),
    };
    if let Some(failure) = failure {
        let sentence = session
            .context
            .redactor
            .redact(&failure.sentence)
            .into_owned();
        record_error(session, failure.code, &sentence).await?;
        report(
            session,
            order,
            lines,
            Report::Failed(Failure {
                sentence,
                ..failure
            }),
        )
        .await;
        return Ok(After::Over(Outcome::Failed, "error"));
    }
    growing.ends();
    growing.flush(session, &order.request.customer).await;
    let text = session.context.redactor.redact(&growing.text).into_owned();
    let message = message(
        session,
        growing.unrecorded(),
        &usage,
        began.elapsed(),
        "Answered",
    )?;
    let message = session.keep_whole(message).await;
    memory::answered(session, order.event.id).await;
    let mut events = vec![message];
    let mut tags = Vec::new();
    if checks::any(order) {
        // What the agent said comes before what its work is worth.
        session.emit(std::mem::take(&mut events)).await?;
        match Box::pin(checks::run(session, turn, lines)).await? {
            Checks::Done(checked) => tags = checked,
            Checks::Ended(Ended::Shutdown) => {
                return Ok(After::Over(Outcome::Interrupted, "stopped"));
            }
            Checks::Ended(_) => return Ok(After::Over(Outcome::Interrupted, "cancelled")),
        }
    }
    let (answer, result) = answer(session, order, &inner, text, tags).await?;
    events.push(result);
    session.emit(events).await?;
    report(session, order, lines, Report::Answered(answer)).await;
    Ok(After::Open)
}

/// Why a turn failed: what the host saw of the model before what the agent says.
async fn turn_failed(session: &Session, error: &acp::Error, model: Option<Failure>) -> Failure {
    match (error, model) {
        (acp::Error::Rpc { .. }, Some(model)) => model,
        (acp::Error::Rpc { error, .. }, None) => Failure::new("agent", error.message.clone()),
        (error, _) => session.process.agent_failed(error).await,
    }
}
