//! `treefort key`: the owner's key, out and in.
//!
//! A secret key never appears in an argument, and never on a terminal unless it is encrypted (NIP-49).

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

use nostr::{
    FromBech32 as _, Keys, PublicKey, SecretKey, ToBech32 as _,
    nips::nip49::{EncryptedSecretKey, KeySecurity},
};
use serde_json::json;

use super::{
    Context,
    allow::npub,
    error::{CommandError, Kind, Problem},
    output,
};
use crate::keys::Keyring;

/// The cost of guessing a password (scrypt, log2 of N), as NIP-49 suggests.
const LOG_N: u8 = 16;
/// No new password is shorter: nobody can stop who guesses at a file.
const SHORTEST_PASSWORD: usize = 8;
/// No key file is longer.
const MAX_KEY_FILE: u64 = 4096;

/// Shows, exports or imports the key that signs what you do.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Shows the public key.
    Show {
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Writes the secret key, encrypted with a password (ncryptsec).
    Export {
        /// Writes to this file, for your eyes only, instead of stdout.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Takes the password from the first line of this file instead of asking.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// Writes the secret key without a password (nsec); to a file only.
        #[arg(long, conflicts_with = "password_file")]
        plain: bool,
    },
    /// Takes another secret key: nsec, ncryptsec or hexadecimal. The one before is kept beside it.
    Import {
        /// The file that holds it; stdin when none is named.
        file: Option<PathBuf>,
        /// Takes the password of an ncryptsec from the first line of this file instead of asking.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
}

/// Runs the command.
///
/// # Errors
/// When a file, a key or a password is not right.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    let mut keyring = Keyring::open(context.home.dir())?;
    match args.command {
        Command::Show { json } => show(&keyring.operator().public_key(), json),
        Command::Export {
            out,
            password_file,
            plain,
        } => export(
            keyring.operator(),
            out.as_deref(),
            password_file.as_deref(),
            plain,
        ),
        Command::Import {
            file,
            password_file,
        } => {
            let text = read_secret(file.as_deref())?;
            let secret = parse(&text, || password(password_file.as_deref(), false))?;
            let before = keyring.operator().public_key();
            keyring.import_operator(secret)?;
            if keyring.operator().public_key() == before {
                output::progress("this is your key already");
                return Ok(());
            }
            let key = npub(&keyring.operator().public_key());
            output::progress(format!("you are {key} now; the key before was kept"));
            if context.home.running()?.is_some() {
                output::progress("restart treefort so that it knows you");
            }
            Ok(())
        }
    }
}

fn show(key: &PublicKey, as_json: bool) -> Result<(), CommandError> {
    if as_json {
        output::json(&json!({"npub": npub(key), "hex": key.to_hex()}))?;
    } else {
        output::line(format!("npub {}\nhex  {}", npub(key), key.to_hex()))?;
    }
    Ok(())
}

fn export(
    keys: &Keys,
    out: Option<&Path>,
    password_file: Option<&Path>,
    plain: bool,
) -> Result<(), CommandError> {
    let secret = keys.secret_key();
    let text = if plain {
        if out.is_none() {
            return Err(
                CommandError::new(Kind::Usage, Problem::PlainNeedsFile).hint("add --out FILE")
            );
        }
        secret
            .to_bech32()
            .unwrap_or_else(|infallible| match infallible {})
    } else {
        encrypt(secret, &password(password_file, true)?)?
    };
    match out {
        None => output::line(text)?,
        Some(path) => {
            write_private(path, &text).map_err(|source| file_error(path, source))?;
            output::progress(format!("written to {}", path.display()));
        }
    }
    Ok(())
}

fn encrypt(secret: &SecretKey, password: &str) -> Result<String, CommandError> {
    let encrypted = EncryptedSecretKey::new(secret, password, LOG_N, KeySecurity::Medium)
        .map_err(|error| CommandError::new(Kind::Failed, error))?;
    encrypted
        .to_bech32()
        .map_err(|error| CommandError::new(Kind::Failed, error))
}

/// Reads a secret key in any of its three spellings.
fn parse(
    text: &str,
    password: impl FnOnce() -> Result<String, CommandError>,
) -> Result<SecretKey, CommandError> {
    let text = text.trim();
    let none = || CommandError::new(Kind::Failed, Problem::NotASecret);
    if text.starts_with("ncryptsec1") {
        let encrypted = EncryptedSecretKey::from_bech32(text).map_err(|_| none())?;
        return encrypted
            .decrypt(&password()?)
            .map_err(|_| CommandError::new(Kind::Failed, Problem::WrongPassword));
    }
    SecretKey::parse(text).map_err(|_| none())
}

