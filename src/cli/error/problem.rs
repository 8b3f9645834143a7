//! What can go wrong in a command itself.

use std::io;

/// What can go wrong in a command itself, as one sentence each.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A question was not answered with yes.
    #[error("nothing was done: it was not confirmed")]
    NotConfirmed,
    /// More of an apply needs a look than the preview can show.
    #[error("there is more to look at than the preview shows ({0})")]
    NotShown(String),
    /// Nobody waits for an answer.
    #[error("no agent waits for this answer: nothing is asked, or it was answered already")]
    NoQuestion,
    /// Several things are asked.
    #[error("{0} questions are open")]
    SeveralQuestions(usize),
    /// The answer is none of those that the agent offers.
    #[error("'{0}' is no answer to this question")]
    NoOption(String),
    /// The agent has no use for a folder.
    #[error("the agent {0} does not work on files")]
    NoFiles(String),
    /// The agent acts without asking, or does nothing to ask for.
    #[error("the agent {0} cannot ask before it acts")]
    NeverAsks(String),
    /// The folder to work on is not there.
    #[error("the folder {0} cannot be worked on")]
    NoFolder(String, #[source] io::Error),
    /// A command ended with another exit code than 0.
    #[error("the command ended with exit code {0}")]
    Exit(String),
    /// A check of the result did not pass.
    #[error("the agent is done, but a check did not pass: {0}")]
    CheckFailed(String),
    /// Several checks of the result did not pass.
    #[error("the agent is done, but {failed} of {of} checks did not pass: {}", .named.join("; "))]
    ChecksFailed {
        /// How many did not.
        failed: usize,
        /// Of how many.
        of: usize,
        /// Which ones, and how each of them ended.
        named: Vec<String>,
    },
    /// Of several that were asked, each has an answer that is not right.
    #[error("{done} of {of} are done, and none of these passed its checks")]
    NonePassed {
        /// How many have an answer.
        done: usize,
        /// Of how many.
        of: usize,
    },
    /// Several were asked the last question, and none of them was chosen.
    #[error("the last question went to several, so name the one that you mean: {}", .0.join(", "))]
    SeveralAsked(Vec<String>),
    /// Both sides changed the same lines.
    #[error(
        "these files need a look, because your version and the agent's do not fit together: {0}"
    )]
    Conflicts(String),
    /// Nothing has happened yet.
    #[error("there is no session yet")]
    NoSession,
    /// The id names nothing.
    #[error("nothing here is called '{0}'")]
    Unknown(String),
    /// The id names several things.
    #[error("'{needle}' could be any of these: {}", candidates.join(", "))]
    Ambiguous {
        /// What was given.
        needle: String,
        /// What it could mean.
        candidates: Vec<String>,
    },
    /// The id is neither hexadecimal nor an npub.
    #[error(
        "'{0}' is not an id: give the first characters that the timeline or `treefort jobs` shows"
    )]
    NotAnId(String),
    /// The file is not there.
    #[error("there is no file '{0}', and no session or job is called so")]
    NoFile(String),
    /// The id names a comparison, and one of its jobs is wanted.
    #[error("'{needle}' is a comparison: name one of those who were asked: {}", jobs.join(", "))]
    Compared {
        /// What was given.
        needle: String,
        /// Numbers and ids of its jobs.
        jobs: Vec<String>,
    },
    /// The key cannot be read.
    #[error("'{0}' is not a public key: give an npub or 64 hexadecimal characters")]
    NotAKey(String),
    /// The prompt came as several arguments.
    #[error("the question came in several parts: put it in quotation marks")]
    PromptInWords,
    /// There is nothing to do.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// The prompt is no text.
    #[error("what came in is not text (UTF-8)")]
    NotText,
    /// The prompt is longer than an event may be.
    #[error("the prompt has {}{len} bytes; at most {max} fit", if *.more { "more than " } else { "" })]
    PromptTooLong {
        /// Its bytes, as far as they were read.
        len: usize,
        /// Whether there were more.
        more: bool,
        /// The most that fits.
        max: usize,
    },
    /// More files than one question may have.
    #[error("at most {0} files can be attached")]
    TooManyFiles(usize),
    /// A file is too large to be attached.
    #[error("'{0}' has more than {1} MiB, which is the most that can be attached")]
    FileTooLarge(String, usize),
    /// The job ended without an answer.
    #[error("{0}")]
    Job(String),
    /// The person stopped the job.
    #[error("the job was cancelled")]
    Cancelled,
    /// The time that `--timeout` gave is over.
    #[error("no answer within {0} s; the job was cancelled")]
    TimedOut(u64),
    /// Nobody answered for so long; nothing was cancelled.
    #[error("no answer within {0} s; it may still be going on: treefort jobs --all")]
    NoAnswer(u64),
    /// The file cannot be read or written.
    #[error("cannot use '{path}'")]
    File {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The record is not what was signed, or not all of it.
    #[error("{0}")]
    NotVerified(String),
    /// The session cannot be handed on; why.
    #[error("{0}")]
    NotShared(String),
    /// The secret key cannot be read.
    #[error("this is no secret key: an nsec, ncryptsec or 64 hexadecimal characters were expected")]
    NotASecret,
    /// The password does not open the key.
    #[error("the password does not open this key")]
    WrongPassword,
    /// Two entered passwords differ.
    #[error("the two passwords are not the same")]
    PasswordsDiffer,
    /// Nobody can be asked for it.
    #[error("there is no terminal to ask for the password on")]
    NoPassword(#[source] io::Error),
    /// There is no password.
    #[error("the password is empty")]
    EmptyPassword,
    /// A new password that is soon guessed.
    #[error("the password is too short: {0} characters at least")]
    ShortPassword(usize),
    /// A plain secret key may only go to a file.
    #[error("a plain secret key goes to a file only")]
    PlainNeedsFile,
    /// The conversation has no answer that the next question could go on from.
    #[error("nothing was answered in '{0}' yet, so there is nothing to go on with")]
    NothingToContinue(String),
    /// Nothing runs agents here; why.
    #[error("{0}")]
    NoSandbox(String),
    /// A store of the home cannot be opened.
    #[error(
        "{what} in '{path}' cannot be opened: it is damaged, or of another version of treefort"
    )]
    Damaged {
        /// What it holds.
        what: &'static str,
        /// The store.
        path: String,
    },
    /// A store of the home is of another version.
    #[error(
        "{what} in '{path}' is of format {found}, which this version of treefort does not read"
    )]
    OtherVersion {
        /// What it holds.
        what: &'static str,
        /// The store.
        path: String,
        /// Its format.
        found: String,
    },
    /// A store of the home cannot be used because of where it is.
    #[error("{what} in '{path}' cannot be used: {why}")]
    Unusable {
        /// What it holds.
        what: &'static str,
        /// The store.
        path: String,
        /// Why.
        why: &'static str,
    },
    /// The home has no record yet.
    #[error("there is no record in '{0}' yet")]
    NoRecord(String),
    /// What is stored is not all right.
    #[error(
        "the record is damaged: {unreadable} entries cannot be read, {unfound} are not found by all that should lead to them, {loose} index rows lead to nothing"
    )]
    NotWhole {
        /// Entries that cannot be read.
        unreadable: u64,
        /// Entries that are not found.
        unfound: u64,
        /// Index rows that lead to nothing.
        loose: u64,
    },
    /// A part of the record was to be read and could not be.
    #[error("a part of the record cannot be read any more")]
    Unreadable,
    /// Entries could not be written out.
    #[error("{0} entries could not be read and are left out")]
    LeftOut(u64),
    /// Lines were not taken in because they are not right.
    #[error("{count} lines are not right; the first of them is line {line}")]
    WrongLines {
        /// How many.
        count: u64,
        /// The first of them.
        line: u64,
    },
    /// Jobs would be passed over.
    #[error("nothing was taken in: there are jobs that treefort has not looked at yet")]
    JobsWait,
    /// The disk takes no more.
    #[error("the record cannot be written any more; what was written is safe")]
    Unwritable,
    /// A part of treefort failed, which only those who know its parts can do something about.
    #[error("treefort failed")]
    Inside,
    /// There is no model to ask; why.
    #[error("{0}")]
    NoModel(String),
    /// The first problem that `doctor` found.
    #[error("not ready: {0}")]
    NotReady(String),
}
