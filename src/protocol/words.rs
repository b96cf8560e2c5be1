//! The words of a request's header, taken one after another and checked as they are taken.

use crate::frame::{Decimal, decode, number};
use crate::message::amounts::{AMOUNTS_MAX, read_amounts};
use crate::message::{Code, Refusal, Slice};
use crate::protocol::TEXT_MAX;
use crate::task::{Attempt, TaskId, is_name};

/// Which options were given, by their places: none may come twice.
#[derive(Clone, Copy, Default)]
pub(super) struct Given(u32);

impl Given {
    pub(super) fn once(&mut self, place: u32, item: Item<'_>) -> Result<(), Refusal> {
        if self.has(place) {
            let name = item.name_text().unwrap_or_default();
            return Err(Refusal::new(Code::UnknownOption, format!("{name} is given twice")));
        }
        self.0 |= 1 << place;
        Ok(())
    }

    pub(super) fn has(self, place: u32) -> bool {
        self.0 >> place & 1 == 1
    }
}

/// Goes through the words of a header once.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    line: &'a [u8],
    at: usize,
}

/// A word, cut at its first `=`; the name of an argument is empty and its value is all of it.
#[derive(Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) name: &'a [u8],
    pub(super) value: &'a [u8],
    is_option: bool,
    /// Where the value begins in the header.
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn of(line: &'a [u8]) -> Self {
        Self { line, at: 0 }
    }

    pub(super) fn verb(&mut self) -> &'a [u8] {
        let end = memchr::memchr(b' ', self.line).unwrap_or(self.line.len());
        self.at = end + 1;
        self.line.get(..end).unwrap_or_default()
    }

    pub(super) fn next(&mut self) -> Option<Item<'a>> {
        let start = self.at;
        let rest = self.line.get(start..).filter(|rest| !rest.is_empty())?;
        let mut equals = None;
        let mut length = rest.len();
        for (place, &byte) in rest.iter().enumerate() {
            if byte == b' ' {
                length = place;
                break;
            }
            if byte == b'=' && equals.is_none() {
                equals = Some(place);
            }
        }
        self.at = start + length + 1;
        let from = equals.map_or(0, |equals| equals + 1);
        Some(Item {
            name: rest.get(..equals.unwrap_or(0)).unwrap_or_default(),
            value: rest.get(from..length).unwrap_or_default(),
            is_option: equals.is_some(),
            at: start + from,
        })
    }

    /// The next word, which must be an argument.
    pub(super) fn arg(&mut self, what: &str) -> Result<Item<'a>, Refusal> {
        self.next()
            .filter(|item| !item.is_option)
            .ok_or_else(|| Refusal::new(Code::Missing, format!("the {what} is missing")))
    }

    pub(super) fn id(&mut self) -> Result<TaskId, Refusal> {
        let item = self.arg("task id")?;
        TaskId::parse(item.value)
            .ok_or_else(|| bad("a task id has 13 characters of 0-9 and a-z without i, l, o and u"))
    }

    pub(super) fn attempt(&mut self) -> Result<Attempt, Refusal> {
        self.arg("attempt")?.number("attempt", 1, u64::from(u32::MAX)).map(narrow)
    }

    /// The next word, which must be an option if there is one.
    pub(super) fn option(&mut self) -> Result<Option<Item<'a>>, Refusal> {
        match self.next() {
            Some(item) if !item.is_option => Err(self.stray(item)),
            item => Ok(item),
        }
    }

    /// The refusal of an argument that has no place. Only a name is safe to repeat.
    fn stray(&self, item: Item<'_>) -> Refusal {
        let word = match item.text().filter(|text| is_name(text)) {
            Some(name) => name.to_owned(),
            None => {
                let before = self.line.get(..item.at).unwrap_or_default();
                format!("word {}", 1 + memchr::memchr_iter(b' ', before).count())
            }
        };
        let text = format!("{word} is an argument too many, or stands behind an option");
        Refusal::new(Code::UnknownOption, text)
    }

    /// No word is left.
    pub(super) fn end(&mut self) -> Result<(), Refusal> {
        self.option()?.map_or(Ok(()), |item| Err(item.unknown()))
    }
}

impl<'a> Item<'a> {
    pub(super) fn slice(self) -> Slice {
        let narrow = |place: usize| u16::try_from(place).unwrap_or(u16::MAX);
        Slice { start: narrow(self.at), end: narrow(self.at + self.value.len()) }
    }

