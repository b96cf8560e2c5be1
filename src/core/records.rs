//! The memory of records whose tasks have ended, for the records to come. Tasks end in another order
//! than they come, which is what an allocator finds hard; and most records are as long as another.

use std::sync::Arc;

/// The longest record whose memory is kept, in bytes.
const LONGEST: usize = 1024;

/// How many of the same length are kept at most.
const MOST: usize = 512;

/// How much is kept at most, in bytes.
const BYTES: usize = 1 << 20;

/// Memory of records, by their length.
#[derive(Debug, Default)]
pub(super) struct Records {
    spare: Vec<Vec<Arc<[u8]>>>,
    bytes: usize,
}

impl Records {
    /// A record of these bytes.
    pub(super) fn of(&mut self, bytes: &[u8]) -> Arc<[u8]> {
        let Some(mut kept) = self.spare.get_mut(bytes.len()).and_then(Vec::pop) else {
            return Arc::from(bytes);
        };
        self.bytes -= kept.len();
        match Arc::get_mut(&mut kept) {
            Some(memory) => memory.copy_from_slice(bytes),
            None => kept = Arc::from(bytes),
        }
        kept
    }

    /// A task has ended. Its record's memory is kept if there is room and nobody else has it still.
    pub(super) fn keep(&mut self, mut record: Arc<[u8]>) {
        let len = record.len();
        if len > LONGEST || self.bytes + len > BYTES || Arc::get_mut(&mut record).is_none() {
            return;
        }
        if self.spare.len() <= len {
            self.spare.resize_with(len + 1, Vec::new);
        }
        if let Some(spare) = self.spare.get_mut(len).filter(|spare| spare.len() < MOST) {
            spare.push(record);
            self.bytes += len;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_its_own_bytes_whoever_had_the_memory_before() {
        let mut records = Records::default();
        let first = records.of(b"SUBMIT a\n");
        let memory = first.as_ptr();
        records.keep(first);
        let (second, third) = (records.of(b"SUBMIT b\n"), records.of(b"SUBMIT c\n"));
        assert_eq!((&second[..], &third[..]), (&b"SUBMIT b\n"[..], &b"SUBMIT c\n"[..]));
        assert_eq!(second.as_ptr(), memory);
        assert_eq!(records.bytes, 0);
    }

    #[test]
    fn what_somebody_else_has_still_is_not_kept() {
        let mut records = Records::default();
        let record = records.of(b"SUBMIT a\n");
        let pushed = record.clone();
        records.keep(record);
        assert_eq!((records.bytes, &records.of(b"SUBMIT b\n")[..]), (0, &b"SUBMIT b\n"[..]));
        assert_eq!(&pushed[..], b"SUBMIT a\n");
    }

    #[test]
    fn no_more_is_kept_than_that() {
        let mut records = Records::default();
        for len in (1..2 * LONGEST).cycle().take(100_000) {
            let more: Vec<Arc<[u8]>> = (0..3).map(|_| records.of(&vec![7; len])).collect();
            more.into_iter().for_each(|record| records.keep(record));
        }
        let kept = records.spare.iter().flatten().map(|record| record.len()).sum::<usize>();
        assert_eq!(kept, records.bytes);
        assert!((BYTES / 2..=BYTES).contains(&kept), "{kept} bytes");
        assert!(records.spare.len() <= LONGEST + 1);
        let same: Vec<Arc<[u8]>> =
            (0..10 * MOST).map(|_| Arc::from([0_u8; 10].as_slice())).collect();
        same.into_iter().for_each(|record| records.keep(record));
        assert!(records.spare.iter().all(|spare| spare.len() <= MOST));
    }
}
