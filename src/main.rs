//! The program: what it was told, to an exit code. Everything else is in [`ganger::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    ganger::cli::run(std::env::args_os())
}
