//! `ganger completions`.

use clap::{Args, Command};
use clap_complete::Shell;

use super::exit::{Exit, Outcome};
use super::output::Output;

/// Prints a completion script.
#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell that is to read it
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self, mut command: Command, output: &Output) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "ganger", &mut script);
        output.data(&script)?;
        Ok(Exit::Done)
    }
}
