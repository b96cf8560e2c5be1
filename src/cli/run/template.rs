//! The command with its places for the line: `{}` is the line, `{/}` its last component as a path.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use tokio::process::Command;

/// A command that lacks its line.
#[derive(Debug)]
pub(super) struct Template {
    words: Vec<Vec<Piece>>,
    shell: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Line,
    Base,
}

impl Template {
    /// The command as it was given. Without a place for the line, the line is its last word.
    pub(super) fn new(command: &[OsString], shell: bool) -> Self {
        let mut words: Vec<Vec<Piece>> = match shell {
            true => vec![pieces(command.join(OsStr::new(" ")).as_bytes())],
            false => command.iter().map(|word| pieces(word.as_bytes())).collect(),
        };
        let is_place = |piece: &Piece| *piece != Piece::Line && *piece != Piece::Base;
        if words.iter().flatten().all(is_place) {
            match words.first_mut().filter(|_| shell) {
                Some(script) => script.extend([Piece::Text(b" ".to_vec()), Piece::Line]),
                None => words.push(vec![Piece::Line]),
            }
        }
        Self { words, shell }
    }

    /// The program, if it is the same for every line.
    pub(super) fn program(&self) -> Option<&OsStr> {
        match self.words.first().map(Vec::as_slice) {
            _ if self.shell => Some(OsStr::new("sh")),
            Some([Piece::Text(text)]) => Some(OsStr::from_bytes(text)),
            _ => None,
        }
    }

    /// The command for a line.
    pub(super) fn command(&self, line: &[u8]) -> Command {
        let mut words = self.words.iter().map(|word| filled(word, line, self.shell));
        let first = words.next().unwrap_or_default();
        if self.shell {
            let mut command = Command::new("sh");
            command.arg("-c").arg(first);
            return command;
        }
        let mut command = Command::new(first);
        command.args(words);
        command
    }

    /// What the tasks are called: the program's name, as far as a name can hold it.
    pub(super) fn kind(&self) -> String {
        let text = match self.words.first().and_then(|word| word.first()) {
            Some(Piece::Text(text)) => String::from_utf8_lossy(text).into_owned(),
            _ => String::new(),
        };
        let word = text.split(char::is_whitespace).next().unwrap_or_default();
        let base = word.rsplit('/').next().unwrap_or_default();
        let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let name: String = base.chars().map(|c| if known(c) { c } else { '-' }).take(64).collect();
        if name.is_empty() { "command".to_owned() } else { name }
    }
}

fn pieces(mut text: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut plain = Vec::new();
    while let Some((first, rest)) = text.split_first() {
        let place = [(&b"{}"[..], Piece::Line), (b"{/}", Piece::Base)];
        let place = place.into_iter().find(|(mark, _)| text.starts_with(mark));
        let Some((mark, piece)) = place else {
            plain.push(*first);
            text = rest;
            continue;
        };
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(piece);
        text = text.get(mark.len()..).unwrap_or_default();
    }
    if !plain.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    pieces
}

fn filled(word: &[Piece], line: &[u8], quote: bool) -> OsString {
    let mut out = Vec::new();
    for piece in word {
        let text = match piece {
            Piece::Text(text) => {
                out.extend_from_slice(text);
                continue;
            }
            Piece::Line => line,
            Piece::Base => base(line),
        };
        if quote {
            put_quoted(text, &mut out);
        } else {
            out.extend_from_slice(text);
        }
    }
    OsString::from_vec(out)
}

/// The last component of a path.
fn base(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|byte| *byte != b'/').map_or(line.len(), |last| last + 1);
    let line = line.get(..end).unwrap_or_default();
    line.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// As one word of a shell, whatever is in it.
fn put_quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'\'');
    for byte in text {
        match byte {
            b'\'' => out.extend_from_slice(b"'\\''"),
            byte => out.push(*byte),
        }
    }
    out.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &[&str], shell: bool, line: &str) -> Vec<String> {
        let command: Vec<OsString> = command.iter().map(OsString::from).collect();
        let command = Template::new(&command, shell).command(line.as_bytes());
        let command = command.as_std();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn the_line_takes_its_place() {
        assert_eq!(words(&["wc", "-l", "{}"], false, "a b"), ["wc", "-l", "a b"]);
        assert_eq!(words(&["cp", "{}", "to/{/}.bak"], false, "x/y"), ["cp", "x/y", "to/y.bak"]);
        assert_eq!(words(&["echo", "{}{}", "{", "{/"], false, "a"), ["echo", "aa", "{", "{/"]);
        assert_eq!(words(&["{}", "x"], false, "true"), ["true", "x"]);
    }

    #[test]
    fn without_a_place_the_line_is_the_last_word() {
        assert_eq!(words(&["echo"], false, "a b"), ["echo", "a b"]);
        assert_eq!(words(&["echo", "x"], true, "a b"), ["sh", "-c", "echo x 'a b'"]);
    }

    #[test]
    fn a_line_is_one_word_of_the_shell() {
        let line = "it's; rm -rf $HOME `x`";
        let quoted = r"wc < 'it'\''s; rm -rf $HOME `x`'";
        assert_eq!(words(&["wc < {}"], true, line), ["sh", "-c", quoted]);
    }

    #[test]
    fn base_names_are_those_of_basename() {
        for (path, expected) in [("a/b.c", "b.c"), ("b", "b"), ("a/b/", "b"), ("/", ""), ("", "")] {
            assert_eq!(base(path.as_bytes()), expected.as_bytes(), "{path}");
        }
    }

    #[test]
    fn kinds_are_names() {
        let kind = |word: &str| Template::new(&[word.into()], false).kind();
        assert_eq!(kind("/usr/bin/wc"), "wc");
        assert_eq!(kind("./my tool"), "my");
        assert_eq!(kind("{}"), "command");
        assert_eq!(kind("größe"), "gr--e");
    }
}
