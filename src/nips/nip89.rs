//! How the coordinator and its sessions present themselves: kind 0 (NIP-01, NIP-24 `bot`), handler
//! information 31990 (NIP-89), the relay list 10002 (NIP-65) and the status 30078 (NIP-78).
//!
//! <https://github.com/nostr-protocol/nips/blob/master/89.md>

use nostr::PublicKey;
use serde::{Deserialize, Serialize};

use super::{Draft, kind};

/// The `d` tag of the coordinator's status.
pub const STATUS: &str = "treefort/status";
/// The `d` tag of the operator's set of admitted keys.
pub const ALLOWED: &str = "treefort/allowed";

/// A profile of something that is not a person.
#[must_use]
pub fn profile(name: &str, display_name: &str, about: &str, operator: Option<&PublicKey>) -> Draft {
    let content = serde_json::json!({
        "about": about,
        "bot": true,
        "display_name": display_name,
        "name": name,
    });
    Draft::new(kind::PROFILE)
        .tags(operator.map(|key| {
            ["p", &key.to_hex(), "", "operator"]
                .map(str::to_owned)
                .to_vec()
        }))
        .tag(["client", "treefort"])
        .content(content.to_string())
}

/// What kinds of job the coordinator takes, in the form that DVM tools read.
#[must_use]
pub fn handler(kinds: &[u16], agents: &[String]) -> Draft {
    let content = serde_json::json!({
        "name": "treefort",
        "about": "Runs AI agents in sandboxes of their own. Every step is a signed record.",
        "image": "",
        "supportsEncryption": true,
        "acceptsNutZaps": false,
        "nip90Params": {
            "model": {"required": false, "values": []},
            "agent": {"required": false, "values": agents},
            "seed": {"required": false, "values": []},
            "max_tokens": {"required": false, "values": []},
            "temperature": {"required": false, "values": []},
            "top_k": {"required": false, "values": []},
            "top_p": {"required": false, "values": []},
            "frequency_penalty": {"required": false, "values": []}
        }
    });
    Draft::new(kind::HANDLER)
        .tag(["d", "treefort"])
        .tags(
            kinds
                .iter()
                .map(|kind| vec!["k".to_owned(), kind.to_string()]),
        )
        .tags(
            agents
                .iter()
                .map(|agent| vec!["t".to_owned(), agent.clone()]),
        )
        .tag(["alt", "treefort: runs jobs with AI agents in sandboxes"])
        .content(content.to_string())
}

/// Where to find us (NIP-65).
#[must_use]
pub fn relay_list(relay: &str) -> Draft {
    Draft::new(kind::RELAY_LIST).tag(["r", relay])
}

/// What the coordinator can do right now, for the command line and other tools.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The program's version.
    pub version: String,
    /// The sandbox.
    pub runtime: RuntimeReport,
    /// Local models, by name.
    pub models: Vec<String>,
    /// The model that a job gets when it names none.
    pub default_model: Option<String>,
    /// Agents, by name.
    pub agents: Vec<AgentReport>,
    /// Why no model is at hand, with what to do.
    pub model_problem: Option<String>,
    /// Of [`Self::models`], those that are answered on another machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cloud: Vec<String>,
    /// Of [`Self::models`], those that are known to take no pictures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blind: Vec<String>,
    /// Who else serves models, when one is named as `provider:model`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<ProviderReport>,
    /// Whose jobs run: `owner` or `anyone`.
    pub admit: String,
}

/// Somebody who serves models, for [`StatusReport`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderReport {
    /// What stands before the `:` of its models.
    pub name: String,
    /// Whether it is on this machine or in its owner's network.
    pub local: bool,
    /// Whether it can be asked.
    pub ready: bool,
    /// The environment variable that holds its key; empty: it takes none.
    pub key_env: String,
}

/// The sandbox, for [`StatusReport`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeReport {
    /// `docker` or `embedded`.
    pub kind: String,
    /// Whether it can run a session.
    pub ok: bool,
    /// Its version, or what is wrong.
    pub detail: String,
    /// What to do when it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// What an agent in it cannot do, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protects: Vec<String>,
    /// What it does not protect from, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exposes: Vec<String>,
}

/// An agent, for [`StatusReport`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentReport {
    /// Its name.
    pub name: String,
    /// One line about it.
    pub description: String,
    /// The job kinds that it does unless another agent is named.
    pub kinds: Vec<u16>,
    /// Its name for people.
    #[serde(default)]
    pub title: String,
    /// Whether it works on a copy of a folder.
    #[serde(default)]
    pub workspace: bool,
    /// Whether its prompt is a command that is run, without any model.
    #[serde(default)]
    pub command: bool,
    /// Whether it can ask its owner before it acts. One that cannot does no job that wants it to.
    #[serde(default)]
    pub asks: bool,
    /// Whether it can begin at once: what it runs from is there, and nothing has to be made or fetched first.
    #[serde(default)]
    pub ready: bool,
    /// What is missing before it can run here, and what to do, as far as that is known without starting it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<String>,
}

impl StatusReport {
    /// The addressable event that holds it.
    ///
    /// # Errors
    /// When it does not serialise.
    pub fn draft(&self) -> Result<Draft, serde_json::Error> {
        Ok(Draft::new(kind::APP_DATA)
            .tag(["d", STATUS])
            .tag(["alt", "What this treefort can do right now"])
            .content(serde_json::to_string(self)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_profile_names_its_operator_and_is_a_bot() {
        let operator = nostr::Keys::generate().public_key();
        let draft = profile("chat-1f", "Chat", "x", Some(&operator));
        assert_eq!(draft.tags[0], ["p", &operator.to_hex(), "", "operator"]);
        assert!(draft.content.contains("\"bot\":true"));
    }
}
