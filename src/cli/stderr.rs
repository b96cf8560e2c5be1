//! Writing to stderr as its reader takes it.

use std::io::{self, Write};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::pipe::PIPE_BUF;

/// Writes to stderr; false if its reader took nothing for so long, and the rest was not written.
///
/// Nothing is locked while it waits, so that one who waits for ever keeps nobody else.
///
/// # Errors
///
/// Those of stderr. One that is closed takes everything.
pub(super) fn write(bytes: &[u8], patience: Option<Duration>) -> io::Result<bool> {
    let mut rest = bytes;
    while !rest.is_empty() {
        if !takes(patience)? {
            return Ok(false);
        }
        let mut stderr = io::stderr().lock();
        // Another thread may have filled it meanwhile. A pipe that takes anything takes so much.
        if takes(Some(Duration::ZERO))? {
            let (now, later) = rest.split_at(rest.len().min(PIPE_BUF));
            stderr.write_all(now)?;
            rest = later;
        }
    }
    Ok(true)
}

/// Waits until stderr takes something, for a time or for ever; whether it does.
fn takes(limit: Option<Duration>) -> io::Result<bool> {
    let limit = limit.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
    let stderr = io::stderr();
    let mut polled = [PollFd::new(&stderr, PollFlags::OUT)];
    Ok(retry_on_intr(|| poll(&mut polled, limit.as_ref()))? > 0)
}
