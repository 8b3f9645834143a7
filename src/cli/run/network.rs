//! `treefort run --network`: what a job may reach, and what a person who gives a network has to know.

use std::path::Path;

use super::work::Starting;
use crate::{
    cli::{
        error::{CommandError, Kind, Problem},
        text::one_line,
    },
    config::Config,
    egress::{Egress, Rules},
    nips::nip90::request::NETWORK,
};

/// The flag.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Network {
    /// Gives the job a network: the hosts that you name, and nothing else. `packages` are the registries of npm, PyPI,
    /// crates.io and Debian; others are example.com, *.example.com, example.com:8443; with `ask` you are asked about
    /// every other host. What an agent may reach, it may also send your files to.
    #[arg(long, value_name = "HOSTS", value_delimiter = ',')]
    network: Vec<String>,
}

impl Network {
    /// The job's parameter.
    pub(super) fn param(&self) -> Option<Vec<String>> {
        let words = self.network.iter().map(|word| word.trim().to_owned());
        let words: Vec<String> = words.filter(|word| !word.is_empty()).collect();
        (!words.is_empty()).then(|| [vec!["param".to_owned(), NETWORK.to_owned()], words].concat())
    }

    /// Looks at the rules before anything starts, and says what they let an agent reach.
    ///
    /// # Errors
    /// When one of them is none.
    pub(super) fn look(&self, home: &Path, starting: &mut Starting) -> Result<(), CommandError> {
        if self.network.is_empty() {
            return Ok(());
        }
        let config = Config::load(home).map_err(|error| CommandError::new(Kind::Failed, error))?;
        let egress =
            Egress::new(config.network).map_err(|error| CommandError::new(Kind::Failed, error))?;
        let rules = egress.rules(self.network.iter().map(String::as_str));
        let rules = rules.map_err(|error| {
            let sentence = one_line(&error.to_string());
            CommandError::new(Kind::Usage, Problem::Job(sentence))
                .hint("for example: treefort run --network packages,example.com \"…\"")
        })?;
        let note = note(&rules);
        starting.note = Some(match starting.note.take() {
            Some(before) => format!("{before} {note}"),
            None => note,
        });
        Ok(())
    }
}

fn note(rules: &Rules) -> String {
    let hosts = rules.hosts().join(", ");
    let reaches = match (hosts.as_str(), rules.asks()) {
        ("", _) => "you are asked about every host".to_owned(),
        (hosts, false) => format!("the agent may reach {hosts}, and nothing else"),
        (hosts, true) => {
            format!("the agent may reach {hosts}; you are asked about every other host")
        }
    };
    format!("· Network: {reaches}. What it may reach, it may also send your files to.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress;

    #[test]
    fn a_person_reads_which_hosts_and_what_that_means() {
        let egress = Egress::new(egress::Config::default()).unwrap();
        let said = |words: &[&str]| note(&egress.rules(words.iter().copied()).unwrap());
        assert_eq!(
            said(&["example.com", "*.docs.rs"]),
            "· Network: the agent may reach example.com, *.docs.rs, and nothing else. What it may reach, it may also \
             send your files to."
        );
        assert!(
            said(&["packages"])
                .contains("registry.npmjs.org, pypi.org, files.pythonhosted.org, crates.io")
        );
        assert!(
            said(&["a.com", "ask"])
                .contains("may reach a.com; you are asked about every other host.")
        );
        assert!(said(&["ask"]).contains("you are asked about every host."));
    }

    #[test]
    fn the_parameter_holds_the_words_as_they_are() {
        let args = Network {
            network: vec!["packages".to_owned(), " a.com ".to_owned(), String::new()],
        };
        assert_eq!(
            args.param().unwrap(),
            ["param", "network", "packages", "a.com"]
        );
        assert_eq!(Network::default().param(), None);
    }
}
