//! What an owner can set about jobs and sessions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::keys::Admit;

/// `[jobs]`: whose jobs run, and which agent does which kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobsConfig {
    /// Whose jobs run.
    pub admit: Admit,
    /// Sessions at work at the same time; more wait in line.
    pub max_running: usize,
    /// Seconds after which a job ends in an error.
    pub timeout_s: u64,
    /// Seconds for which an agent waits for its owner's answer to a question.
    pub ask_s: u64,
    /// Seconds that one check of a result may take.
    pub check_s: u64,
    /// Requests older than this many seconds are left alone when they arrive.
    pub max_age_s: u64,
    /// Which agent does which kind of job.
    #[serde(deserialize_with = "job_kinds")]
    pub agents: BTreeMap<String, String>,
    /// What strangers get under `admit = "anyone"`.
    pub strangers: StrangersConfig,
}

impl Default for JobsConfig {
    fn default() -> Self {
        Self {
            admit: Admit::Owner,
            max_running: 4,
            timeout_s: 1800,
            ask_s: 1800,
            check_s: 600,
            max_age_s: 86_400,
            agents: BTreeMap::from([
                ("5050".to_owned(), "chat".to_owned()),
                ("5870".to_owned(), "chat".to_owned()),
            ]),
            strangers: StrangersConfig::default(),
        }
    }
}

impl JobsConfig {
    /// The agent for a kind of job.
    #[must_use]
    pub fn agent_for(&self, kind: u16) -> Option<&str> {
        self.agents.get(&kind.to_string()).map(String::as_str)
    }

    /// The kinds that are served, in order.
    #[must_use]
    pub fn kinds(&self) -> Vec<u16> {
        self.agents
            .keys()
            .filter_map(|kind| kind.parse().ok())
            .collect()
    }
}

/// Refuses what is no kind of job: it would be left aside without a word.
fn job_kinds<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let agents = BTreeMap::<String, String>::deserialize(deserializer)?;
    let wrong = agents.keys().find(|kind| {
        !kind
            .parse()
            .is_ok_and(|kind: u16| crate::nips::kind::JOB_REQUESTS.contains(&kind))
    });
    match wrong {
        Some(kind) => Err(serde::de::Error::custom(format!(
            "{kind} is no kind of job: 5000 to 5999 are"
        ))),
        None => Ok(agents),
    }
}

/// `[jobs.strangers]`: fixed quotas, for all strangers together, because a stranger can have any number of
/// keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StrangersConfig {
    /// Jobs at the same time.
    pub at_once: usize,
    /// Jobs in any hour.
    pub per_hour: usize,
    /// Tokens that one job may have written.
    pub tokens: u32,
    /// Seconds that one job may take.
    pub seconds: u64,
}

impl Default for StrangersConfig {
    fn default() -> Self {
        Self {
            at_once: 2,
            per_hour: 30,
            tokens: 1024,
            seconds: 120,
        }
    }
}

/// `[sessions]`: containers and conversations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionsConfig {
    /// Seconds for which a session of the owner stays open after an answer, so that a conversation goes on
    /// at once. A stranger's session ends with its job.
    pub idle_s: u64,
    /// Containers kept ready for the next job.
    pub warm: usize,
}

impl Default for SessionsConfig {
    fn default() -> Self {
        Self {
            idle_s: 60,
            warm: 1,
        }
    }
}
