//! The manual: how `--help` is ordered, `treefort man`, and `treefort completions`.

use std::{fs, io::Write as _, path::PathBuf};

use clap::CommandFactory as _;

use super::{Cli, error::CommandError, output};

/// The commands in the order in which a person meets them. A test keeps it whole.
const GROUPS: &[(&str, &[&str])] = &[
    (
        "Ask and watch",
        &["run", "compare", "watch", "timeline", "jobs", "demo"],
    ),
    (
        "While an agent works",
        &["answer", "pause", "resume", "steer"],
    ),
    (
        "An agent's copy of your project",
        &[
            "diff",
            "checkpoints",
            "files",
            "preview",
            "undo",
            "apply",
            "discard",
            "open",
            "clean",
        ],
    ),
    ("Agents and models", &["agents", "agent", "models"]),
    (
        "Keep and check",
        &["export", "import", "verify", "purge", "store"],
    ),
    ("Share", &["sync", "publish", "unpublish"]),
    (
        "treefort itself",
        &[
            "up",
            "page",
            "status",
            "doctor",
            "allow",
            "key",
            "completions",
            "man",
        ],
    ),
];

/// The commands that need no home.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Completions(CompletionsArgs),
    Man(ManArgs),
}

/// Makes completions for a shell, on stdout.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treefort completions bash > ~/.local/share/bash-completion/completions/treefort
  treefort completions zsh > ~/.zfunc/_treefort
  treefort completions fish > ~/.config/fish/completions/treefort.fish")]
pub(super) struct CompletionsArgs {
    /// Which shell.
    shell: clap_complete::Shell,
}

/// Makes the manual's pages, for `man treefort` and `man treefort-run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treefort man | man -l -
  treefort man --dir ~/.local/share/man/man1")]
pub(super) struct ManArgs {
    /// Writes a page for each command into this folder, instead of the first page to stdout.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// The command line with its commands in groups.
pub(super) fn command() -> clap::Command {
    let command = Cli::command();
    let help = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}{{options}}{{after-help}}",
        groups(&command)
    );
    command.help_template(help)
}

/// The commands of every group, each with its first sentence.
fn groups(command: &clap::Command) -> String {
    let head = anstyle::Style::new().bold().underline();
    let name = anstyle::Style::new().bold();
    let mut all = String::new();
    for (title, names) in GROUPS {
        all.push_str(&format!("{head}{title}:{head:#}\n"));
        for one in *names {
            let about = command
                .find_subcommand(one)
                .and_then(|one| one.get_about().map(ToString::to_string))
                .unwrap_or_default();
            let row = format!("  {name}{one:<12}{name:#} ");
            for line in output::hanging(&row, &about, output::help_columns()) {
                all.push_str(&line);
                all.push('\n');
            }
        }
        all.push('\n');
    }
    all.push_str(&format!("{head}Options:{head:#}\n"));
    all
}

/// Runs one of them.
///
/// # Errors
/// When the folder cannot be written, or stdout is closed.
pub(super) fn run(command: &Command) -> Result<(), CommandError> {
    match command {
        Command::Completions(args) => completions(args),
        Command::Man(args) => man(args),
    }
}

fn completions(args: &CompletionsArgs) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "treefort", &mut script);
    Ok(output::bytes(&script)?)
}

fn man(args: &ManArgs) -> Result<(), CommandError> {
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        return Ok(output::bytes(&page)?);
    };
    fs::create_dir_all(dir)?;
    let mut command = Cli::command();
    command.build();
    let mut pages = vec![("treefort".to_owned(), command.clone())];
    while let Some((name, command)) = pages.pop() {
        for one in command.get_subcommands() {
            if one.get_name() != "help" && !one.is_hide_set() {
                pages.push((format!("{name}-{}", one.get_name()), one.clone()));
            }
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(command.display_name(&name))
            .title(&name)
            .render(&mut page)?;
        let mut file = fs::File::create(dir.join(format!("{name}.1")))?;
        file.write_all(&page)?;
    }
    output::progress(format!("the manual's pages are in {}", dir.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_command_stands_in_one_group() {
        let named: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| names.iter().copied())
            .collect();
        let set: BTreeSet<&str> = named.iter().copied().collect();
        assert_eq!(set.len(), named.len(), "a command stands there twice");
        let command = Cli::command();
        let there: BTreeSet<&str> = command
            .get_subcommands()
            .map(clap::Command::get_name)
            .collect();
        assert_eq!(set, there);
        let long: Vec<&str> = named.into_iter().filter(|name| name.len() > 12).collect();
        assert!(long.is_empty(), "{long:?} do not fit into their column");
    }
}
