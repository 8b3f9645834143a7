//! What is deleted for good: the parameters of a `purge`.

use nostr::EventId;

use super::TaskError;
use crate::nips::nip90::JobRequest;

/// What is to go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Purge {
    /// Sessions, by their keys, and customers' jobs, by their ids: both are 32 bytes.
    pub targets: Vec<EventId>,
    /// Single events.
    pub events: Vec<EventId>,
    /// Whether all that these go on from, and that goes on from them, goes too.
    pub conversation: bool,
    /// Whether it is only looked at what would go.
    pub look: bool,
}

impl Purge {
    pub(super) fn params(&self) -> Vec<(&'static str, String)> {
        let named = |name, ids: &[EventId]| -> Vec<(&'static str, String)> {
            ids.iter().map(|id| (name, id.to_hex())).collect()
        };
        let mut params = named("target", &self.targets);
        params.extend(named("event", &self.events));
        for (name, set) in [("conversation", self.conversation), ("look", self.look)] {
            params.extend(set.then(|| (name, "true".to_owned())));
        }
        params
    }

    pub(super) fn parse(request: &JobRequest) -> Result<Self, TaskError> {
        let ids = |name: &'static str| -> Result<Vec<EventId>, TaskError> {
            let params = request.params.iter().filter(|(key, _)| key == name);
            params
                .filter_map(|(_, values)| values.first())
                .map(|id| EventId::from_hex(id).map_err(|_| TaskError::Purged(name)))
                .collect()
        };
        let is = |name| request.param(name) == Some("true");
        let purge = Self {
            targets: ids("target")?,
            events: ids("event")?,
            conversation: is("conversation"),
            look: is("look"),
        };
        // It never means "the newest one".
        if purge.targets.is_empty() && purge.events.is_empty() {
            return Err(TaskError::Missing {
                task: "purge",
                param: "target",
            });
        }
        Ok(purge)
    }
}
