//! What was asked, as it may be signed.

use std::io::Read as _;

use crate::{
    cli::{
        error::{CommandError, Kind, Problem},
        launch::Connection,
        output,
        text::one_line,
    },
    recorder::Redactor,
};

/// The longest prompt; an event must still fit in one message.
pub(super) const MAX_PROMPT: usize = 256 << 10;

/// The prompt as it may be signed: what is signed cannot be changed afterwards, so passwords and keys of
/// well-known shapes, and those of this home and environment, are cut out first.
pub(in crate::cli) fn without_secrets(prompt: &str, connection: &Connection) -> String {
    let mut prompt = prompt.to_owned();
    if Redactor::of_host(&connection.keyring).clean_text(&mut prompt) {
        output::progress("a password or key in your question was left out");
    }
    prompt
}

/// The question of the command line, or of stdin.
///
/// # Errors
/// When there is none, or it is too long.
pub(super) fn read(words: &[String]) -> Result<String, CommandError> {
    let usage = |problem| CommandError::new(Kind::Usage, problem);
    let [argument] = words else {
        return Err(usage(Problem::PromptInWords).hint(format!(
            "treefort run \"{} …\"",
            one_line(&words[..2.min(words.len())].join(" "))
        )));
    };
    let (prompt, more) = if argument == "-" {
        let mut bytes = Vec::new();
        std::io::stdin()
            .take(MAX_PROMPT as u64 + 1)
            .read_to_end(&mut bytes)?;
        let more = bytes.len() > MAX_PROMPT;
        if more {
            // The cut may go through a character.
            bytes.truncate(MAX_PROMPT);
            while bytes.last().is_some_and(|byte| *byte >= 0x80) {
                bytes.pop();
            }
        }
        match String::from_utf8(bytes) {
            Ok(prompt) => (prompt, more),
            Err(_) => return Err(usage(Problem::NotText)),
        }
    } else {
        (argument.clone(), false)
    };
    match prompt.len() {
        _ if more => Err(usage(Problem::PromptTooLong {
            len: MAX_PROMPT,
            more,
            max: MAX_PROMPT,
        })),
        len if len > MAX_PROMPT => Err(usage(Problem::PromptTooLong {
            len,
            more,
            max: MAX_PROMPT,
        })),
        _ if prompt.trim().is_empty() => Err(usage(Problem::EmptyPrompt)),
        _ => Ok(prompt),
    }
}
