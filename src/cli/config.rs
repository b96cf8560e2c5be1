//! `ganger config`.

use clap::{ArgMatches, Args, Command};
use serde_json::json;

use super::exit::{Exit, Outcome};
use super::output::Output;
use super::peer::PeerSettings;
use super::serve::ServeSettings;
use super::settings::{self, File, InForce};
use super::table::Table;
use super::values;
use super::work::WorkSettings;

/// All the settings there are, for `ganger config` and for the keys of a file.
#[derive(Debug, Args)]
pub(super) struct Config {
    #[command(flatten)]
    _serve: ServeSettings,

    #[command(flatten)]
    _peer: PeerSettings,

    #[command(flatten)]
    _work: WorkSettings,
}

impl Config {
    pub(super) fn run(
        &self,
        command: &Command,
        matches: &ArgMatches,
        file: Option<&File>,
        output: &Output,
    ) -> Outcome {
        let settings = settings::in_force(command, matches, file)?;
        if output.is_json() {
            let settings = settings.iter().map(|setting| {
                json!({
                    "setting": setting.key,
                    "value": shown(setting),
                    "source": setting.source,
                })
            });
            output.json(&json!({ "settings": settings.collect::<Vec<_>>() }))?;
            return Ok(Exit::Done);
        }
        let mut table = Table::new(&["SETTING", "VALUE", "FROM"]);
        for setting in &settings {
            let value = shown(setting).unwrap_or_else(|| "-".to_owned());
            table.row([setting.key.clone(), value, setting.source.clone()]);
        }
        output.table(&table, "there are no settings")?;
        Ok(Exit::Done)
    }
}

/// The value, without what is secret in it.
fn shown(setting: &InForce) -> Option<String> {
    let value = setting.value.as_deref()?;
    Some(match &*setting.key {
        "token" => "***".to_owned(),
        "store" => values::redacted(value),
        _ => value.to_owned(),
    })
}
