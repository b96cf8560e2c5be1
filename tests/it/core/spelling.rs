//! How scripts spell frames, writes and times, so that they are short and do not depend on the hour.

use bytes::Bytes;
use ganger::frame::Frame;
use ganger::record::{Batch, Taken, Text, Write};
use ganger::task::SessionId;
use serde_json::Value;

use super::rows::{Rows, first_line, without_seen};

/// When every script begins, in Unix milliseconds.
pub(super) const START_MS: u64 = 1_790_000_000_000;

/// Times from an hour before the start to 20 years after it are spelled as the milliseconds between.
const TIMES_MS: std::ops::Range<u64> = START_MS - 3_600_000..START_MS + 631_000_000_000;

/// Numbers of events are spelled as their distance from the first start's.
const SEQS: std::ops::Range<u64> = START_MS * 1000..START_MS * 1000 + 1_000_000_000;

/// A payload of so many `x` is spelled as an ellipsis.
const FILLED: usize = 32;

/// Bytes of an entry that are shown.
const ENTRY_MAX: usize = 120;

/// The short names of identifiers: `t1`, `t2` … in the order of their submission, `s1`, `s2` … in the
/// order of HELLO.
#[derive(Default)]
pub(super) struct Spelling {
    tasks: Vec<String>,
    sessions: Vec<String>,
}

impl Spelling {
    pub(super) fn learn_session(&mut self, session: SessionId) {
        self.sessions.push(session.to_string());
    }

    /// The bytes of a frame that a script spells `VERB words #length payload`.
    pub(super) fn frame_of(&self, text: &str) -> Result<Vec<u8>, String> {
        let (header, payload) = match text.split_once(" #") {
            None => (text, None),
            Some((header, rest)) => {
                let (length, payload) = rest.split_once(' ').unwrap_or((rest, ""));
                let count = length.parse().map_err(|_| format!("no length: #{length}"))?;
                let payload = if payload == "…" { "x".repeat(count) } else { payload.into() };
                (header, Some((length, payload)))
            }
        };
        let words: Result<Vec<String>, String> =
            header.split(' ').map(|word| self.full_word(word)).collect();
        let header = words?.join(" ");
        Ok(match payload {
            None => format!("{header}\n").into_bytes(),
            Some((length, payload)) => format!("{header} #{length}\n{payload}\n").into_bytes(),
        })
    }

    /// The bytes of an entry of the inbox: `\n` is a line feed, `…2000` at the end so many `x`.
    pub(super) fn entry_of(&self, text: &str) -> Result<Bytes, String> {
        let (text, count) = text.split_once('…').unwrap_or((text, "0"));
        let count = count.parse().map_err(|_| format!("no length: {count}"))?;
        let words: Result<Vec<String>, String> =
            text.split(' ').map(|word| self.full_word(word)).collect();
        Ok((words?.join(" ").replace("\\n", "\n") + &"x".repeat(count)).into())
    }

    /// A word of input in full: `t1`, `session=s1`, `at=@5000`, `after=t1,t2`.
    pub(super) fn full_word(&self, word: &str) -> Result<String, String> {
        if let Some((name, value)) = word.split_once('=') {
            if let ("from", Some(seq)) = (name, value.strip_prefix('e')) {
                let seq: u64 = seq.parse().map_err(|_| format!("no event: {word}"))?;
                return Ok(format!("from={}", SEQS.start + seq));
            }
            if name == "after" {
                let ids: Result<Vec<_>, _> =
                    value.split(',').map(|id| self.full_word(id)).collect();
                return Ok(format!("after={}", ids?.join(",")));
            }
            return Ok(match (name, value.strip_prefix('@'), value.strip_prefix('s')) {
                (_, Some(ms), _) => {
                    let ms: u64 = ms.parse().map_err(|_| format!("no time: {word}"))?;
                    format!("{name}={}", START_MS + ms)
                }
                ("session", _, Some(number)) if number.len() < 4 => {
                    format!("{name}={}", place(&self.sessions, number)?)
                }
                _ => word.to_owned(),
            });
        }
        match word.strip_prefix('t') {
            Some(number) if number.parse::<usize>().is_ok() => place(&self.tasks, number),
            _ => Ok(word.to_owned()),
        }
    }

    /// A line of output with short identifiers and times.
    pub(super) fn shortened(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for (letter, names) in [('t', &self.tasks), ('s', &self.sessions)] {
            for (place, name) in names.iter().enumerate() {
                if line.contains(name.as_str()) {
                    line = line.replace(name.as_str(), &format!("{letter}{}", place + 1));
                }
            }
        }
        short_times(&line)
    }

