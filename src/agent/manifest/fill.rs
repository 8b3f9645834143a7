//! What an agent's container is given when it starts: the manifest's values, filled in.

use serde_json::json;

use super::Manifest;
use crate::sandbox::FILES_VARIABLE;

/// What values of `env` and contents of `files` may hold.
pub const PLACEHOLDERS: &[&str] = &["{model}", "{context}", "{output}", "{token}", "{dialect}"];
/// The variable that holds the session's token for its model, in every container.
pub const TOKEN_VARIABLE: &str = "TREEFORT_TOKEN";
/// What is known only when an agent starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The session's model. The gateway asks that one whatever the agent says.
    pub model: String,
    /// Tokens that the model sees at once.
    pub context: u32,
    /// Tokens that one answer may have.
    pub output: u32,
    /// The session's token for its model.
    pub token: String,
}

impl Manifest {
    /// The environment of the agent's container: the manifest's own, its files, and the token.
    #[must_use]
    pub fn environment(&self, launch: &Launch) -> Vec<(String, String)> {
        let filled = |text: &str| self.fill(text, launch);
        let mut environment: Vec<_> = self
            .env
            .iter()
            .map(|(name, value)| (name.clone(), filled(value)))
            .collect();
        environment.push((TOKEN_VARIABLE.to_owned(), launch.token.clone()));
        if !self.files.is_empty() {
            let files: Vec<_> = self
                .files
                .iter()
                .map(|file| json!([file.path, filled(&file.content)]))
                .collect();
            environment.push((FILES_VARIABLE.to_owned(), json!(files).to_string()));
        }
        environment
    }

    /// One pass, so that nothing that was filled in is looked at again.
    fn fill(&self, text: &str, launch: &Launch) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            filled.push_str(&rest[..at]);
            rest = &rest[at..];
            let found = PLACEHOLDERS.iter().find(|name| rest.starts_with(**name));
            let Some(name) = found else {
                filled.push('{');
                rest = &rest[1..];
                continue;
            };
            match *name {
                "{model}" => filled.push_str(&quoted(&launch.model)),
                "{context}" => filled.push_str(&launch.context.to_string()),
                "{output}" => filled.push_str(&launch.output.to_string()),
                "{token}" => filled.push_str(&quoted(&launch.token)),
                _ => filled.push_str(self.model.dialect.as_str()),
            }
            rest = &rest[name.len()..];
        }
        filled.push_str(rest);
        filled
    }
}

/// A text as it stands between the quotes of JSON or TOML, which is where placeholders are used: a model's
/// name cannot end the string that it is put into.
fn quoted(text: &str) -> String {
    let quoted = json!(text).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}
