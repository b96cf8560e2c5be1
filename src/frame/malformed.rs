//! The rules of the grammar that a stream can break.

use std::fmt;

/// A rule of the grammar that a stream broke. What follows in the stream cannot be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// No line feed within the limit.
    HeaderTooLong,
    /// An empty line.
    Empty,
    /// A space at the start, at the end, or two together.
    Space,
    /// A carriage return; lines end in a line feed alone.
    CarriageReturn,
    /// Another control character.
    Control,
    /// Not UTF-8.
    Utf8,
    /// `#` not followed by a plain number, or not the last word.
    Length,
    /// The payload is not followed by a line feed.
    Terminator,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HeaderTooLong => "the header line is longer than 4096 bytes",
            Self::Empty => "an empty line is no frame",
            Self::Space => "words are separated by exactly one space, with none at the ends",
            Self::CarriageReturn => "lines end in LF alone, not CR LF",
            Self::Control => "the header holds a control character",
            Self::Utf8 => "the header is not UTF-8",
            Self::Length => "the payload length is the last word: hash sign and plain digits",
            Self::Terminator => "the payload is not followed by LF: its length is wrong",
        })
    }
}

impl std::error::Error for Malformed {}
