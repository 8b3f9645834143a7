//! The treefort program.

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(argv) = treefort::sandbox::init::is_init_invocation(std::env::args_os()) {
        return treefort::sandbox::init::run(&argv);
    }
    ExitCode::SUCCESS
}
