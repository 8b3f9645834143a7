//! `treefort clean`: makes room.

use crate::{
    cli::{
        Context,
        error::CommandError,
        launch, output,
        render::plural,
        text::{ago, columns_of, one_line, size, truncate},
    },
    nips::workspace::{CopyLine, ImageLine, Operation, Outcome, Task, Which},
};

/// Shows what agents left on the disk, and deletes what nobody needs any more.
///
/// Copies in which nothing was changed go. Those with work in them stay, also when you applied it, because that
/// can still be taken back; `--all` deletes them too. The contents of checkpoints go with the last copy of a folder.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also copies with work in them, and the agents' images.
    #[arg(long)]
    all: bool,
    /// Does not ask.
    #[arg(long, short)]
    yes: bool,
    /// As JSON: what there is, or with --yes what was deleted.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When it is not confirmed, or something cannot be deleted.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    launch::with_jobs(context, async |connection| {
        let task = |operation| Task {
            which: Which::Newest,
            operation,
        };
        let listed = super::request(connection, &task(Operation::List)).await?;
        let Outcome::List {
            copies,
            images,
            checkpoints,
            total,
        } = &listed.outcome
        else {
            return Ok(());
        };
        let (going, staying): (Vec<&CopyLine>, Vec<&CopyLine>) = copies
            .iter()
            .partition(|copy| !copy.busy && (args.all || !copy.work));
        if !args.json {
            let now = nostr::Timestamp::now().as_secs();
            for line in overview(&going, &staying, images, *checkpoints, args.all, now) {
                output::line(line)?;
            }
        }
        if *total > copies.len() && !args.json {
            output::progress(format!(
                "{} older copies are not listed; clean once more to see them",
                total - copies.len()
            ));
        }
        let images_go = args.all && !images.is_empty();
        if going.is_empty() && !images_go {
            if args.json {
                output::json(&serde_json::json!(listed))?;
            }
            return Ok(());
        }
        if !args.yes {
            if args.json {
                return Ok(output::json(&serde_json::json!(listed))?);
            }
            let said = super::confirmed("Delete what is marked with ×?")?;
            if said != super::Said::Yes {
                let command = if args.all {
                    "treefort clean --all --yes"
                } else {
                    "treefort clean --yes"
                };
                return super::not_confirmed(said, command);
            }
        }
        let operation = Operation::Clean {
            copies: going.iter().map(|copy| copy.workspace).collect(),
            images: images_go,
        };
        let cleaned = super::request(connection, &task(operation)).await?;
        if args.json {
            return Ok(output::json(&serde_json::json!(cleaned))?);
        }
        if let Outcome::Clean {
            copies,
            images,
            containers,
            bytes,
            left,
        } = cleaned.outcome
        {
            for why in left {
                output::progress(format!("not deleted: {}", one_line(&why)));
            }
            let mut parts = vec![plural(copies as u64, "copy").replace("copys", "copies")];
            if images > 0 {
                parts.push(plural(images as u64, "image"));
            }
            if containers > 0 {
                parts.push(plural(containers as u64, "container"));
            }
            output::line(format!(
                "deleted {}; freed {}",
                parts.join(", "),
                size(bytes)
            ))?;
        }
        Ok(())
    })
    .await
}

/// What there is; what would go is marked.
fn overview(
    going: &[&CopyLine],
    staying: &[&CopyLine],
    images: &[ImageLine],
    checkpoints: u64,
    all: bool,
    now: u64,
) -> Vec<String> {
    let bold = anstyle::Style::new().bold();
    let dim = anstyle::Style::new().dimmed();
    let mut lines = Vec::new();
    if going.is_empty() && staying.is_empty() {
        lines.push("there are no copies".to_owned());
    } else {
        lines.push(format!("{bold}Copies{bold:#}"));
    }
    let line = |mark: &str, copy: &CopyLine, why: &str| {
        let project = one_line(copy.project.as_deref().unwrap_or("(began empty)"));
        let title = one_line(&copy.title);
        let taken = 30 + columns_of(&project) + columns_of(why);
        let title = truncate(&title, output::columns().saturating_sub(taken).max(12));
        format!(
            "{mark} {:>8}  {dim}{:>14}{dim:#}  {project}  “{title}”{why}",
            size(copy.bytes),
            ago(copy.at, now),
        )
    };
    lines.extend(going.iter().map(|copy| line("×", copy, "")));
    lines.extend(staying.iter().map(|copy| {
        let why = match (copy.busy, copy.work) {
            (true, _) => "  in use: its session is open",
            (false, true) => "  has work in it",
            _ => "",
        };
        line(" ", copy, why)
    }));
    if !images.is_empty() {
        let mark = if all { "×" } else { " " };
        lines.push(format!(
            "{bold}Images{bold:#}{dim} (built again when needed){dim:#}"
        ));
        lines.extend(
            images
                .iter()
                .map(|image| format!("{mark} {:>8}  {}", size(image.bytes), one_line(&image.name))),
        );
    }
    lines.push(format!(
        "{bold}Checkpoints{bold:#} take {}",
        size(checkpoints)
    ));
    lines
}
