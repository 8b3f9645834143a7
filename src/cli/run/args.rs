//! What `treefort run` is told.

use std::path::PathBuf;

use super::{network::Network, work::dollars};
use crate::nips::nip90::MAX_COMPARED;

/// Asks an agent; the answer goes to stdout, progress to stderr.
///
/// With several agents or models, each gets the same question, a sandbox and a copy of the folder of its own. All of
/// them are watched at once and compared at the end, and you take one home.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  treefort run \"why is the sky blue?\"
  treefort run --agent opencode --check \"cargo test\" \"make the tests pass\"
  treefort run --agents opencode,claude-code,chat \"add a dark mode\"
  treefort run --agents opencode --model qwen2.5:7b --model llama3.1:8b \"add a dark mode\"
  treefort run --agents opencode=qwen2.5:7b,claude-code=anthropic:claude-sonnet-5 \"add a dark mode\"
  treefort run --agent opencode --repeat 5 --check \"npm test\" \"fix the bug in cart.js\"")]
pub struct Args {
    /// What to do, in quotation marks; `-` reads it from stdin.
    #[arg(required = true, num_args = 1.., value_name = "PROMPT")]
    pub(super) prompt: Vec<String>,
    /// The agent that does it (`treefort agents`).
    #[arg(long)]
    pub(super) agent: Option<String>,
    /// Several agents that each do it, with commas between them; NAME=MODEL for one with a model of its own.
    #[arg(
        long,
        value_name = "NAME[=MODEL],…",
        value_delimiter = ',',
        conflicts_with = "agent"
    )]
    pub(super) agents: Vec<String>,
    /// The model that it asks (`treefort models`). Given several times: each agent does it with each of them.
    #[arg(long)]
    pub(super) model: Vec<String>,
    /// Has each do it this many times, to see how often it succeeds and how much the results differ. At most 32
    /// sessions in all.
    #[arg(long, value_name = "TIMES", value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_COMPARED)))]
    pub(super) repeat: Option<u16>,
    /// Goes on with a conversation: the last one of this folder (without one, the last that has no folder), or the
    /// session that is named.
    // `--continue=SESSION`, because a bare word after `--continue` would be the prompt.
    #[arg(
        long = "continue",
        value_name = "SESSION",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ""
    )]
    pub(super) go_on: Option<String>,
    /// The folder to work on, for agents that work on files: the current one when left out. The agent gets a
    /// copy; your folder stays as it is until you say `treefort apply`.
    #[arg(long, value_name = "DIR")]
    pub(super) workspace: Option<PathBuf>,
    /// Copies files that git ignores too.
    #[arg(long)]
    pub(super) ignored: bool,
    /// Attaches a file: into the agent's copy of the folder, or as text or picture for agents that have none. May be
    /// given several times.
    #[arg(long, value_name = "FILE")]
    pub(super) attach: Vec<PathBuf>,
    /// Asks you before the agent does what it needs a permission for; without it, all is allowed in its sandbox.
    #[arg(long)]
    pub(super) ask: bool,
    #[command(flatten)]
    pub(super) network: Network,
    /// Runs a command, such as "make test", on a copy of the result, and says how it ended. May be given several times.
    #[arg(long, value_name = "COMMAND")]
    pub(super) check: Vec<String>,
    /// Ends the session when the model has read and written this many tokens.
    #[arg(long, value_name = "TOKENS")]
    pub(super) budget_tokens: Option<u64>,
    /// Ends the session when the model has cost this many US dollars; for models whose price is in the settings.
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    pub(super) budget_usd: Option<f64>,
    /// Gives up after this many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) timeout: Option<u64>,
    /// The signed result, as one line of JSON. With several: one object a line for each, and one for what it comes to.
    #[arg(long)]
    pub(super) json: bool,
}

impl Args {
    /// A plain question.
    pub(in crate::cli) fn question(prompt: &str) -> Self {
        Self {
            prompt: vec![prompt.to_owned()],
            agent: None,
            agents: Vec::new(),
            model: Vec::new(),
            repeat: None,
            go_on: None,
            workspace: None,
            ignored: false,
            attach: Vec::new(),
            ask: false,
            network: Network::default(),
            check: Vec::new(),
            budget_tokens: None,
            budget_usd: None,
            timeout: None,
            json: false,
        }
    }
}
