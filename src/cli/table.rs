//! Tables for people, as text: columns as wide as their widest cell, numbers to the right.

/// What a cell means, for those who see colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    /// Nothing in particular.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Under way.
    Busy,
    /// Wants to be looked at.
    Bad,
}

impl Tone {
    /// What a terminal is told before the cell.
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "\x1b[32m",
            Self::Busy => "\x1b[33m",
            Self::Bad => "\x1b[31m",
        }
    }
}

/// A table in the making.
#[derive(Debug, Default)]
pub(super) struct Table {
    head: Vec<(&'static str, bool)>,
    rows: Vec<Vec<(String, Tone)>>,
}

impl Table {
    /// A table with these columns; a heading that begins with `>` is that of numbers.
    pub(super) fn new(head: &[&'static str]) -> Self {
        let column = |name: &&'static str| match name.strip_prefix('>') {
            Some(name) => (name, true),
            None => (*name, false),
        };
        Self { head: head.iter().map(column).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(super) fn row<T: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells = cells.into_iter().map(|cell| {
            let Cell(text, tone) = cell.into();
            (visible(&text), tone)
        });
        self.rows.push(cells.collect());
    }

    /// Whether there is no row.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text, a line per row.
    pub(super) fn text(&self, colours: bool) -> String {
        let mut widths: Vec<usize> = self.head.iter().map(|(name, _)| name.len()).collect();
        for row in &self.rows {
            for (width, (text, _)) in widths.iter_mut().zip(row) {
                *width = (*width).max(text.chars().count());
            }
        }
        let mut out = String::new();
        let head: Vec<_> =
            self.head.iter().map(|(name, _)| (name.to_string(), Tone::Plain)).collect();
        self.put_line(&head, &widths, if colours { "\x1b[1m" } else { "" }, false, &mut out);
        for row in &self.rows {
            self.put_line(row, &widths, "", colours, &mut out);
        }
        out
    }

    fn put_line(
        &self,
        cells: &[(String, Tone)],
        widths: &[usize],
        style: &str,
        colours: bool,
        out: &mut String,
    ) {
        out.push_str(style);
        let last = cells.len().saturating_sub(1);
        for (place, ((text, tone), (width, (_, right)))) in
            cells.iter().zip(widths.iter().zip(&self.head)).enumerate()
        {
            let blank = " ".repeat(width.saturating_sub(text.chars().count()));
            let code = if colours { tone.code() } else { "" };
            let end = if code.is_empty() { "" } else { "\x1b[0m" };
            let gap = if place < last { "  " } else { "" };
            match (right, place < last) {
                (true, _) => out.extend([&*blank, code, text, end, gap]),
                (false, true) => out.extend([code, text, end, &*blank, gap]),
                (false, false) => out.extend([code, text, end]),
            }
        }
        out.push_str(if style.is_empty() { "\n" } else { "\x1b[0m\n" });
    }
}

/// A cell: its text and what it means.
#[derive(Debug)]
pub(super) struct Cell(pub(super) String, pub(super) Tone);

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self(text, Tone::Plain)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self(text.to_owned(), Tone::Plain)
    }
}

/// A text as one line that a terminal can be shown: what others wrote does not steer it.
pub(super) fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let mut table = Table::new(&["NAME", ">SLOTS", "STATE"]);
        table.row(["img-7", "8", "here"]);
        table.row(["a", "128", "x\x1b[31my\nz"]);
        let expected = "NAME   SLOTS  STATE\nimg-7      8  here\na        128  x [31my z\n";
        assert_eq!(table.text(false), expected);
    }

    #[test]
    fn colours_do_not_count_as_width() {
        let mut table = Table::new(&["A", "B"]);
        table.row([Cell("dead".into(), Tone::Bad), Cell("b".into(), Tone::Plain)]);
        table.row(["x", "b"]);
        let text = table.text(true);
        assert!(
            text.contains("\x1b[31mdead\x1b[0m  b\n") && text.contains("x     b\n"),
            "{text:?}"
        );
    }
}
