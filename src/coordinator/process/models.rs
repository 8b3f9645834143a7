//! An agent's way to its model: the connections out of its sandbox, and what its gateway counts.

use std::time::Duration;

use tokio::task::JoinSet;

use super::Process;
use crate::model::gateway::SessionGateway;

/// How long a turn's end waits for model calls that are about to be recorded.
const SETTLE: Duration = Duration::from_millis(500);

impl Process {
    /// Carries the agent's HTTP connections to its model from now on.
    pub(in crate::coordinator) fn connect_model(&mut self, gateway: SessionGateway) {
        let Some(mut http) = self.http.take() else {
            return;
        };
        self.gateway = Some(gateway.clone());
        self.serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    stream = http.recv() => match stream {
                        Some(stream) => {
                            let gateway = gateway.clone();
                            connections.spawn(async move { gateway.serve(stream).await });
                        }
                        None => return,
                    },
                    Some(_) = connections.join_next() => {}
                }
            }
        });
    }

    /// Refuses the agent's HTTP connections: it is one that needs no model, so there is none that it reaches.
    pub(in crate::coordinator) fn without_model(&mut self) {
        self.http = None;
    }

    /// The next job's budget is not the last one's.
    pub(in crate::coordinator) fn new_budget(&self) {
        if let Some(gateway) = &self.gateway {
            gateway.new_budget();
        }
    }

    /// The time of its model stands still from now on, or goes on.
    pub(in crate::coordinator) fn stand_still(&self, still: bool) {
        if let Some(gateway) = &self.gateway {
            gateway.stand_still(still);
        }
        if let Some(reach) = &self.reach {
            reach.stand_still(still);
        }
    }

    /// Waits until the gateway has recorded what the agent asked its model, within bounds.
    pub(in crate::coordinator) async fn model_settled(&self) {
        if let Some(gateway) = &self.gateway {
            gateway.settled(SETTLE).await;
        }
    }
}
