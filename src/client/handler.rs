//! Runs handlers, whatever they do: a panic is a failure of the task, not of the worker.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::failure::Failure;
use super::task::{Lease, Task};

/// What the run of a handler came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finished {
    pub(super) lease: Lease,
    pub(super) outcome: Result<Bytes, Failure>,
}

/// Starts the run of a handler among others.
pub(super) type Start = Box<dyn Fn(Task, &mut JoinSet<Finished>) + Send + Sync>;

/// How to start an async handler. Boxed once; a run costs one allocation, its spawning.
pub(super) fn start<H, F, R, E>(handler: H) -> Start
where
    H: Fn(Task) -> F + Send + Sync + 'static,
    F: Future<Output = Result<R, E>> + Send,
    R: Into<Bytes>,
    E: Into<Failure>,
{
    let handler = Arc::new(handler);
    Box::new(move |task, runs| {
        let (lease, handler) = (task.lease(), handler.clone());
        runs.spawn(async move {
            // The handler is called here too, since it may work before it returns its future.
            let run = async { handler(task).await.map(R::into).map_err(E::into) };
            Finished { lease, outcome: caught(run).await }
        });
    })
}

/// How to start a handler that blocks: on threads that are there for it.
pub(super) fn start_blocking<H, R, E>(handler: H) -> Start
where
    H: Fn(Task) -> Result<R, E> + Send + Sync + 'static,
    R: Into<Bytes>,
    E: Into<Failure>,
{
    let handler = Arc::new(handler);
    Box::new(move |task, runs| {
        let (lease, handler) = (task.lease(), handler.clone());
        runs.spawn_blocking(move || {
            let run = || handler(task).map(R::into).map_err(E::into);
            let outcome = catch_unwind(AssertUnwindSafe(run))
                .unwrap_or_else(|panic| Err(Failure::new(panic_text(&*panic))));
            Finished { lease, outcome }
        });
    })
}

/// Runs a future to its end or its panic.
async fn caught<T>(run: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut run = pin!(Some(run));
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| match run.as_mut().as_pin_mut() {
            Some(run) => run.poll(context),
            None => Poll::Pending,
        }));
        polled.unwrap_or_else(|panic| {
            // What it leaves behind may panic too.
            drop(catch_unwind(AssertUnwindSafe(|| run.set(None))));
            Poll::Ready(Err(Failure::new(panic_text(&*panic))))
        })
    })
    .await
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", text.unwrap_or("no text"))
}
