//! Where settings come from: flag, else environment, else file, else default.
//!
//! A setting is declared once, as a field of a command's `…Settings`, with its unit, default and
//! effect. Its flag is `--some-name`, its environment variable `GANGER_SOME_NAME`, its key in the
//! file `some-name`. All settings together are the arguments of `ganger config`, which is where the
//! keys of a file are looked up.
//!
//! A file's values become the defaults of the flags: what a flag or the environment says goes first,
//! and a value is read the same way wherever it stands.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::Resettable;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use toml::Value;

use super::exit::{Exit, Failure};

/// The name of the command whose arguments are all the settings there are.
const ALL: &str = "config";

/// What a configuration file says.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    /// Texts as they would be given to the flag, by key.
    values: BTreeMap<String, String>,
}

/// Parses arguments with what the configuration file says as defaults.
///
/// # Errors
///
/// [`Stop::Clap`] for arguments and the environment, [`Stop::File`] for the file.
pub(super) fn parse(
    command: &Command,
    args: &[OsString],
) -> Result<(ArgMatches, Option<File>), Stop> {
    let matches = command.clone().try_get_matches_from(args).map_err(Stop::Clap)?;
    let named = matches.get_one::<PathBuf>("config").map(PathBuf::as_path);
    let Some(path) = find(named) else { return Ok((matches, None)) };
    let file = File::read(path, command).map_err(Stop::File)?;
    let command = file.as_defaults(command.clone());
    let matches = command.try_get_matches_from(args).map_err(Stop::Clap)?;
    Ok((matches, Some(file)))
}

/// Why there is nothing to be run.
#[derive(Debug)]
pub(super) enum Stop {
    /// A wrong argument, or `--help`.
    Clap(clap::Error),
    /// The configuration file.
    File(Failure),
}

/// The file that is named, else the one here, else the user's.
fn find(named: Option<&Path>) -> Option<PathBuf> {
    let here = PathBuf::from("ganger.toml");
    let home = || {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let user = set("XDG_CONFIG_HOME").map(PathBuf::from);
        let user = user.or_else(|| Some(Path::new(&set("HOME")?).join(".config")))?;
        Some(user.join("ganger").join("config.toml"))
    };
    match named {
        Some(path) => Some(path.to_owned()),
        None if here.exists() => Some(here),
        None => home().filter(|path| path.exists()),
    }
}

impl File {
    fn read(path: PathBuf, command: &Command) -> Result<Self, Failure> {
        let shown = path.display();
        let text = std::fs::read_to_string(&path)
            .map_err(|error| Failure::usage(format!("{shown} cannot be read: {error}")))?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| {
                1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count()
            });
            Failure::usage(format!("{shown}, line {line}: {}", error.message()))
        })?;
        let mut values = BTreeMap::new();
        for (key, value) in table {
            let value = check(command, &key, &value)
                .map_err(|text| Failure::usage(format!("{shown}: {text}")))?;
            values.insert(key, value);
        }
        Ok(Self { path, values })
    }

    /// The command with the file's values as the defaults of its settings.
    fn as_defaults(&self, command: Command) -> Command {
        let with_values = |command: Command| {
            let settings = command.get_arguments().filter(|arg| arg.get_env().is_some());
            let ids = settings.map(|arg| arg.get_id().to_string());
            let known = ids.filter_map(|id| Some((id.clone(), self.values.get(&key_of(&id))?)));
            let known: Vec<_> = known.collect();
            known.into_iter().fold(command, |command, (id, value)| {
                command.mut_arg(id, |arg| arg.default_value(value.clone()))
            })
        };
        let names = command.get_subcommands().map(|sub| sub.get_name().to_owned());
        let names: Vec<_> = names.collect();
        names
            .into_iter()
            .fold(with_values(command), |command, name| command.mut_subcommand(name, with_values))
    }
}

/// Checks that a key is a setting and its value one of that setting; the value as a flag has it.
fn check(command: &Command, key: &str, value: &Value) -> Result<String, String> {
    let known = all(command).any(|arg| arg.get_long() == Some(key));
    if !known {
        return Err(format!("{key:?} is no setting; `ganger config` lists them"));
    }
    let text = flag_text(value).ok_or_else(|| format!("{key}: give a text, number, or list"))?;
    let program = command.get_name();
    let args = [program.to_owned(), ALL.to_owned(), format!("--{key}={text}")];
    // What the environment says is not the file's fault.
    let alone = |command: Command| command.mut_args(|arg| arg.env(Resettable::Reset));
    match alone(command.clone()).mut_subcommand(ALL, alone).try_get_matches_from(args) {
        Ok(_) => Ok(text),
        Err(error) => {
            let error = error.to_string();
            let line = error.lines().next().unwrap_or_default();
            let reason = line.strip_prefix("error: ").unwrap_or(line);
            Err(format!("{key}: {reason}"))
        }
    }
}

fn flag_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(flag) => Some(flag.to_string()),
        Value::Array(parts) => {
            let parts: Option<Vec<_>> = parts.iter().map(flag_text).collect();
            parts.map(|parts| parts.join(","))
        }
        Value::Datetime(_) | Value::Table(_) => None,
    }
}

/// The arguments that are settings.
fn all(command: &Command) -> impl Iterator<Item = &Arg> {
    let settings = command.find_subcommand(ALL).into_iter().flat_map(Command::get_arguments);
    let global = command.get_arguments().filter(|arg| arg.is_global_set());
    settings.chain(global).filter(|arg| arg.get_env().is_some() && arg.get_id() != "config")
}

fn key_of(id: &str) -> String {
    id.replace('_', "-")
}

/// A setting as it is in force.
#[derive(Debug)]
pub(super) struct InForce {
    /// Its key in the file, and its flag without the dashes.
    pub(super) key: String,
    /// The value as it was written; `None` if there is none.
    pub(super) value: Option<String>,
    /// Where it comes from.
    pub(super) source: String,
}

/// Every setting as it is in force under the arguments of `ganger config`.
///
/// # Errors
///
/// [`Exit::Usage`] if these are not the matches of that command.
pub(super) fn in_force(
    command: &Command,
    matches: &ArgMatches,
    file: Option<&File>,
) -> Result<Vec<InForce>, Failure> {
    let matches = matches.subcommand_matches(ALL);
    let matches = matches.ok_or_else(|| Failure::new(Exit::Usage, "not the command `config`"))?;
    let mut settings: Vec<_> = all(command).map(|arg| setting(arg, matches, file)).collect();
    settings.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(settings)
}

fn setting(arg: &Arg, matches: &ArgMatches, file: Option<&File>) -> InForce {
    let id = arg.get_id().as_str();
    let key = key_of(id);
    let texts = matches.get_raw(id).into_iter().flatten().map(|text| text.to_string_lossy());
    let value = texts.collect::<Vec<_>>().join(",");
    let in_file = file.filter(|file| file.values.contains_key(&key));
    let source = match matches.value_source(id) {
        Some(ValueSource::CommandLine) => format!("flag --{key}"),
        Some(ValueSource::EnvVariable) => {
            let name = arg.get_env().unwrap_or_default().to_string_lossy();
            format!("environment {name}")
        }
        _ => match in_file {
            Some(file) => format!("file {}", file.path.display()),
            None => "default".to_owned(),
        },
    };
    InForce { key, value: Some(value).filter(|value| !value.is_empty()), source }
}
