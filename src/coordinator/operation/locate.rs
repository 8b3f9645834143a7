//! Where a copy is, made safe for its owner to go to.

use std::sync::Arc;

use super::{
    super::{hold::OperationHold, shared::Shared, words},
    LIST,
};
use crate::{
    nips::workspace::{Outcome, cut_to},
    workspace::nested,
};

/// Where a copy is. The owner may go there and say `git`: the repository becomes one that no agent wrote.
pub(super) async fn of(shared: &Arc<Shared>) -> Outcome {
    // As long as a session holds the copy the repository is its agent's.
    let hold = match shared.holders.is_busy() {
        true => None,
        false => OperationHold::take(shared).await.ok(),
    };
    let agents_git = hold.is_none() || shared.live().is_some() || {
        let taken = shared.with(|files| Ok(files.take_git_from_the_agent()?));
        taken.await.is_err_and(|failure| {
            tracing::warn!(sentence = failure.sentence, "the agent's git stays");
            true
        })
    };
    // What the agent may have made elsewhere stays: it is told of.
    let found = shared.with(|files| {
        let Some(last) = files.checkpoints()?.pop() else {
            return Ok(Vec::new());
        };
        Ok(nested::repositories(files.store(), &last.tree)?)
    });
    let found = found.await.unwrap_or_else(|failure| {
        tracing::warn!(
            sentence = failure.sentence,
            "repositories inside are not named"
        );
        Vec::new()
    });
    let (repositories, _) = cut_to(found.iter().map(|path| words::text(path)), LIST);
    Outcome::Locate {
        agents_git,
        repositories,
    }
}
