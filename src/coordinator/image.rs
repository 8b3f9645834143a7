//! The image of an agent that a job asks for, and what its customer hears while it is made.

use std::time::Duration;

use tokio::{sync::mpsc, time::Instant};

use super::{
    executor::{ExecutorEvent, Order},
    opening::excerpt,
};
use crate::{
    agent::{
        image::{self, Asked},
        registry::Agent,
    },
    job::{Failure, Report},
    recorder::Redactor,
    sandbox::Image,
};

/// How often a customer hears of a build that it waits for.
const TELL_EVERY: Duration = Duration::from_secs(3);

/// The image of an agent; `base` is the owner's `[sandbox] base`.
///
/// # Errors
/// When its folder cannot be read.
pub(super) fn of(agent: &Agent, base: &str) -> Result<Image, Failure> {
    image::of(agent, base, Asked::ByJob).map_err(|error| {
        let name = &agent.manifest.name;
        let sentence = format!("the image of {name} cannot be described: {error}");
        Failure::new("agent", sentence)
    })
}

/// Tells the customer what a build says, now and then; never ends.
pub(super) async fn tell(
    building: &mut mpsc::Receiver<String>,
    redactor: &Redactor,
    (order, agent): (&Order, &str),
    reports: &mpsc::Sender<ExecutorEvent>,
) {
    let mut next = Instant::now();
    while let Some(line) = building.recv().await {
        if Instant::now() < next || line.trim().is_empty() {
            continue;
        }
        next = Instant::now() + TELL_EVERY;
        let sentence = format!(
            "making the image of {} (only the first time): {}",
            agent,
            excerpt(redactor, &line)
        );
        let event = ExecutorEvent {
            job: order.event.id,
            attempt: order.attempt,
            session: None,
            thread: None,
            report: Report::Notice(sentence),
        };
        if reports.send(event).await.is_err() {
            tracing::debug!("nobody hears a report any more");
        }
    }
    std::future::pending().await
}
