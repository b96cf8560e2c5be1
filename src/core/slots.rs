//! Values under small numbers that are used again.

/// Values by number. Whoever keeps a number keeps beside it what tells whether it is still meant:
/// an identifier or a serial.
#[derive(Debug)]
pub(super) struct Slots<T> {
    values: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { values: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(number) = self.free.pop()
            && let Some(slot) = self.values.get_mut(number as usize)
        {
            *slot = Some(value);
            return number;
        }
        self.values.push(Some(value));
        u32::try_from(self.values.len() - 1).expect("fewer than 2^32 values")
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let value = self.values.get_mut(number as usize)?.take()?;
        self.free.push(number);
        Some(value)
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.values.get(number as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.values.get_mut(number as usize)?.as_mut()
    }

    /// The value of a number that is known to be in use.
    pub(super) fn at(&self, number: u32) -> &T {
        self.get(number).expect("a number is kept only while its value is there")
    }

    /// The value of a number that is known to be in use.
    pub(super) fn at_mut(&mut self, number: u32) -> &mut T {
        self.get_mut(number).expect("a number is kept only while its value is there")
    }

    /// The values with their numbers, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(&self.values).filter_map(|(number, value)| Some((number, value.as_ref()?)))
    }

    /// The values with their numbers, ascending.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        let values = (0..).zip(&mut self.values);
        values.filter_map(|(number, value)| Some((number, value.as_mut()?)))
    }

    /// The numbers in use are below this one.
    pub(super) fn bound(&self) -> u32 {
        u32::try_from(self.values.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn len(&self) -> usize {
        self.values.len() - self.free.len()
    }
}
