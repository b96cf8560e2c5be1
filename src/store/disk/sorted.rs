//! Walks a counted table in the order of its keys, verifying as it goes.

use redb::{AccessGuard, Range, ReadTransaction};

use super::fault::{Fault, damaged};
use super::layout::{Table, unseal};
use super::meta::{Meta, Sum};

type Bytes = &'static [u8];

/// A table, and how far it has been walked.
pub(super) struct Sorted<'m> {
    name: Table,
    rows: Range<'static, Bytes, Bytes>,
    next: Option<(AccessGuard<'static, Bytes>, Value)>,
    found: Sum,
    meta: &'m Meta,
}

/// The value of a row that was verified.
pub(super) struct Value(AccessGuard<'static, Bytes>, usize);

impl Value {
    pub(super) fn payload(&self) -> &[u8] {
        let value = self.0.value();
        value.get(value.len() - self.1..).unwrap_or_default()
    }
}

impl<'m> Sorted<'m> {
    pub(super) fn open(
        transaction: &ReadTransaction,
        meta: &'m Meta,
        name: Table,
    ) -> Result<Self, Fault> {
        let rows = transaction.open_table(name.rows())?.range::<Bytes>(..)?;
        let mut sorted = Self { name, rows, next: None, found: Sum::default(), meta };
        sorted.advance()?;
        Ok(sorted)
    }

    /// The key of the next row.
    pub(super) fn key(&self) -> Option<&[u8]> {
        self.next.as_ref().map(|(key, _)| key.value())
    }

    /// Takes the next row if it has that key.
    pub(super) fn take(&mut self, key: &[u8]) -> Result<Option<Value>, Fault> {
        if self.key() != Some(key) {
            return Ok(None);
        }
        let row = self.next.take();
        self.advance()?;
        Ok(row.map(|(_, value)| value))
    }

    /// After the last row: compares what was found with what must be there.
    pub(super) fn end(self) -> Result<(), Fault> {
        if self.next.is_some() {
            return damaged(format!("the keys of {:?} are out of order", self.name));
        }
        self.meta.compare(self.name, self.found)
    }

    fn advance(&mut self) -> Result<(), Fault> {
        let Some(row) = self.rows.next() else { return Ok(()) };
        let (key, value) = row?;
        let (payload, crc) = unseal(self.name, key.value(), value.value())?;
        let length = payload.len();
        self.found.add(crc);
        self.next = Some((key, Value(value, length)));
        Ok(())
    }
}
