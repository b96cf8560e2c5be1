//! Golden scripts: what is put in, line by line, and what came out of it, indented below.
//!
//! The format is written down in `tests/scripts/README.md`.

use std::fs;
use std::path::{Path, PathBuf};

use super::stage::Stage;

/// Names the variable that has the files rewritten instead of compared.
const UPDATE: &str = "GANGER_UPDATE";

/// What stands before every line of output.
const INDENT: &str = "    ";

/// Runs every script of a folder.
///
/// # Panics
///
/// If what came out of one differs from what stands in it.
pub(super) fn run_all(folder: &Path) {
    let update = std::env::var_os(UPDATE).is_some();
    let mut failures = Vec::new();
    let paths = scripts(folder);
    assert!(!paths.is_empty(), "no scripts in {}", folder.display());
    for path in &paths {
        let expected = fs::read_to_string(path).expect("a script is text");
        let produced = match run(&expected) {
            Ok(produced) => produced,
            Err(panicked) => {
                failures.push(format!("{}: {panicked}", path.display()));
                continue;
            }
        };
        if update {
            fs::write(path, &produced).expect("a script can be rewritten");
        } else if produced != expected {
            failures.push(format!("{}:\n{}", path.display(), difference(&expected, &produced)));
        }
    }
    let advice = format!("read what came out; if it is right, accept it with {UPDATE}=1");
    assert!(failures.is_empty(), "{}\n{advice}", failures.join("\n"));
}

fn scripts(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder of scripts");
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("an entry of the folder").path()).collect();
    paths.sort();
    paths
}

/// The script with the output that its input leads to; or why there is none.
fn run(script: &str) -> Result<String, String> {
    let mut stage = Stage::new();
    let mut text = String::new();
    for (number, line) in script.lines().enumerate() {
        if line.starts_with(INDENT) {
            continue;
        }
        text.push_str(line);
        text.push('\n');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let played = std::panic::AssertUnwindSafe(|| stage.play(line.trim()));
        match std::panic::catch_unwind(played) {
            Ok(Ok(lines)) => {
                lines.iter().for_each(|line| text.push_str(&format!("{INDENT}{line}\n")));
            }
            Ok(Err(error)) => return Err(format!("line {}: {line}: {error}", number + 1)),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                return Err(format!("line {}: {line}: {text:?}", number + 1));
            }
        }
    }
    stage.end().map(|()| text)
}

/// The first lines that differ, below the last ones that do not.
fn difference(expected: &str, produced: &str) -> String {
    let both = expected.lines().zip(produced.lines());
    let same = both.take_while(|(expected, produced)| expected == produced).count();
    let mut text = String::new();
    for line in expected.lines().take(same).skip(same.saturating_sub(6)) {
        text.push_str(&format!("  {line}\n"));
    }
    for (mark, lines) in [('-', expected), ('+', produced)] {
        let differing = lines.lines().skip(same).take(12);
        differing.for_each(|line| text.push_str(&format!("{mark} {line}\n")));
    }
    text
}
