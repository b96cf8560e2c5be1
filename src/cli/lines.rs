//! The lines of stdin, read ahead on a thread of their own: a slow or silent input keeps nothing else
//! from going on.

use std::io::{self, BufRead};

use tokio::sync::mpsc;

use crate::protocol::codec::PAYLOAD_MAX;

/// Lines that are read ahead.
const AHEAD: usize = 4096;

/// A line, or why there are no more.
pub(super) type Line = io::Result<Vec<u8>>;

/// Begins to read stdin, cut at a byte. The last line may lack it.
pub(super) fn read_stdin(separator: u8) -> mpsc::Receiver<Line> {
    let (sender, lines) = mpsc::channel(AHEAD);
    // It ends with its input, or with the program.
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        loop {
            let line = next_line(&mut stdin, separator, PAYLOAD_MAX).transpose();
            let Some(line) = line else { return };
            let line = line.map_err(of_stdin);
            let is_last = line.is_err();
            if sender.blocking_send(line).is_err() || is_last {
                return;
            }
        }
    });
    lines
}

/// Says of an error what it is about: a directory, for one.
fn of_stdin(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("stdin cannot be read: {error}"))
}

/// The next line without its end; nothing at the end of the input.
fn next_line(input: &mut impl BufRead, separator: u8, max: u64) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    // One byte more than a line may have, so that one that is too long is known.
    let read = io::Read::take(input, max + 1).read_until(separator, &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() == Some(&separator) {
        line.pop();
    } else if read as u64 > max {
        let text = format!("a line is longer than {max} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut input: &[u8], separator: u8) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| next_line(&mut input, separator, 4).unwrap()).collect()
    }

    #[test]
    fn lines_are_cut_at_the_separator_and_at_the_end() {
        assert_eq!(all(b"a\n\nb\r\nc", b'\n'), [&b"a"[..], b"", b"b\r", b"c"]);
        assert_eq!(all(b"a\nb\0c\0", 0), [&b"a\nb"[..], b"c"]);
        assert!(all(b"", b'\n').is_empty());
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit_and_no_longer() {
        assert_eq!(all(b"1234\n1234", b'\n'), [b"1234", b"1234"]);
        assert!(next_line(&mut &b"12345\n"[..], b'\n', 4).is_err());
    }
}
