//! What there is one of in the database: the row that is written together with every change of the
//! tables, and says what is in them.

use std::ops::Bound;

use redb::{ReadTransaction, ReadableTable, Table as Opened, WriteTransaction};

use super::fault::{Fault, damaged};
use super::layout::{Reader, Table, begin, carried, key, number, seal, unseal};
use super::log::AREA;

const COUNTED: [Table; 5] =
    [Table::Tasks, Table::State, Table::Buried, Table::Lines, Table::ResultsIndex];

/// The row of `meta`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    /// The database's own random number, which the marker file repeats.
    pub(super) store: u128,
    /// The last row of the log that went into the tables.
    pub(super) folded: u64,
    /// That row's checksum.
    pub(super) chain: u32,
    /// Where in the file of the log it ended.
    pub(super) place: u64,
    /// The newest row then, and its checksum: what it undoes never came into the tables, so they are
    /// worth nothing without it.
    pub(super) known: u64,
    pub(super) known_chain: u32,
    /// The last identifier issued up to there.
    pub(super) last: u64,
    /// Wall time of the turn then, in Unix milliseconds.
    pub(super) wall_ms: u64,
    /// The number of the newest row of results.
    pub(super) results: u64,
    sums: [Sum; COUNTED.len()],
}

/// How many rows a table holds, and what their checksums add up to: with it, a row that is silently
/// missing, or back again, is noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    rows: u64,
    sum: u64,
}

impl Sum {
    pub(super) fn add(&mut self, crc: u32) {
        self.rows = self.rows.wrapping_add(1);
        self.sum = self.sum.wrapping_add(u64::from(crc));
    }

    fn sub(&mut self, crc: u32) {
        self.rows = self.rows.wrapping_sub(1);
        self.sum = self.sum.wrapping_sub(u64::from(crc));
    }
}

impl Meta {
    /// That of an empty store.
    pub(super) fn new(store: u128) -> Self {
        Self { store, place: AREA, ..Self::default() }
    }

    /// Reads the row; `None` if the database was never begun.
    pub(super) fn read(transaction: &ReadTransaction) -> Result<Option<Self>, Fault> {
        let table = match transaction.open_table(Table::Meta.rows()) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            table => table?,
        };
        let Some(value) = table.get(key(0).as_slice())? else { return damaged("meta is empty") };
        let (payload, _) = unseal(Table::Meta, &key(0), value.value())?;
        match Self::decode(&mut Reader(payload)) {
            Some(meta) => Ok(Some(meta)),
            None => damaged("meta has a wrong length"),
        }
    }

    pub(super) fn write(&self, transaction: &WriteTransaction) -> Result<(), Fault> {
        let mut value = Vec::new();
        begin(&mut value);
        self.encode(&mut value);
        seal(Table::Meta, &key(0), &mut value);
        let mut table = transaction.open_table(Table::Meta.rows())?;
        table.insert(key(0).as_slice(), value.as_slice())?;
        Ok(())
    }

    /// Compares what was found in a table with what it must hold.
    pub(super) fn compare(&self, table: Table, found: Sum) -> Result<(), Fault> {
        let Some(&expected) = place(table).and_then(|at| self.sums.get(at)) else { return Ok(()) };
        if found == expected {
            return Ok(());
        }
        damaged(format!("{table:?} holds {} rows, not the {} it must", found.rows, expected.rows))
    }

    /// Opens a table whose rows are counted.
    pub(super) fn table<'t>(
        &'t mut self,
        transaction: &'t WriteTransaction,
        name: Table,
    ) -> Result<Counted<'t>, Fault> {
        let table = transaction.open_table(name.rows())?;
        match place(name).and_then(|at| self.sums.get_mut(at)) {
            Some(sum) => Ok(Counted { table, name, sum, value: Vec::new() }),
            None => damaged(format!("{name:?} is not counted")),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.store.to_le_bytes());
        out.extend_from_slice(&self.chain.to_le_bytes());
        out.extend_from_slice(&self.known_chain.to_le_bytes());
        for number in [self.folded, self.known, self.place, self.last, self.wall_ms, self.results] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for Sum { rows, sum } in self.sums {
            out.extend_from_slice(&rows.to_le_bytes());
            out.extend_from_slice(&sum.to_le_bytes());
        }
    }

    fn decode(from: &mut Reader<'_>) -> Option<Self> {
        let store = from.array().map(u128::from_le_bytes)?;
        let (chain, known_chain) = (from.u32()?, from.u32()?);
        let (folded, known, place) = (from.u64()?, from.u64()?, from.u64()?);
        let (last, wall_ms) = (from.u64()?, from.u64()?);
        let results = from.u64()?;
        let mut sums = [Sum::default(); COUNTED.len()];
        for sum in &mut sums {
            *sum = Sum { rows: from.u64()?, sum: from.u64()? };
        }
        let meta =
            Self { store, folded, chain, place, known, known_chain, last, wall_ms, results, sums };
        from.0.is_empty().then_some(meta)
    }
}

fn place(table: Table) -> Option<usize> {
    COUNTED.iter().position(|&counted| counted == table)
}

/// A table whose rows are sealed and counted.
pub(super) struct Counted<'t> {
    table: Opened<'t, &'static [u8], &'static [u8]>,
    name: Table,
    sum: &'t mut Sum,
    value: Vec<u8>,
}

impl Counted<'_> {
    /// Puts a row, in place of the one with that key if there is one.
    pub(super) fn put(&mut self, key: &[u8], payload: &[&[u8]]) -> Result<(), Fault> {
        self.sum.add(spell(self.name, key, payload, &mut self.value));
        if let Some(old) = self.table.insert(key, self.value.as_slice())? {
            self.sum.sub(carried(old.value()));
        }
        Ok(())
    }

    /// Puts rows (and removes those without payload) by ascending key. Those beyond the last row are
    /// appended, which costs the least.
    pub(super) fn put_sorted(&mut self, rows: &[(u64, Option<&[u8]>)]) -> Result<(), Fault> {
        let last = self.table.last()?.map(|(last, _)| number(last.value())).transpose()?;
        let within = rows.partition_point(|&(id, _)| Some(id) <= last);
        let (within, beyond) = rows.split_at(within);
        for &(id, payload) in within {
            match payload {
                Some(payload) => self.put(&key(id), &[payload])?,
                None => self.remove(&key(id))?,
            }
        }
        let mut end = self.table.upper_bound_mut(Bound::<&[u8]>::Unbounded)?;
        for &(id, payload) in beyond {
            if let Some(payload) = payload {
                self.sum.add(spell(self.name, &key(id), &[payload], &mut self.value));
                end.insert_before(key(id).as_slice(), self.value.as_slice())?;
            }
        }
        Ok(end.close()?)
    }

    /// Removes the row with that key if there is one.
    pub(super) fn remove(&mut self, key: &[u8]) -> Result<(), Fault> {
        if let Some(old) = self.table.remove(key)? {
            self.sum.sub(carried(old.value()));
        }
        Ok(())
    }
}

fn spell(name: Table, key: &[u8], payload: &[&[u8]], value: &mut Vec<u8>) -> u32 {
    begin(value);
    payload.iter().for_each(|part| value.extend_from_slice(part));
    seal(name, key, value)
}
