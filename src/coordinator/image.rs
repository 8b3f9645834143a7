//! The image of an agent that a job asks for.

use crate::{
    agent::{
        image::{self, Asked},
        registry::Agent,
    },
    job::Failure,
    sandbox::Image,
};

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
