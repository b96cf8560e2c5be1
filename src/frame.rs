//! The one text format of ganger: a header line of words and, if it ends in `#length`, so many
//! bytes of payload and a line feed. The wire, the stored record and the Redis value are all frames.
//!
//! ```text
//! VERB arg … name=value … [#length] LF [payload LF]
//! ```
//!
//! This module knows the grammar of one frame; it knows no verb, no socket and no store.

use std::borrow::Cow;
use std::fmt;

use bytes::{BufMut, Bytes};

mod decimal;
mod malformed;

pub use decimal::{Decimal, NotADecimal};
pub use malformed::Malformed;

/// Longest header line in bytes, its line feed included.
pub const HEADER_MAX: usize = 4096;

/// A frame whose grammar has been checked. Cloning it copies no bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    bytes: Bytes,
    /// Bytes of the header line without its line feed and without the `#length` word.
    words: u16,
    /// Where the payload begins; 0 for none.
    payload: u16,
}

/// How a frame begins, as far as its header line tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outline {
    /// Bytes of the header line, its line feed included.
    pub header: usize,
    /// Bytes of the words, without the `#length` word and the space before it.
    pub words: usize,
    /// The declared length of the payload.
    pub payload: Option<u64>,
}

impl Outline {
    /// Checks a header line (without its line feed) against the grammar.
    ///
    /// # Errors
    ///
    /// [`Malformed`] names the rule that is broken; a stream that breaks one is never read further.
    pub fn of(line: &[u8]) -> Result<Self, Malformed> {
        if line.len() >= HEADER_MAX {
            return Err(Malformed::HeaderTooLong);
        }
        let lengths = match Scan::of(line) {
            Scan { odd: 0, spaces: 0, lengths } if line.last().is_some_and(|&end| end != b' ') => {
                lengths
            }
            scan => {
                check_bytes(line)?;
                scan.lengths
            }
        };
        if lengths == 0 {
            return Ok(Self { header: line.len() + 1, words: line.len(), payload: None });
        }
        let words = memchr::memrchr(b' ', line).unwrap_or_default();
        match line.get(words + 1..) {
            Some([b'#', digits @ ..]) if lengths == 1 && words > 0 => {
                let payload = Some(number(digits).ok_or(Malformed::Length)?);
                Ok(Self { header: line.len() + 1, words, payload })
            }
            _ => Err(Malformed::Length),
        }
    }

    /// Bytes of the whole frame; `None` if that is more than can be counted.
    pub fn total(&self) -> Option<usize> {
        match self.payload {
            None => Some(self.header),
            Some(length) => usize::try_from(length).ok()?.checked_add(self.header)?.checked_add(1),
        }
    }
}

/// What a header line holds, found without a branch per byte.
struct Scan {
    /// Not 0 if a byte is a control character or beyond ASCII.
    odd: u8,
    /// Not 0 if a space comes first or behind another one.
    spaces: u8,
    /// Words that begin with `#`.
    lengths: u16,
}

impl Scan {
    /// Bytes that are looked at together: what is done to so many at once takes a few instructions,
    /// and a header is seldom longer than a few times that.
    const BLOCK: usize = 32;

    fn of(line: &[u8]) -> Self {
        let mut scan = Self { odd: 0, spaces: u8::from(line.is_empty()), lengths: 0 };
        // What comes first is checked like what comes behind a space.
        let mut before = b' ';
        for part in line.chunks(Self::BLOCK) {
            // Filled up with letters, which are nothing.
            let mut block = [b'x'; Self::BLOCK + 1];
            if let Some((first, rest)) = block.split_first_mut()
                && let Some(rest) = rest.get_mut(..part.len())
            {
                *first = before;
                rest.copy_from_slice(part);
            }
            scan.add(&block);
            before = part.last().copied().unwrap_or(before);
        }
        scan
    }

    /// Looks at a block, the first byte of which was looked at before.
    fn add(&mut self, block: &[u8; Self::BLOCK + 1]) {
        let (Some(befores), Some(bytes)) =
            (block.first_chunk::<{ Self::BLOCK }>(), block.last_chunk::<{ Self::BLOCK }>())
        else {
            return;
        };
        let (mut odd, mut spaces, mut lengths) = (0, 0, 0);
        for (&before, &byte) in befores.iter().zip(bytes) {
            odd |= u8::from(byte < b' ') | u8::from(byte == 0x7f) | (byte & 0x80);
            spaces |= u8::from(before == b' ') & u8::from(byte == b' ');
            lengths += u8::from(before == b' ') & u8::from(byte == b'#');
        }
        self.odd |= odd;
        self.spaces |= spaces;
        self.lengths += u16::from(lengths);
    }
}