    /// The writes of a batch, one a line; figures only where they are asked for.
    pub(super) fn writes(&mut self, batch: &Batch, rows: &Rows, stats: bool) -> Vec<String> {
        let text = |text: Text| String::from_utf8_lossy(batch.slice(text)).into_owned();
        let mut lines = Vec::new();
        for write in &batch.writes {
            lines.push(match *write {
                Write::Submit { id, .. } => {
                    self.tasks.push(id.to_string());
                    format!("! Submit {id}")
                }
                Write::State { id, line } => format!("! State {id} {}", text(line)),
                Write::End { id, frame, until_ms } => {
                    let frame = Frame::read(Bytes::copy_from_slice(batch.slice(frame)));
                    let frame = frame.expect("a RESULT is a frame");
                    let until = format!(" until={until_ms}");
                    assert_eq!(frame.header().contains(&until), until_ms > 0, "{frame:?}");
                    assert!(frame.header().contains(&id.to_string()), "{frame:?}");
                    format!("! End {}", frame_lines(&frame).join(" "))
                }
                Write::Bury { id, line, .. } => format!("! Bury {id} {}", text(line)),
                Write::Revive { id, line, .. } => format!("! Revive {id} {}", text(line)),
                Write::Drop { id } => format!("! Drop {id}"),
                Write::Hold { name, line } => format!("! Hold {} {}", text(name), text(line)),
                Write::Unhold { name } => format!("! Unhold {}", text(name)),
                Write::Queue { name, line } => format!("! Queue {} {}", text(name), text(line)),
                Write::Worker { name, line } => {
                    let entry = without_seen(batch.slice(line));
                    let known = rows.workers.get(batch.slice(name)).map(|row| without_seen(row));
                    if known.as_ref() == Some(&entry) {
                        continue;
                    }
                    format!("! Worker {} {}", text(name), short_entry(&entry))
                }
                Write::WorkerGone { name, .. } => format!("! WorkerGone {}", text(name)),
                Write::Stats { name, line } if stats => {
                    format!("! Stats {} {}", text(name), text(line))
                }
                Write::StatsGone { name } if stats => format!("! StatsGone {}", text(name)),
                Write::Stats { .. } | Write::StatsGone { .. } => continue,
                Write::Run { name, line } => format!("! Run {} {}", text(name), text(line)),
                Write::RunGone { name } => format!("! RunGone {}", text(name)),
                Write::Cron { name, line } => {
                    let line = String::from_utf8_lossy(first_line(batch.slice(line))).into_owned();
                    format!("! Cron {} {line}", text(name))
                }
                Write::CronGone { name } => format!("! CronGone {}", text(name)),
            });
        }
        let entry = |text| entry_line(batch.slice(text));
        for taken in &batch.inbox.taken {
            lines.push(match *taken {
                Taken::Accepted { entry: its } => format!("! Take {}", entry(its)),
                Taken::Refused { entry: its, line } => {
                    format!("! Refuse {} {}", entry(its), entry(line))
                }
                Taken::TooLarge { length, line, .. } => {
                    format!("! Refuse what has {length} bytes {}", entry(line))
                }
            });
        }
        for told in &batch.inbox.told {
            let (list, frame) = (text(told.list), entry(told.frame));
            lines.push(format!("! Tell {list} for {}ms {frame}", told.keep_ms));
        }
        let events = String::from_utf8_lossy(&batch.events);
        lines.extend(events.lines().map(|event| format!("! {event}")));
        lines
    }
}

/// An entry of the inbox, or a frame, in one line.
pub(super) fn entry_line(entry: &[u8]) -> String {
    let shown = entry.get(..ENTRY_MAX).unwrap_or(entry);
    let text = String::from_utf8_lossy(shown).replace('\n', "\\n");
    if shown.len() < entry.len() { format!("{text}…") } else { text }
}

/// A worker's entry without what it did not say of itself.
fn short_entry(entry: &[u8]) -> String {
    let text = String::from_utf8_lossy(entry);
    let unsaid = ["host=", "pid=0", "queues=*", "price=0", "credential=0"];
    let words = text.split(' ').filter(|word| !unsaid.contains(word));
    words.collect::<Vec<_>>().join(" ")
}

fn place(names: &[String], number: &str) -> Result<String, String> {
    let place = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    let name = place.and_then(|place| names.get(place));
    name.cloned().ok_or_else(|| format!("there is no number {number} yet"))
}

/// A frame of the scheduler: its header, then the payload behind its length; JSON takes a line for
/// each item of its lists. What OK to HELLO tells besides the session is left out.
pub(super) fn frame_lines(frame: &Frame) -> Vec<String> {
    let header = frame.header();
    let header = header.split(" max-header=").next().unwrap_or(header);
    let Some(payload) = frame.payload() else { return vec![header.to_owned()] };
    if ["OK", "STATS"].contains(&header)
        && let Ok(value) = serde_json::from_slice::<Value>(&payload)
    {
        return json_lines(header, &value);
    }
    let filled = payload.len() >= FILLED && payload.iter().all(|byte| *byte == b'x');
    let text = if filled { "…".into() } else { String::from_utf8_lossy(&payload) };
    let space = if text.is_empty() { "" } else { " " };
    vec![format!("{header} #{}{space}{text}", payload.len())]
}

fn json_lines(header: &str, value: &Value) -> Vec<String> {
    let is_list = |value: &Value| value.as_array().is_some_and(|i| i.iter().any(Value::is_object));
    let map = value.as_object().filter(|map| map.values().any(is_list));
    let Some(map) = map else { return vec![format!("{header} #… {value}")] };
    let mut lines = vec![format!("{header} #…")];
    for (name, value) in map {
        match value.as_array().filter(|_| is_list(value)) {
            Some(items) => lines.extend(items.iter().map(|item| format!("    {name}: {item}"))),
            None => lines.push(format!("    {name}: {value}")),
        }
    }
    lines
}

/// A time as scripts spell it: milliseconds since they began.
pub(super) fn time(ms: u64) -> String {
    match ms.checked_sub(START_MS) {
        Some(ms) => format!("@{ms}"),
        None => format!("@-{}", START_MS - ms),
    }
}

fn short_times(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let length = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
        let (digits, after) = from.split_at(length);
        out.push_str(before);
        match digits.parse::<u64>() {
            Ok(ms) if TIMES_MS.contains(&ms) => out.push_str(&time(ms)),
            Ok(seq) if SEQS.contains(&seq) => out.push_str(&format!("e{}", seq - SEQS.start)),
            _ => out.push_str(digits),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}