    pub(super) fn text(self) -> Option<&'a str> {
        std::str::from_utf8(self.value).ok()
    }

    pub(super) fn name_text(self) -> Option<&'a str> {
        std::str::from_utf8(self.name).ok()
    }

    /// The place of a name in the header.
    pub(super) fn name_slice(self, what: &str) -> Result<Slice, Refusal> {
        self.name(what)?;
        Ok(self.slice())
    }

    /// The place of a list of names in the header.
    pub(super) fn names_slice(self, what: &str, most: usize) -> Result<Slice, Refusal> {
        self.list_slice(most, is_name).ok_or_else(|| {
            bad(format!("{what} is a list of 1 to {most} names, separated by commas"))
        })
    }

    /// The place of a list of amounts in the header.
    pub(super) fn amounts_slice(self, what: &str) -> Result<Slice, Refusal> {
        let read = self.text().and_then(read_amounts);
        read.map(|_| self.slice()).ok_or_else(|| {
            bad(format!(
                "{what} is a list of 1 to {AMOUNTS_MAX} amounts such as cpu:4, up to 10^12"
            ))
        })
    }

    /// The place of a list of task identifiers in the header.
    pub(super) fn ids_slice(self, what: &str, most: usize) -> Result<Slice, Refusal> {
        let is_id = |id: &str| TaskId::parse(id.as_bytes()).is_some();
        self.list_slice(most, is_id).ok_or_else(|| {
            bad(format!("{what} is a list of 1 to {most} task ids, separated by commas"))
        })
    }

    /// The place of a list in the header, if its entries are few enough and all that they should be.
    fn list_slice(self, most: usize, is: impl Fn(&str) -> bool) -> Option<Slice> {
        let entries = self.text()?.split(',');
        let fits = entries.clone().count() <= most && entries.into_iter().all(is);
        fits.then(|| self.slice())
    }

    /// The place of a free text in the header, still encoded.
    pub(super) fn text_slice(self, what: &str) -> Result<Slice, Refusal> {
        let length = match memchr::memchr3(b'%', b'=', b'#', self.value) {
            None => Some(self.value.len()),
            Some(_) => self.text().and_then(decode).map(|text| text.len()),
        };
        match length {
            Some(1..=TEXT_MAX) => Ok(self.slice()),
            Some(_) => Err(bad(format!("{what} has 1 to {TEXT_MAX} bytes"))),
            None => Err(bad(format!("{what} is not percent-encoded as it must be"))),
        }
    }

    /// The place of a value that can be decoded.
    pub(super) fn decodable(self) -> Option<Slice> {
        self.text().and_then(decode).map(|_| self.slice())
    }

    pub(super) fn name(self, what: &str) -> Result<&'a str, Refusal> {
        self.text().filter(|text| is_name(text)).ok_or_else(|| {
            bad(format!("the {what} is a name: 1 to 128 characters of A-Z a-z 0-9 . _ / -"))
        })
    }

    pub(super) fn number(self, what: &str, min: u64, max: u64) -> Result<u64, Refusal> {
        number(self.value)
            .filter(|number| (min..=max).contains(number))
            .ok_or_else(|| bad(format!("{what} is a plain number from {min} to {max}")))
    }

    pub(super) fn number_or_none(
        self,
        what: &str,
        (min, max): (u64, u64),
    ) -> Result<Option<u64>, Refusal> {
        self.unless_none(|item| item.number(what, min, max))
    }

    /// A number of milliseconds.
    pub(super) fn ms(self, what: &str, (min, max): (u64, u64)) -> Result<u64, Refusal> {
        number(self.value).filter(|number| (min..=max).contains(number)).ok_or_else(|| {
            bad(format!("{what} is a plain number of milliseconds from {min} to {max}"))
        })
    }

    pub(super) fn ms_or_none(self, what: &str, range: (u64, u64)) -> Result<Option<u64>, Refusal> {
        self.unless_none(|item| item.ms(what, range))
    }

    fn unless_none(
        self,
        read: impl FnOnce(Self) -> Result<u64, Refusal>,
    ) -> Result<Option<u64>, Refusal> {
        if self.value == b"none" {
            return Ok(None);
        }
        read(self).map(Some).map_err(|refusal| bad(format!("{}, or none", refusal.text)))
    }

    /// A number with up to three decimals.
    pub(super) fn decimal(
        self,
        what: &str,
        (least, most): (Decimal, Decimal),
    ) -> Result<Decimal, Refusal> {
        let read = self.text().and_then(Decimal::parse);
        read.filter(|number| (least..=most).contains(number)).ok_or_else(|| {
            bad(format!("{what} is a number from {least} to {most} with up to three decimals"))
        })
    }

    pub(super) fn yes_or_no(self, what: &str) -> Result<bool, Refusal> {
        match self.value {
            b"yes" => Ok(true),
            b"no" => Ok(false),
            _ => Err(bad(format!("{what} is yes or no"))),
        }
    }

    /// Whether it is that argument.
    pub(super) fn is_argument(self, value: &[u8]) -> bool {
        !self.is_option && self.value == value
    }

    pub(super) fn unknown(self) -> Refusal {
        unknown_option(self.name_text().unwrap_or_default())
    }
}

pub(super) fn unknown_option(name: &str) -> Refusal {
    // A name of the alphabet is safe to repeat; anything else is not repeated.
    let text = match is_name(name) {
        true => format!("{name} is no option of this verb"),
        false => "no option of this verb".to_owned(),
    };
    Refusal::new(Code::UnknownOption, text)
}

pub(super) fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

pub(super) fn bad(text: impl Into<String>) -> Refusal {
    Refusal::new(Code::BadValue, text)
}