fn read_secret(file: Option<&Path>) -> Result<String, CommandError> {
    let mut text = String::new();
    match file {
        Some(path) => std::fs::File::open(path)
            .and_then(|file| file.take(MAX_KEY_FILE).read_to_string(&mut text))
            .map_err(|source| file_error(path, source))?,
        None => std::io::stdin()
            .take(MAX_KEY_FILE)
            .read_to_string(&mut text)?,
    };
    Ok(text)
}

/// The password: from a file, or asked for on the terminal without showing it; twice when it is a new one.
pub(super) fn password(file: Option<&Path>, new: bool) -> Result<String, CommandError> {
    let password = match file {
        Some(path) => {
            let text = read_secret(Some(path))?;
            text.lines().next().unwrap_or_default().to_owned()
        }
        None => {
            let ask = |question| rpassword::prompt_password(question).map_err(nobody);
            let first = ask("password: ")?;
            if new && ask("once more: ")? != first {
                return Err(CommandError::new(Kind::Failed, Problem::PasswordsDiffer));
            }
            first
        }
    };
    if password.is_empty() {
        return Err(CommandError::new(Kind::Failed, Problem::EmptyPassword));
    }
    if new && password.chars().count() < SHORTEST_PASSWORD {
        let short = Problem::ShortPassword(SHORTEST_PASSWORD);
        return Err(CommandError::new(Kind::Failed, short)
            .hint("whoever gets the file can try as many as they like; take several words"));
    }
    Ok(password)
}

/// Nobody can be asked for a password.
fn nobody(source: std::io::Error) -> CommandError {
    CommandError::new(Kind::Usage, Problem::NoPassword(source))
        .hint("`--password-file FILE` takes it from the first line of a file")
}

/// Writes a new file that only its owner reads; what is there is never overwritten.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

fn file_error(path: &Path, source: std::io::Error) -> CommandError {
    CommandError::new(
        Kind::Failed,
        Problem::File {
            path: path.display().to_string(),
            source,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_password() -> Result<String, CommandError> {
        Err(CommandError::new(Kind::Failed, Problem::EmptyPassword))
    }

    #[test]
    fn an_encrypted_key_opens_with_its_password_alone() {
        let keys = Keys::generate();
        let text = encrypt(keys.secret_key(), "pässword").unwrap();
        assert!(text.starts_with("ncryptsec1"));
        let back = parse(&text, || Ok("pässword".into())).unwrap();
        assert_eq!(&back, keys.secret_key());
        assert!(parse(&text, || Ok("password".into())).is_err());
    }

    #[test]
    fn a_new_password_that_is_soon_guessed_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let given = |text: &str, new| {
            std::fs::write(file.path(), text).unwrap();
            password(Some(file.path()), new)
        };
        let error = given("pässwor\n", true).unwrap_err();
        assert!(error.message().contains("too short"), "{}", error.message());
        assert_eq!(given("pässword\n", true).unwrap(), "pässword");
        // One that was taken before opens what it closed.
        assert_eq!(given("abc\n", false).unwrap(), "abc");
    }

    #[test]
    fn reads_the_plain_spellings_and_nothing_else() {
        let keys = Keys::generate();
        let nsec = format!("{}\n", keys.secret_key().to_bech32().unwrap());
        assert_eq!(&parse(&nsec, no_password).unwrap(), keys.secret_key());
        let hex = keys.secret_key().to_secret_hex();
        assert_eq!(&parse(&hex, no_password).unwrap(), keys.secret_key());
        let error = parse("npub1xyz", no_password).unwrap_err().to_string();
        assert!(!error.contains("xyz"));
    }

    #[test]
    fn a_plain_key_goes_to_a_private_file_and_overwrites_nothing() {
        let keys = Keys::generate();
        assert_eq!(
            export(&keys, None, None, true).unwrap_err().kind(),
            Kind::Usage
        );
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("key");
        export(&keys, Some(&path), None, true).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("nsec1"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert!(export(&keys, Some(&path), None, true).is_err());
    }
}