/// One form only: visible characters, single spaces between words, valid UTF-8.
fn check_bytes(line: &[u8]) -> Result<(), Malformed> {
    let mut previous = b' ';
    let mut ascii = true;
    for &byte in line {
        if byte < b' ' || byte == 0x7f {
            return Err(if byte == b'\r' { Malformed::CarriageReturn } else { Malformed::Control });
        }
        if byte == b' ' && previous == b' ' {
            return Err(Malformed::Space);
        }
        ascii &= byte < 0x80;
        previous = byte;
    }
    if previous == b' ' {
        return Err(if line.is_empty() { Malformed::Empty } else { Malformed::Space });
    }
    if !ascii {
        let text = std::str::from_utf8(line).map_err(|_| Malformed::Utf8)?;
        if text.chars().any(char::is_control) {
            return Err(Malformed::Control);
        }
    }
    Ok(())
}

/// A plain decimal number without sign or leading zeros; `None` for anything else.
pub fn number(digits: &[u8]) -> Option<u64> {
    match digits {
        [] => None,
        [b'0', _, ..] => None,
        _ => digits.iter().try_fold(0_u64, |number, &byte| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            number.checked_mul(10)?.checked_add(digit)
        }),
    }
}

impl Frame {
    /// The frame that makes up `bytes`, which begin with the outlined header line.
    ///
    /// # Errors
    ///
    /// [`Malformed::Terminator`] if the payload is not followed by a line feed, or the bytes are
    /// not as long as the outline says.
    pub fn new(bytes: Bytes, outline: Outline) -> Result<Self, Malformed> {
        if outline.total() != Some(bytes.len()) || bytes.last() != Some(&b'\n') {
            return Err(Malformed::Terminator);
        }
        let narrow = |length: usize| u16::try_from(length).map_err(|_| Malformed::HeaderTooLong);
        let payload = if outline.payload.is_some() { narrow(outline.header)? } else { 0 };
        Ok(Self { bytes, words: narrow(outline.words)?, payload })
    }

    /// Reads a whole frame, as a store hands it back.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the bytes are not exactly one frame.
    pub fn read(bytes: Bytes) -> Result<Self, Malformed> {
        let end = memchr::memchr(b'\n', &bytes).ok_or(Malformed::Terminator)?;
        let outline = Outline::of(bytes.get(..end).unwrap_or_default())?;
        Self::new(bytes, outline)
    }

    /// The whole frame as received.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The header line without `#length`, as bytes. They are known to be UTF-8.
    pub fn line(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.words)).unwrap_or_default()
    }

    /// The header line without `#length`.
    pub fn header(&self) -> &str {
        std::str::from_utf8(self.line()).unwrap_or_default()
    }

    /// The first word.
    pub fn verb(&self) -> &str {
        let end = memchr::memchr(b' ', self.line()).unwrap_or(self.line().len());
        std::str::from_utf8(self.line().get(..end).unwrap_or_default()).unwrap_or_default()
    }

    /// The words after the verb, in order.
    pub fn words(&self) -> Words<'_> {
        let header = self.header();
        let space = memchr::memchr(b' ', header.as_bytes());
        let at = space.map_or(header.len(), |space| space + 1);
        Words { header, at }
    }

    /// The payload, if the frame has one (which may be empty).
    pub fn payload(&self) -> Option<Bytes> {
        (self.payload != 0).then(|| {
            self.bytes.slice(usize::from(self.payload)..self.bytes.len().saturating_sub(1))
        })
    }

    /// Where the payload begins in the frame's bytes; `None` without a payload.
    pub fn payload_at(&self) -> Option<u16> {
        (self.payload != 0).then_some(self.payload)
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.header())?;
        match self.payload() {
            Some(payload) => write!(f, " #{}", payload.len()),
            None => Ok(()),
        }
    }
}

/// One word after the verb.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word<'a> {
    /// A word without `=`.
    Arg(&'a str),
    /// `name=value`, the value still percent-encoded.
    Option(&'a str, &'a str),
}

/// Iterates over the words of a header.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    header: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    /// Reads words from the start of a text: a state line, the options of a record.
    pub fn of(text: &'a str) -> Self {
        Self { header: text, at: 0 }
    }

    /// Where in the header the next word begins, in bytes.
    pub fn at(&self) -> usize {
        self.at
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a str {
        self.header.get(self.at..).unwrap_or_default()
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        let rest = self.header.get(self.at..).filter(|rest| !rest.is_empty())?;
        let end = memchr::memchr(b' ', rest.as_bytes()).unwrap_or(rest.len());
        let word = rest.get(..end)?;
        self.at = (self.at + end + 1).min(self.header.len());
        Some(match memchr::memchr(b'=', word.as_bytes()) {
            Some(equals) => Word::Option(word.get(..equals)?, word.get(equals + 1..)?),
            None => Word::Arg(word),
        })
    }
}

/// Decodes a percent-encoded value.
///
/// `None` if an escape is not `%` and two hexadecimal digits, if what must be encoded is not (`=`
/// anywhere, `#` at the start), if the decoded text is not UTF-8, or if it holds a control
/// character, which no value may hold.
pub fn decode(value: &str) -> Option<Cow<'_, str>> {
    unescape(value).filter(|text| !text.chars().any(char::is_control))
}

