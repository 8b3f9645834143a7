//! The treefort program: inside a container its init and its chat agent, elsewhere the command line.

use std::{ffi::OsString, process::ExitCode};

#[cfg(target_os = "linux")]
use treefort::sandbox::embedded;
use treefort::{agent::chat, cli, sandbox::init};

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if let Some(argv) = init::is_init_invocation(args.iter().cloned()) {
        return init::run(&argv);
    }
    #[cfg(target_os = "linux")]
    match args.get(1).and_then(|word| word.to_str()) {
        Some(embedded::enter::SUBCOMMAND) => return embedded::enter::run(),
        Some(embedded::inside::SUBCOMMAND) => return embedded::inside::run(),
        _ => {}
    }
    if args.get(1).is_some_and(|word| word == "agent-chat") {
        return match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime.block_on(chat::run()),
            Err(_) => ExitCode::FAILURE,
        };
    }
    cli::main(args)
}
