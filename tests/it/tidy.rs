//! The repository keeps its own rules: who imports whom, how long files are, what is left in them.

use std::fs;
use std::path::{Path, PathBuf};

/// The most lines of a file of `src`.
const LINES_MAX: usize = 500;

/// The modules in order: each uses only those before it.
const ORDER: [&str; 11] = [
    "task", "frame", "route", "cost", "record", "message", "protocol", "core", "store", "server",
    "client",
];

/// Exceptions to the order, each with its reason.
const ALLOWED: [(&str, &str); 2] = [
    // A reply may be a slice of the batch that the store is given.
    ("message", "record"),
    // Records are spelled from the messages that they keep.
    ("record", "message"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("UTF-8");
                found.push((path.strip_prefix(root()).expect("below the root").into(), text));
            }
        }
    }
    found.sort();
    found
}

/// The module of `src` that a file belongs to.
fn module(path: &Path) -> String {
    let part = path.components().nth(1).expect("below src").as_os_str().to_string_lossy();
    part.trim_end_matches(".rs").to_owned()
}

#[test]
fn modules_use_only_those_before_them() {
    let place = |module: &str| ORDER.iter().position(|name| *name == module);
    for (path, text) in sources("src") {
        let Some(its) = place(&module(&path)) else { continue };
        for line in text.lines().map(str::trim_start).filter(|line| !line.starts_with("//")) {
            for used in line.split("crate::").skip(1) {
                let used = used.split(|c: char| !c.is_alphanumeric() && c != '_').next();
                let used = used.unwrap_or_default();
                let allowed = ALLOWED.contains(&(&module(&path), used));
                assert!(
                    place(used).is_none_or(|used| used <= its) || allowed,
                    "{} uses {used}, which stands above it: {line}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn the_pure_modules_stay_pure() {
    let impure = ["tokio", "std::time::Instant", "std::time::SystemTime", "std::net", "std::fs"];
    for (path, text) in sources("src") {
        let is_test = path.components().any(|part| part.as_os_str() == "tests");
        if is_test || !["core", "route", "cost"].contains(&module(&path).as_str()) {
            continue;
        }
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for word in impure {
                assert!(!line.contains(word), "{} names {word}: {line}", path.display());
            }
        }
    }
}

/// Lookups by hash are the same in every run; the order of a hash map is not.
#[test]
fn the_pure_modules_never_walk_a_hash_map() {
    let pure = |path: &Path| ["core", "route", "cost"].contains(&module(path).as_str());
    let sources: Vec<_> = sources("src").into_iter().filter(|(path, _)| pure(path)).collect();
    let declared = sources.iter().flat_map(|(_, text)| text.lines()).filter_map(|line| {
        let (name, _) = line.split_once(": HashMap<").or_else(|| line.split_once(": HashSet<"))?;
        Some(name.rsplit([' ', '(']).next().expect("a last word").to_owned())
    });
    let maps: Vec<String> = declared.collect();
    assert!(maps.contains(&"by_id".to_owned()), "the maps are found: {maps:?}");
    let walks = ["iter", "keys", "values", "drain", "retain", "into_", "extract_if"];
    for (path, text) in &sources {
        // A chain of calls may be broken over lines.
        let text: String = text.split_whitespace().collect();
        for map in &maps {
            for walk in walks {
                let call = format!(".{map}.{walk}");
                assert!(!text.contains(&call), "{} walks {map}: {call}", path.display());
            }
            for borrow in ["in&self.", "in&mutself.", "inself."] {
                let walk = format!("{borrow}{map}{{");
                assert!(!text.contains(&walk), "{} walks {map}", path.display());
            }
        }
    }
}

#[test]
fn files_are_short_enough_to_hold_one_idea() {
    for (path, text) in sources("src") {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", path.display());
    }
}

#[test]
fn nothing_is_left_to_be_done_later() {
    // Spelled in pieces, so that this file does not find itself.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("X", "XX"),
        concat!("unimpl", "emented!"),
    ];
    for (path, text) in sources("src").into_iter().chain(sources("tests")) {
        for word in words {
            assert!(!text.contains(word), "{} holds {word}", path.display());
        }
    }
}

#[test]
fn lines_end_without_spaces() {
    for (path, text) in sources("src").into_iter().chain(sources("tests")) {
        for (number, line) in (1..).zip(text.lines()) {
            assert!(line == line.trim_end(), "{}:{number} ends in a space", path.display());
        }
    }
}

#[test]
fn the_changelog_has_a_place_for_what_comes() {
    let text = fs::read_to_string(root().join("CHANGELOG.md")).expect("a changelog");
    assert!(text.contains("\n## Unreleased\n"), "there is no section Unreleased");
}
