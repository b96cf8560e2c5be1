//! Dialling a scheduler.

use std::future::Future;
use std::time::Duration;

use clap::Args;

use super::exit::{Exit, Failure, Outcome};
use super::values;
use crate::client::{Client, Error, Worker, WorkerBuilder};

/// Where the scheduler is, and how to get on with it.
#[derive(Clone, Debug, Args)]
pub(super) struct PeerSettings {
    /// Scheduler to connect to
    #[arg(long, value_name = "HOST:PORT", env = "GANGER_CONNECT", hide_env_values = true)]
    #[arg(default_value = "127.0.0.1:7330", value_parser = values::address)]
    connect: String,

    /// Secret that grants what is to be done; better given in the environment
    #[arg(long, value_name = "TOKEN", env = "GANGER_TOKEN", hide_env_values = true)]
    token: Option<String>,

    /// How long to put up with a scheduler that went away or is busy [default: 60s; a worker: for ever]
    #[arg(long, value_name = "DURATION", env = "GANGER_PATIENCE", hide_env_values = true)]
    #[arg(value_parser = values::duration)]
    patience: Option<Duration>,
}

impl PeerSettings {
    /// A client that may do all that the token grants.
    ///
    /// # Errors
    ///
    /// [`Exit::Unreachable`] and [`Exit::Refused`].
    pub(super) async fn client(&self) -> Result<Client, Failure> {
        let builder = Client::builder().name("cli");
        let builder = match self.patience {
            Some(patience) => builder.patience(patience),
            None => builder,
        };
        let builder = match &self.token {
            Some(token) => builder.token(token),
            None => builder,
        };
        builder.connect(&self.connect).await.map_err(|error| self.failure(error))
    }

    /// What is said where there is no scheduler, or one that does not want us.
    pub(super) fn failure(&self, error: Error) -> Failure {
        let Error::Io(cause) = error else { return error.into() };
        let text = format!("no scheduler answers at {}: {cause}", self.connect);
        Failure::new(Exit::Unreachable, text)
            .hint("`ganger serve` starts one; --connect or GANGER_CONNECT says where it is")
    }

    /// A worker in the making.
    pub(super) fn worker(&self) -> WorkerBuilder {
        let builder = Worker::builder(&self.connect);
        let builder = match self.patience {
            Some(patience) => builder.patience(patience),
            None => builder,
        };
        match &self.token {
            Some(token) => builder.token(token),
            None => builder,
        }
    }
}

/// Runs a command that talks to a scheduler, to its end.
pub(super) fn block_on(command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::machine(error.to_string()))?;
    let outcome = runtime.block_on(command);
    // A thread that still reads stdin is not waited for.
    runtime.shutdown_background();
    outcome
}
