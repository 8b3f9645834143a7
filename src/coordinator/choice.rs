//! What a job asks of its model, and what it gets.

use super::{context::Context, executor::Order};
use crate::{
    job::Failure,
    model::{Budget, ModelOptions, local::ModelInfo},
    nips::nip90::JobRequest,
};

/// The model: what the owner's job names, and must be there; for a stranger always the default.
///
/// # Errors
/// When it is not there.
pub(super) async fn model(context: &Context, order: &Order) -> Result<ModelInfo, Failure> {
    let named = if order.stranger {
        None
    } else {
        order.request.param("model")
    };
    context
        .local
        .choose(named.unwrap_or(&context.default_model))
        .await
        .map_err(|error| Failure::new("no-model", format!("{error}. {}", error.fix())))
}

/// How the model answers: what the customer asked for, within a stranger's quota.
pub(super) async fn options(context: &Context, order: &Order, model: &ModelInfo) -> ModelOptions {
    let request: &JobRequest = &order.request;
    let asked: Option<i64> = request
        .number("max_tokens")
        .filter(|tokens: &i64| *tokens > 0);
    let limit = order
        .stranger
        .then_some(i64::from(context.jobs.strangers.tokens));
    ModelOptions {
        temperature: within(request.number("temperature"), 0.0, 2.0),
        top_k: request.number("top_k").map(|k: u32| k.max(1)),
        top_p: within(request.number("top_p"), 0.0, 1.0),
        frequency_penalty: within(request.number("frequency_penalty"), -2.0, 2.0),
        num_predict: match (asked, limit) {
            (Some(asked), Some(limit)) => Some(asked.min(limit)),
            (asked, limit) => asked.or(limit),
        },
        // More than the model was made for makes it slow and wrong.
        num_ctx: context
            .local
            .context_length(model)
            .await
            .and_then(|length| u32::try_from(length).ok())
            .map(|length| length.min(context.num_ctx)),
        seed: request.number("seed"),
    }
}

/// What the job may use.
pub(super) fn budget(context: &Context, order: &Order) -> Budget {
    let stranger = order.stranger.then_some(&context.jobs.strangers);
    Budget {
        // A stranger's job gets one prompt as long as the model can read, and its tokens.
        tokens: match stranger {
            Some(quota) => Some(u64::from(quota.tokens) + u64::from(context.num_ctx)),
            None => order.request.number("budget_tokens"),
        },
        seconds: stranger.map(|quota| quota.seconds),
        microusd: None,
    }
}

/// A number in its range (`nips/90.md`); what is no number counts as absent.
fn within(number: Option<f64>, least: f64, most: f64) -> Option<f64> {
    number
        .filter(|number| !number.is_nan())
        .map(|number| number.clamp(least, most))
}
