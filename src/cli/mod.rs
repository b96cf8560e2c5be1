//! The program: a file per command.
//!
//! - `settings`: where settings come from. `values`: how people write them; `ranges`: what they may be.
//! - `output`: the only place that prints. `table`: what it prints for people. `stderr`: writing there
//!   while its reader may pause.
//! - `exit`: how the program ends.
//! - `peer`: dialling a scheduler. `signals`: being told to stop. `command`: running commands.

pub mod bench;
mod change;
mod clear;
mod command;
mod completions;
mod config;
mod cron;
mod drain;
mod events;
mod exit;
mod explain;
mod get;
mod lines;
mod log;
mod output;
mod peer;
mod picture;
mod queue;
mod queues;
mod ranges;
mod run;
mod serve;
mod settings;
mod signals;
mod simulate;
mod stats;
mod stderr;
mod submit;
mod submit_lines;
mod table;
mod tasks;
mod values;
mod watch;
mod work;
mod workers;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

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

// A doc comment here would take the place of all that a command says of itself.
#[derive(Debug, Subcommand)]
enum Command {
    #[command(about = "Run a command for each line of stdin, several at once")]
    Run(run::Run),
    /// Run a scheduler
    Serve(serve::Serve),
    #[command(about = "Work for a scheduler: run a command for each task")]
    Work(work::Work),
    /// Hand in tasks, and perhaps wait for their results
    Submit(submit::Submit),
    /// Show tasks: where they stand, their history, their results
    Get(get::Get),
    /// Tell why tasks wait, or run where they run, or how they ended
    Explain(explain::Explain),
    /// Wait for tasks to end and print their results
    Watch(watch::Watch),
    /// End tasks that have not ended
    Cancel(change::Change),
    /// Make dead or cancelled tasks ready again
    Retry(change::Change),
    /// List tasks, all but the done ones
    Tasks(tasks::Tasks),
    /// List queues
    Queues(queues::Queues),
    /// Show a queue, or set its policies
    Queue(queue::Queue),
    /// List workers
    Workers(workers::Workers),
    /// Show counts, durations, waits, throughput and costs
    Stats(stats::Stats),
    /// Have no task of a queue begin, until it is resumed
    Pause(clear::Pause),
    /// Let tasks of a queue begin again
    Resume(clear::Pause),
    /// Clear a queue of dead, cancelled or waiting tasks
    Purge(clear::Purge),
    /// Add, list, remove, pause and resume periodic tasks
    Cron(cron::Cron),
    /// Print what happens to tasks, as it happens
    Events(events::Events),
    /// Let a worker finish what it has and leave
    Drain(drain::Drain),
    #[command(about = "Compare orders and routes on one workload, in virtual time")]
    Simulate(simulate::Simulate),
    #[command(about = "Measure throughput, latency and memory")]
    Bench(bench::Options),
    /// Show every setting, its value, and where it comes from
    Config(config::Config),
    /// Print a script that completes commands and flags in a shell
    Completions(completions::Completions),
}

/// Runs the program.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<_> = args.into_iter().collect();
    let command = ranges::with_negative(Program::command());
    let parsed = settings::parse(&command, &args).and_then(|(matches, file)| {
        let program = Program::from_arg_matches(&matches).map_err(Stop::Clap)?;
        Ok((program, matches, file))
    });
    let (program, matches, file) = match parsed {
        Ok(parsed) => parsed,
        Err(Stop::Clap(error)) => return Output::clap(&error).into(),
        Err(Stop::File(failure)) => return end(&Output::new(false), Err(failure)),
    };
    let output = Arc::new(Output::new(program.json));
    let outcome = dispatch(program, &matches, file.as_ref(), &output);
    end(&output, outcome)
}

fn dispatch(
    program: Program,
    matches: &ArgMatches,
    file: Option<&File>,
    output: &Arc<Output>,
) -> Outcome {
    program.log.start(matches!(program.command, Command::Serve(_) | Command::Work(_)))?;
    match program.command {
        Command::Run(run) => run.run(output),
        Command::Serve(serve) => serve.run(output),
        Command::Work(work) => work.run(output),
        Command::Submit(submit) => submit.run(output),
        Command::Get(get) => get.run(output),
        Command::Explain(explain) => explain.run(output),
        Command::Watch(watch) => watch.run(output),
        Command::Cancel(change) => change.run(change::To::Cancelled, output),
        Command::Retry(change) => change.run(change::To::Ready, output),
        Command::Tasks(tasks) => tasks.run(output),
        Command::Queues(queues) => queues.run(output),
        Command::Queue(queue) => queue.run(output),
        Command::Workers(workers) => workers.run(output),
        Command::Stats(stats) => stats.run(output),
        Command::Pause(pause) => pause.run(true, output),
        Command::Resume(pause) => pause.run(false, output),
        Command::Purge(purge) => purge.run(output),
        Command::Cron(cron) => cron.run(output),
        Command::Events(events) => events.run(output),
        Command::Drain(drain) => drain.run(output),
        Command::Simulate(simulate) => simulate.run(output),
        Command::Bench(options) => {
            options.check().map_err(|error| Failure::usage(format!("{error:#}")))?;
            match bench::run(&options, program.json) {
                Ok(()) => Ok(Exit::Done),
                Err(error) => Err(Failure::new(bench::exit_of(&error), format!("{error:#}"))),
            }
        }
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
