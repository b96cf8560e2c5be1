//! The only place that prints. stdout is data, stderr is talk.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use super::exit::{Exit, Failure};
use super::stderr;
use super::table::{Table, visible};

/// How results and remarks are shown.
#[derive(Debug)]
pub(super) struct Output {
    json: bool,
    /// Whether what is printed to stdout, or said on stderr, may be coloured.
    colours: (bool, bool),
}

impl Output {
    /// An output for people, or for programs.
    pub(super) fn new(json: bool) -> Self {
        let unset = |name| std::env::var_os(name).is_none_or(|value| value.is_empty());
        let wanted =
            unset("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let colours = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self { json, colours: (colours.0 && wanted, colours.1 && wanted) }
    }

    /// Whether JSON is wanted.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints data as it is.
    ///
    /// # Errors
    ///
    /// [`Exit::Machine`] if stdout takes no more, without a word if its reader has gone.
    pub(super) fn data(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::machine(""),
            _ => Failure::machine(format!("stdout cannot be written: {error}")),
        })
    }

    /// Prints a line of data.
    ///
    /// # Errors
    ///
    /// As [`Output::data`].
    pub(super) fn line(&self, text: &str) -> Result<(), Failure> {
        self.data(format!("{text}\n").as_bytes())
    }

    /// Prints a result as it is; with a line feed behind it if it has none and others follow, or
    /// people look at it.
    ///
    /// # Errors
    ///
    /// As [`Output::data`].
    pub(super) fn result(&self, result: &[u8], of_many: bool) -> Result<(), Failure> {
        let ends = result.ends_with(b"\n");
        if ends || !(of_many || (io::stdout().is_terminal() && !result.is_empty())) {
            return self.data(result);
        }
        self.data(&[result, b"\n"].concat())
    }

    /// Prints JSON on one line.
    ///
    /// # Errors
    ///
    /// As [`Output::data`].
    pub(super) fn json(&self, value: &Value) -> Result<(), Failure> {
        self.line(&value.to_string())
    }

    /// Prints a table; to people who see an empty one, it is said that there is nothing.
    ///
    /// # Errors
    ///
    /// As [`Output::data`].
    pub(super) fn table(&self, table: &Table, nothing: &str) -> Result<(), Failure> {
        if table.is_empty() {
            self.say(nothing);
            return Ok(());
        }
        self.data(table.text(self.colours.0).as_bytes())
    }

    /// Says a line on stderr.
    pub(super) fn say(&self, text: &str) {
        self.talk(format!("{text}\n").as_bytes());
    }

    /// Shows a table on stderr.
    pub(super) fn say_table(&self, table: &Table) {
        self.talk(table.text(self.colours.1).as_bytes());
    }

    /// Hands on to stderr what a command said there.
    pub(super) fn talk(&self, bytes: &[u8]) {
        // Nobody is left to be told if stderr takes no more.
        let _ = stderr::write(bytes, None);
    }

    /// Says why a command came to nothing.
    pub(super) fn fail(&self, failure: &Failure) {
        if failure.text.is_empty() {
            return;
        }
        let (bold, end) = if self.colours.1 { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
        self.say(&format!("{bold}error:{end} {}", visible(&failure.text)));
        if let Some(hint) = &failure.hint {
            self.say(&format!("  {}", visible(hint)));
        }
    }

    /// Says what clap has to say: help and versions are data, complaints are talk.
    pub(super) fn clap(error: &clap::Error) -> Exit {
        let _ = error.print();
        if error.use_stderr() { Exit::Usage } else { Exit::Done }
    }
}

/// Bytes for JSON: text where they are UTF-8, hexadecimal digits where they are not.
pub(super) fn json_bytes(name: &str, bytes: &[u8], object: &mut serde_json::Map<String, Value>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), text.into()),
        Err(_) => {
            let mut hex = String::with_capacity(2 * bytes.len());
            for byte in bytes {
                // Writing to a text cannot fail.
                let _ = write!(hex, "{byte:02x}");
            }
            object.insert(format!("{name}_hex"), hex.into())
        }
    };
}
