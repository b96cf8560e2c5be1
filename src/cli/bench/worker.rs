//! A connection that does tasks: it checks each payload and answers with the task's number.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};

use super::link::{Heard, Link};
use super::load::Board;
use super::payload::{NUMBER, blank_result, read_payload};
use crate::task::TaskId;

/// Does tasks until the phase is over, then leaves.
pub(super) async fn work(mut link: Link, board: Arc<Board>) -> Result<()> {
    if !board.phase.staged {
        board.begin().await;
    }
    tokio::select! {
        biased;
        failed = answer(&mut link, &board) => failed?,
        _ = board.over() => {}
    }
    link.leave().await;
    Ok(())
}

/// Never returns but with an error.
async fn answer(link: &mut Link, board: &Board) -> Result<()> {
    let mut desk = Desk { board, result: blank_result(board.shape.result), unanswered: 0 };
    loop {
        let mut done = 0;
        while let Some(heard) = link.inbox.next()? {
            done += desk.hear(&heard, &mut link.out)?;
        }
        if !board.phase.watch {
            // Nobody else hears of it.
            board.add_done(done);
        }
        link.exchange().await?;
    }
}

struct Desk<'a> {
    board: &'a Board,
    result: Vec<u8>,
    /// DONEs that have no reply yet.
    unanswered: u64,
}

impl Desk<'_> {
    /// Takes a frame; how many tasks it acknowledges.
    fn hear(&mut self, heard: &Heard<'_>, out: &mut Vec<u8>) -> Result<u64> {
        if let Some(words) = heard.after("TASK") {
            self.run(words, heard, out)?;
            Ok(0)
        } else if heard.is("OK") {
            let left = self.unanswered.checked_sub(1);
            self.unanswered = left.with_context(|| format!("an OK too many: {}", heard.text()))?;
            Ok(1)
        } else {
            bail!("the scheduler says: {}", heard.text())
        }
    }

    /// Appends the DONE of a task, which must be a first attempt, whole, and new.
    fn run(&mut self, words: &[u8], heard: &Heard<'_>, out: &mut Vec<u8>) -> Result<()> {
        let wrong = |what: &str| format!("{what}: {}", heard.text());
        let (lease, rest) = words.split_at_checked(TaskId::LEN + 2).unwrap_or_default();
        ensure!(lease.ends_with(b" 1") && rest.starts_with(b" "), wrong("not a first attempt"));
        let number = read_payload(heard.payload, self.board.shape.payload);
        let number = number.with_context(|| wrong("a payload is not what was submitted"))?;
        ensure!(self.board.take(number), wrong("a task came twice, or is of another run"));
        out.extend_from_slice(b"DONE ");
        out.extend_from_slice(lease);
        out.extend_from_slice(b" #");
        crate::frame::put_number(out, self.result.len() as u64);
        out.push(b'\n');
        out.extend_from_slice(heard.payload.get(..NUMBER).unwrap_or_default());
        out.extend_from_slice(self.result.get(NUMBER..).unwrap_or_default());
        out.push(b'\n');
        self.unanswered += 1;
        Ok(())
    }
}
