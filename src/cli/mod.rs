//! The program: a file per command.
//!
//! - `settings`: where settings come from. `values`: how people write them.
//! - `output`: the only place that prints. `table`: what it prints for people.
//! - `exit`: how the program ends.
//! - `peer`: dialling a scheduler. `signals`: being told to stop. `command`: running commands.

mod completions;
mod config;
mod exit;
mod log;
mod output;
mod serve;
mod settings;
mod signals;
mod table;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use self::exit::{Exit, Failure, Outcome};
use self::log::LogSettings;
use self::output::Output;
use self::settings::{File, Stop};

/// A task scheduler: workers in any language dial it, tasks are ordered and routed to them
#[derive(Debug, Parser)]
#[command(name = "ganger", version, after_help = exit::HELP, max_term_width = 100)]
#[command(disable_help_subcommand = true)]
struct Program {
    #[command(subcommand)]
    command: Command,

    /// Print JSON instead of tables
    #[arg(long, global = true, help_heading = exit::GENERAL)]
    json: bool,

    /// Configuration file [default: ./ganger.toml, else ganger/config.toml in $XDG_CONFIG_HOME]
    #[arg(long, global = true, value_name = "FILE", env = "GANGER_CONFIG", hide_env_values = true)]
    #[arg(help_heading = exit::GENERAL)]
    config: Option<PathBuf>,

    #[command(flatten)]
    log: LogSettings,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scheduler
    Serve(serve::Serve),
    /// Show every setting, its value, and where it comes from
    Config(config::Config),
    /// Print a script that completes commands and flags in a shell
    Completions(completions::Completions),
}

/// Runs the program.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<_> = args.into_iter().collect();
    let parsed = settings::parse(&Program::command(), &args).and_then(|(matches, file)| {
        let program = Program::from_arg_matches(&matches).map_err(Stop::Clap)?;
        Ok((program, matches, file))
    });
    let (program, matches, file) = match parsed {
        Ok(parsed) => parsed,
        Err(Stop::Clap(error)) => return Output::clap(&error).into(),
        Err(Stop::File(failure)) => return end(&Output::new(false), Err(failure)),
    };
    let output = Output::new(program.json);
    let outcome = dispatch(program, &matches, file.as_ref(), &output);
    end(&output, outcome)
}

fn dispatch(
    program: Program,
    matches: &ArgMatches,
    file: Option<&File>,
    output: &Output,
) -> Outcome {
    program.log.start(matches!(program.command, Command::Serve(_)))?;
    match program.command {
        Command::Serve(serve) => serve.run(output),
        Command::Config(config) => config.run(&Program::command(), matches, file, output),
        Command::Completions(completions) => completions.run(Program::command(), output),
    }
}

fn end(output: &Output, outcome: Outcome) -> ExitCode {
    let exit = outcome.unwrap_or_else(|failure| {
        output.fail(&failure);
        failure.exit
    });
    exit.into()
}
