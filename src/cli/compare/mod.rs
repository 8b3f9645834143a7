//! `treefort compare`: what several agents or models made of the same question.
//!
//! `load` reads a `contest` off the record, `table` and `summary` say what came of it, `show` writes it
//! and asks which one is taken home. `treefort run --agents` ends with the same.

mod between;
pub(super) mod contest;
pub(super) mod load;
pub(super) mod show;
pub(super) mod summary;
pub(super) mod table;

use nostr::Timestamp;

use super::{Context, error::CommandError, launch, output, text::one_line};

/// Shows what several agents or models made of the same question: the latest comparisons, or one of them.
///
/// `treefort run --agents opencode,claude-code "…"` makes one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treefort compare                  the latest comparisons
  treefort compare 3f2a91c0         one of them, as its run ended with it
  treefort compare 3f2a91c0 --diff  with what each changed
  treefort compare 3f2a91c0 1 2     what differs between the first's files and the second's")]
pub struct Args {
    /// A comparison, by the first characters of its id, or of the id of one of its jobs.
    comparison: Option<String>,
    /// The numbers of two: what differs between their files.
    #[arg(value_name = "NUMBER", num_args = 2, requires = "comparison", conflicts_with_all = ["diff", "json"])]
    between: Vec<u16>,
    /// How many are listed.
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// The difference of each, one below the other.
    #[arg(long, requires = "comparison")]
    diff: bool,
    /// One JSON object a line: for each who was asked, and one for what it comes to; of a list, one for each.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When nothing is called so, or treefort cannot be reached.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    match &args.comparison {
        Some(needle) => {
            launch::with_jobs(context, async |connection| {
                let mut contest = load::named(connection, needle).await?;
                load::fill(connection, &mut contest).await?;
                if let [first, second] = args.between[..] {
                    let (first, second) = (contest.entry(first)?, contest.entry(second)?);
                    return between::show(connection, first, second).await;
                }
                if args.json {
                    return show::json_lines(&contest, args.diff);
                }
                output::line(format!("“{}”", one_line(&contest.prompt)))?;
                output::line("")?;
                show::table(&contest)?;
                if args.diff {
                    for entry in &contest.entries {
                        output::line("")?;
                        show::difference(entry)?;
                    }
                } else {
                    show::beginnings(&contest)?;
                }
                show::what_next(&contest);
                Ok(())
            })
            .await
        }
        None => {
            launch::with(context, async |connection| {
                let mut contests = load::list(connection).await?;
                contests.truncate(usize::try_from(args.limit).unwrap_or(usize::MAX));
                load::outcomes(connection, &mut contests).await?;
                if contests.is_empty() && !args.json {
                    output::progress(
                        "Nothing was asked of several yet. Try: treefort run --agents opencode,chat \"a question\"",
                    );
                }
                let now = Timestamp::now().as_secs();
                for contest in &contests {
                    match args.json {
                        true => output::json(&summary::json(contest))?,
                        false => output::line(show::listed(contest, now))?,
                    }
                }
                Ok(())
            })
            .await
        }
    }
}
