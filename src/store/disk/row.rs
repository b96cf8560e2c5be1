//! How one batch is one row of the log.
//!
//! A row is the length of what follows (u32), [`FORMAT`] (u8), its checksum (u32), and its payload:
//! the last identifier issued (u64), the wall time (u64), and the writes. A write is a letter and its
//! fields in the order of [`Write`]; an identifier or a time is a u64, a text is its length (u32) and
//! its bytes. Numbers are little-endian. The checksum covers the sequence number, the checksum of
//! the row before, and the payload: a row verifies only in its place in the chain.

use super::fault::{Fault, damaged};
use super::layout::{FORMAT, Reader, checksum, key, length};
use crate::record::{Batch, Text, Write};
use crate::task::TaskId;

/// Bytes before the payload of a row.
const HEAD: usize = 9;

/// The letter of the log, as tables have theirs.
const LETTER: u8 = b'l';

/// Spells the row of a batch into `row`, and gives its checksum. `chain` is the checksum of the row
/// before.
pub(super) fn encode(seq: u64, chain: u32, batch: &Batch, row: &mut Vec<u8>) -> u32 {
    row.clear();
    row.resize(HEAD, 0);
    row.extend_from_slice(&batch.last.bits().to_le_bytes());
    row.extend_from_slice(&batch.wall_ms.to_le_bytes());
    for &write in &batch.writes {
        put(batch, write, row);
    }
    let [l0, l1, l2, l3] = length(row.get(4..).unwrap_or_default());
    let Some((head, payload)) = row.split_first_chunk_mut::<HEAD>() else { return 0 };
    let sum = checksum(LETTER, &key(seq), chain, payload);
    let [s0, s1, s2, s3] = sum.to_le_bytes();
    *head = [l0, l1, l2, l3, FORMAT, s0, s1, s2, s3];
    sum
}

/// How long the row is whose first bytes these are; `None` if they cannot be those of a row.
pub(super) fn measure(head: &[u8]) -> Option<usize> {
    let (length, rest) = head.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    (rest.first() == Some(&FORMAT) && length > HEAD - 4).then_some(length + 4)
}

fn put(batch: &Batch, write: Write, out: &mut Vec<u8>) {
    let mut row = |letter: u8, number: Option<TaskId>, texts: &[Text]| {
        out.push(letter);
        if let Some(id) = number {
            out.extend_from_slice(&id.bits().to_le_bytes());
        }
        for &text in texts {
            let bytes = batch.slice(text);
            out.extend_from_slice(&length(bytes));
            out.extend_from_slice(bytes);
        }
    };
    match write {
        Write::Submit { id, frame } => row(b'S', Some(id), &[frame]),
        Write::State { id, line } => row(b'L', Some(id), &[line]),
        Write::End { id, frame, until_ms } => {
            row(b'E', Some(id), &[frame]);
            out.extend_from_slice(&until_ms.to_le_bytes());
        }
        Write::Bury { id, line, frame } => row(b'B', Some(id), &[line, frame]),
        Write::Revive { id, line, frame } => row(b'R', Some(id), &[line, frame]),
        Write::Drop { id } => row(b'D', Some(id), &[]),
        Write::Hold { name, line } => row(b'h', None, &[name, line]),
        Write::Unhold { name } => row(b'H', None, &[name]),
        Write::Queue { name, line } => row(b'q', None, &[name, line]),
        Write::Worker { name, line } => row(b'w', None, &[name, line]),
        Write::WorkerGone { name, host } => row(b'W', None, &[name, host]),
        Write::Stats { name, line } => row(b'k', None, &[name, line]),
        Write::StatsGone { name } => row(b'K', None, &[name]),
        Write::Run { name, line } => row(b'r', None, &[name, line]),
        Write::RunGone { name } => row(b'U', None, &[name]),
        Write::Cron { name, line } => row(b'c', None, &[name, line]),
        Write::CronGone { name } => row(b'C', None, &[name]),
    }
}

/// A row whose checksum was compared.
#[derive(Clone, Debug)]
pub(super) struct Row<'v> {
    pub(super) last: u64,
    pub(super) wall_ms: u64,
    /// The row's own checksum, which the next one carries on.
    pub(super) chain: u32,
    writes: &'v [u8],
}

impl<'v> Row<'v> {
    /// Reads the row of a sequence number; `None` if these bytes are not that row. `chain` is the
    /// checksum of the row before.
    pub(super) fn read(seq: u64, chain: u32, row: &'v [u8]) -> Option<Self> {
        let (&[_, _, _, _, _, a, b, c, d], payload) = row.split_first_chunk::<HEAD>()?;
        let sum = checksum(LETTER, &key(seq), chain, payload);
        if measure(row) != Some(row.len()) || sum != u32::from_le_bytes([a, b, c, d]) {
            return None;
        }
        let mut from = Reader(payload);
        let (last, wall_ms) = (from.u64()?, from.u64()?);
        Some(Self { last, wall_ms, chain: sum, writes: from.0 })
    }

    /// The writes, in order.
    pub(super) fn writes(&self) -> impl Iterator<Item = Result<Write, Fault>> + use<'v> {
        let (all, mut from) = (self.writes.len(), Reader(self.writes));
        std::iter::from_fn(move || {
            if from.0.is_empty() {
                return None;
            }
            let write = take(&mut from, all);
            if write.is_none() {
                from = Reader(&[]);
            }
            Some(write.map_or_else(|| damaged("a write of the log has no meaning"), Ok))
        })
    }

    /// The bytes of a slice of one of its writes.
    pub(super) fn slice(&self, text: Text) -> &'v [u8] {
        self.writes.get(text.start as usize..text.end as usize).unwrap_or_default()
    }
}

/// Takes one write; its texts are places in the `all` bytes of writes that `from` is the rest of.
fn take(from: &mut Reader<'_>, all: usize) -> Option<Write> {
    fn id(from: &mut Reader<'_>) -> Option<TaskId> {
        from.u64().map(TaskId::from_bits)
    }
    let text = |from: &mut Reader<'_>| {
        let length = from.u32()?;
        let start = u32::try_from(all - from.0.len()).ok()?;
        from.bytes(length)?;
        Some(Text { start, end: start + length })
    };
    Some(match from.u8()? {
        b'S' => Write::Submit { id: id(from)?, frame: text(from)? },
        b'L' => Write::State { id: id(from)?, line: text(from)? },
        b'E' => Write::End { id: id(from)?, frame: text(from)?, until_ms: from.u64()? },
        b'B' => Write::Bury { id: id(from)?, line: text(from)?, frame: text(from)? },
        b'R' => Write::Revive { id: id(from)?, line: text(from)?, frame: text(from)? },
        b'D' => Write::Drop { id: id(from)? },
        b'h' => Write::Hold { name: text(from)?, line: text(from)? },
        b'H' => Write::Unhold { name: text(from)? },
        b'q' => Write::Queue { name: text(from)?, line: text(from)? },
        b'w' => Write::Worker { name: text(from)?, line: text(from)? },
        b'W' => Write::WorkerGone { name: text(from)?, host: text(from)? },
        b'k' => Write::Stats { name: text(from)?, line: text(from)? },
        b'K' => Write::StatsGone { name: text(from)? },
        b'r' => Write::Run { name: text(from)?, line: text(from)? },
        b'U' => Write::RunGone { name: text(from)? },
        b'c' => Write::Cron { name: text(from)?, line: text(from)? },
        b'C' => Write::CronGone { name: text(from)? },
        _ => return None,
    })
}
