//! The questions of an agent that asks for permissions, put to the person at the terminal.

use std::{collections::VecDeque, io::IsTerminal as _, time::Duration};

use nostr::Event;
use tokio::time::{Instant, sleep_until};

use crate::{
    cli::{
        keyboard,
        launch::Connection,
        output, view,
        workspace::answer::{choose, lines, offered},
    },
    nips::workspace::{OptionLine, Task, Which},
};

/// How long an answer may take until it is on the record.
const HEARD: Duration = Duration::from_secs(5);

/// What is asked and who answers it.
pub(super) struct Asking {
    /// What is open, the one that is shown first.
    open: VecDeque<Asked>,
    /// Whether what the person types is listened to: there is a terminal, and something was asked.
    listens: bool,
    terminal: bool,
    /// When an answer was sent of which nothing was heard: what is typed next is for the next question.
    sent: Option<Instant>,
}

/// A question.
struct Asked {
    id: String,
    session: nostr::PublicKey,
    text: String,
    options: Vec<OptionLine>,
}

impl Asking {
    pub(super) fn new() -> Self {
        Self {
            open: VecDeque::new(),
            listens: false,
            sent: None,
            terminal: std::io::stdin().is_terminal() && std::io::stderr().is_terminal(),
        }
    }

    /// Whether there is somebody to ask.
    pub(super) fn can_ask(&self) -> bool {
        self.terminal
    }

    /// Whether something is asked right now, at the end of the terminal.
    pub(super) fn is_open(&self) -> bool {
        self.terminal && !self.open.is_empty()
    }

    /// An agent asks; of several, this one.
    pub(super) fn asks(&mut self, question: &Event, who: Option<&str>) {
        let options = view::tags(question, "option").filter_map(|tag| {
            Some(OptionLine {
                id: tag.get(1)?.clone(),
                kind: tag.get(2)?.clone(),
                name: tag.get(3)?.clone(),
            })
        });
        self.open.push_back(Asked {
            id: question.id.to_hex(),
            session: question.pubkey,
            text: match who {
                Some(who) => format!("{who} asks: {}", question.content),
                None => question.content.clone(),
            },
            options: options.collect(),
        });
        if self.open.len() == 1 {
            self.show();
        }
    }

    /// A question was answered, here or elsewhere.
    pub(super) fn answered(&mut self, question: &str) {
        let shown = self.open.front().is_some_and(|asked| asked.id == question);
        self.open.retain(|asked| asked.id != question);
        if shown {
            self.sent = None;
            self.show();
        }
    }

    fn show(&mut self) {
        let Some(asked) = self.open.front() else {
            return;
        };
        if self.terminal {
            // An answer is to what can be seen.
            keyboard::forget();
        }
        for line in lines(&asked.text, output::progress_columns()) {
            output::progress(line);
        }
        if !self.terminal {
            output::progress(format!(
                "  answer it with: treefort answer   {}",
                offered(&asked.options)
            ));
            return;
        }
        prompt(&asked.options);
        self.listens = true;
    }

    /// What the person types next; never, where nobody can.
    pub(super) async fn typed(&mut self) -> String {
        if let Some(sent) = self.sent {
            sleep_until(sent + HEARD).await;
            self.sent = None;
        }
        if self.listens
            && let Some(line) = keyboard::line().await
        {
            return line;
        }
        // The terminal is gone: whoever answers does it elsewhere.
        self.listens = false;
        std::future::pending().await
    }

    /// The task that a line means, if it answers what is shown.
    pub(super) fn answer(&mut self, line: &str) -> Option<Task> {
        let asked = self.open.front()?;
        let operation = choose(&asked.options, line)
            .and_then(|option| crate::cli::workspace::answer::answer(&asked.id, option).ok());
        match operation {
            Some(_) => self.sent = Some(Instant::now()),
            None => prompt(&asked.options),
        }
        Some(Task {
            which: Which::Session(asked.session),
            operation: operation?,
        })
    }
}

fn prompt(options: &[OptionLine]) {
    output::asked(&format!("  {} > ", offered(options)));
}

/// Sends an answer. What becomes of it is on the agent's record.
///
/// # Errors
/// When it cannot be sent.
pub(super) async fn send(
    connection: &mut Connection,
    task: &Task,
) -> Result<(), crate::cli::error::CommandError> {
    use crate::cli::error::{CommandError, Kind};
    let keys = connection.keyring.operator().clone();
    let event = task
        .sealed(&keys, &connection.coordinator())
        .map_err(|error| CommandError::new(Kind::Failed, error))?
        .sign(&keys, nostr::Timestamp::now().as_secs())
        .map_err(crate::cli::client::Error::from)?;
    Ok(connection.client.publish(&event).await?)
}
