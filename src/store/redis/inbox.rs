//! The inbox: a list that programs push SUBMITs to. What is in it was written by anybody, so it is
//! asked for its type and its size before it is touched, and nothing in it can stop a batch.
//!
//! Entries are read with one script and removed by the batch that holds what became of them. They are
//! named there by their bytes, not by their places: a batch that is written again after Redis forgot
//! it, or after somebody pushed at the wrong end, still removes those very entries and no others.

use super::connect::Link;
use super::failure::Failure;
use super::keys::Keys;
use super::plan::{Arg, Plan};
use super::shard::Shard;
use crate::frame::HEADER_MAX;
use crate::record::{Batch, Taken, Text};
use crate::store::inbox::{Bite, Found};

/// Refused entries that are kept.
const REFUSED_MAX: usize = 1000;
/// Bytes of a refused entry that are kept.
const REFUSED_BYTES: usize = 64 << 10;
/// Frames that a list of a program keeps.
const TOLD_MAX: usize = 10_000;

/// What a look at the inbox came to.
pub(super) enum Look {
    Found(Vec<Found>),
    /// A key is no list: what it is called, and what it is.
    NoList(String, String),
}

/// Looks at the next entries; once.
pub(super) fn look(shard: &Shard, link: &mut Link, bite: Bite) -> Result<Look, Failure> {
    if !link.is_connected() {
        // What Redis forgot is written first: entries that are tasks already may be back.
        shard.renew(link)?;
    }
    let (reply, nonce) = shard.ask_entries(link, bite, HEADER_MAX)?;
    let shown = |what: &str| Failure::garbled(format!("{what} of the inbox"));
    let mut words = redis::from_redis_value::<Vec<Vec<u8>>>(reply).map_err(Failure::garbled)?;
    if words.get(1).is_none_or(|found| found != nonce.as_bytes()) {
        return Err(shown("a reply to another request"));
    }
    let rest = words.split_off(2);
    let text = |place: usize| {
        String::from_utf8_lossy(rest.get(place).map_or(&[], Vec::as_slice)).into_owned()
    };
    match words.first().map_or(&[][..], Vec::as_slice) {
        b"FOUND" => Ok(Look::Found(rest.into_iter().map(|e| Found::Whole(e.into())).collect())),
        b"LARGE" => {
            let length = text(0).parse().map_err(|_| shown("a length"))?;
            let beginning = rest.get(1).cloned().unwrap_or_default().into();
            Ok(Look::Found(vec![Found::TooLarge { length, beginning }]))
        }
        b"KIND" => Ok(Look::NoList(text(0), text(1))),
        // The next renewal finds out what is the matter with the fence.
        b"OTHER" => Err(Failure::NotDone("the fence is not as it was left".to_owned())),
        _ => Err(shown("a reply")),
    }
}

/// Adds what a batch does to the inbox, and who it tells.
pub(super) fn put<'a>(plan: &mut Plan<'a>, keys: &Keys, batch: &'a Batch) {
    let bytes = |text: Text| batch.slice(text);
    let mut entries = Vec::new();
    let mut refused = Vec::new();
    for taken in &batch.inbox.taken {
        match *taken {
            Taken::Accepted { entry } => entries.push(Arg::from(bytes(entry))),
            Taken::Refused { entry, line } => {
                entries.push(bytes(entry).into());
                let kept = bytes(entry);
                let kept = kept.get(..REFUSED_BYTES).unwrap_or(kept);
                refused.push(Arg::from([bytes(line), kept].concat()));
            }
            Taken::TooLarge { length, beginning, line } => {
                plan.command("TAKE", &keys.inbox(), std::mem::take(&mut entries));
                let place = plan.place(&keys.refused());
                let numbers = [place, REFUSED_MAX, REFUSED_BYTES].map(|n| n.to_string().into());
                let args = [length.to_string().into(), bytes(beginning).into()];
                let args = args.into_iter().chain(numbers);
                plan.command("CUT", &keys.inbox(), args.chain([bytes(line).into()]));
            }
        }
    }
    plan.command("TAKE", &keys.inbox(), entries);
    if !refused.is_empty() {
        let head = [REFUSED_MAX, 0].map(|number| number.to_string().into());
        plan.command("TELL", &keys.refused(), head.into_iter().chain(refused));
    }
    for told in &batch.inbox.told {
        let list = std::str::from_utf8(bytes(told.list)).unwrap_or_default();
        let head = [TOLD_MAX.to_string().into(), told.keep_ms.to_string().into()];
        let frame = [Arg::from(bytes(told.frame))];
        plan.command("TELL", &keys.reply(list), head.into_iter().chain(frame));
    }
}