/// Decodes a percent-encoded value as [`decode`] does, but lets control characters through: for
/// records, whose texts come from payloads.
pub fn unescape(value: &str) -> Option<Cow<'_, str>> {
    if value.starts_with('#') || value.contains('=') {
        return None;
    }
    if !value.contains('%') {
        return Some(Cow::Borrowed(value));
    }
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let value = digit(bytes.next()?)? * 16 + digit(bytes.next()?)?;
        out.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// The one spelling of an encoded value, whichever characters its author chose to encode: equal if and
/// only if the decoded values are. A value that cannot be decoded stays as it is.
pub fn canonical(value: &str) -> Cow<'_, str> {
    if !value.contains('%') {
        return Cow::Borrowed(value);
    }
    let mut spelled = Vec::with_capacity(value.len());
    match unescape(value) {
        Some(text) => put_encoded(&mut spelled, &text),
        None => spelled.extend_from_slice(value.as_bytes()),
    }
    String::from_utf8(spelled).map_or(Cow::Borrowed(value), Cow::Owned)
}

/// The one writer of frames: verb, arguments, options, payload, in that order.
///
/// The buffer is a growing one (`Vec<u8>`, `BytesMut`).
#[must_use = "a frame is finished by `end` or `payload`"]
pub struct Writer<'a, B: BufMut> {
    out: &'a mut B,
}

impl<'a, B: BufMut> Writer<'a, B> {
    /// Begins a frame.
    pub fn verb(out: &'a mut B, verb: &str) -> Self {
        out.put_slice(verb.as_bytes());
        Self { out }
    }

    /// Appends words that are already spelled: several, with single spaces between them.
    pub fn words(self, words: &str) -> Self {
        if !words.is_empty() {
            self.out.put_u8(b' ');
            self.out.put_slice(words.as_bytes());
        }
        self
    }

    /// Appends an argument: a name, a word of a closed list.
    pub fn arg(self, word: &str) -> Self {
        debug_assert!(!word.is_empty() && !word.contains([' ', '=', '#']), "{word:?}");
        self.words(word)
    }

    /// Appends a task's identifier.
    pub fn id(self, id: crate::task::TaskId) -> Self {
        self.out.put_u8(b' ');
        self.out.put_slice(&id.text());
        self
    }

    /// Appends a number.
    pub fn number(self, number: u64) -> Self {
        self.out.put_u8(b' ');
        put_number(self.out, number);
        self
    }

    /// Appends `name=value`, encoding the value.
    #[inline]
    pub fn option(self, name: &str, value: &str) -> Self {
        put_name(self.out, name);
        put_encoded(self.out, value);
        self
    }

    /// Appends `name=number`.
    #[inline]
    pub fn option_number(self, name: &str, number: u64) -> Self {
        put_name(self.out, name);
        put_number(self.out, number);
        self
    }

    /// Ends a frame with what another one ended with: its last words and its payload, as spelled.
    pub fn rest(self, spelled: &[u8]) {
        self.out.put_slice(spelled);
    }

    /// Ends a frame that has no payload.
    pub fn end(self) {
        self.out.put_u8(b'\n');
    }

    /// Ends a frame with a payload.
    pub fn payload(self, payload: &[u8]) {
        self.out.put_slice(b" #");
        put_number(self.out, payload.len() as u64);
        self.out.put_u8(b'\n');
        self.out.put_slice(payload);
        self.out.put_u8(b'\n');
    }

    /// Ends a frame with a payload if there is one.
    pub fn maybe_payload(self, payload: Option<&[u8]>) {
        match payload {
            Some(payload) => self.payload(payload),
            None => self.end(),
        }
    }
}

/// Inlined, because with a name that is known its few bytes are copied without a call.
#[inline(always)]
fn put_name(out: &mut impl BufMut, name: &str) {
    out.put_u8(b' ');
    out.put_slice(name.as_bytes());
    out.put_u8(b'=');
}

fn put_encoded(out: &mut impl BufMut, value: &str) {
    let plain = |byte: u8| byte > b' ' && byte != b'%' && byte != b'=' && byte != 0x7f;
    // Without a branch per byte: nearly every value is plain to its end.
    let all_plain = value.bytes().fold(true, |all, byte| all & plain(byte));
    if all_plain && !value.starts_with('#') {
        out.put_slice(value.as_bytes());
        return;
    }
    for (at, byte) in value.bytes().enumerate() {
        if plain(byte) && !(at == 0 && byte == b'#') {
            out.put_u8(byte);
        } else {
            let digit = |four: u8| b"0123456789ABCDEF".get(usize::from(four)).copied().unwrap_or(0);
            out.put_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// Appends a number in plain decimal digits.
pub fn put_number(out: &mut impl BufMut, number: u64) {
    let mut digits = [b'0'; 20];
    let (mut left, mut start) = (number, digits.len());
    for pair in digits.rchunks_exact_mut(2) {
        let two = (left % 100) as u8;
        pair.copy_from_slice(&[b'0' + two / 10, b'0' + two % 10]);
        start -= if left < 10 { 1 } else { 2 };
        left /= 100;
        if left == 0 {
            break;
        }
    }
    out.put_slice(digits.get(start..).unwrap_or_default());
}
