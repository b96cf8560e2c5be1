//! The greeting: which version is spoken, and who dials. A pure function of the first frame.
//!
//! Nothing that an unknown peer sends is ever repeated in the answer, but for the name of an option.

use std::collections::BTreeSet;

use crate::frame::{Frame, Word, Words, decode, number};
use crate::message::amounts::owned_amounts;
use crate::message::{Code, Hello, Refusal, Role};
use crate::protocol::parse::SLOTS;
use crate::protocol::{TEXT_MAX, VERSIONS};
use crate::route::Weight;
use crate::task::{SessionId, is_name};

/// Most entries of a list.
pub const LIST_MAX: usize = 256;
/// The shortest and the longest period of life signs, in milliseconds.
pub const HEARTBEAT_MS: (u64, u64) = (1000, 60_000);
/// The least that a worker must take as a payload, in bytes.
pub const PAYLOAD_LIMIT_MIN: u64 = 1024;
/// The longest name of an option that a refusal repeats, in bytes.
const SHOWN_MAX: usize = 32;
/// The highest price of an hour.
pub const PRICE_MAX: u64 = 1_000_000_000;

/// Reads the first frame of a peer: the version to speak, and what the peer says of itself.
///
/// # Errors
///
/// Every refusal ends the connection: [`Code::Unexpected`] if it is no HELLO, [`Code::Version`] if no
/// version is common, [`Code::BadHello`] if something is missing, twice there, or cannot be.
pub fn greet(frame: &Frame) -> Result<(u32, Hello), Refusal> {
    if frame.verb() != "HELLO" {
        return Err(Refusal::new(Code::Unexpected, "the first frame is HELLO"));
    }
    let mut words = frame.words();
    let version = match words.next() {
        Some(Word::Arg(range)) => agree(range).ok_or_else(no_version)?,
        _ => return Err(bad("HELLO is followed by a version and a role")),
    };
    let role = match words.next() {
        Some(Word::Arg(role)) => Role::parse(role),
        _ => None,
    };
    let role = role.ok_or_else(|| bad("after the version comes worker, client or operator"))?;
    if frame.payload_at().is_some() {
        return Err(bad("HELLO has no payload"));
    }
    let hello = options(role, words)?;
    Ok((version, hello))
}

/// The highest version that lies in a range such as `1` or `1-2` and is spoken here.
fn agree(range: &str) -> Option<u32> {
    let (low, high) = range.split_once('-').unwrap_or((range, range));
    let (low, high) = (number(low.as_bytes())?, number(high.as_bytes())?);
    let version = high.min(u64::from(VERSIONS.1));
    (low <= high && low <= version && version >= u64::from(VERSIONS.0))
        .then(|| u32::try_from(version).ok())?
}

fn no_version() -> Refusal {
    Refusal {
        versions: Some(VERSIONS),
        ..Refusal::new(Code::Version, "no version in common; HELLO names one, or a range as in 1-2")
    }
}

fn options(role: Role, words: Words<'_>) -> Result<Hello, Refusal> {
    let mut hello = Hello {
        role,
        name: String::new(),
        host: String::new(),
        pid: 0,
        slots: 1,
        weight: Weight::default(),
        kinds: None,
        queues: None,
        tags: Vec::new(),
        res: Vec::new(),
        heartbeat_ms: None,
        price: 0.0,
        payload_max: None,
        session: None,
        token: None,
    };
    let mut seen = BTreeSet::new();
    for word in words {
        let Word::Option(name, value) = word else {
            return Err(bad("after the role come options only"));
        };
        if !is_option_name(name) || decode(value).is_none() {
            let text = "is malformed; in values, space, % and equals signs are encoded";
            return Err(bad(format!("{} {text}", shown(name))));
        }
        if !seen.insert(name) {
            return Err(bad(format!("{} is given twice", shown(name))));
        }
        set(&mut hello, name, value).map_err(bad)?;
    }
    if role == Role::Worker && !seen.contains("kinds") {
        return Err(bad("a worker says which kinds it can do; * is every kind"));
    }
    if hello.name.is_empty() {
        if role == Role::Worker {
            return Err(bad("a worker has a name"));
        }
        role.word().clone_into(&mut hello.name);
    }
    Ok(hello)
}

/// Names of options are lower-case letters, digits and dashes, and begin with a letter.
fn is_option_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Takes one option over; the error says what its value should have been.
fn set(hello: &mut Hello, name: &str, value: &str) -> Result<(), &'static str> {
    let within = |min, max| number(value.as_bytes()).filter(|n| (min..=max).contains(n));
    match name {
        "name" => {
            hello.name =
                one_name(value).ok_or("the name has 1 to 128 characters of A-Z a-z 0-9 . _ / -")?;
        }
        "host" => hello.host = text(value).ok_or("the host has 1 to 256 bytes")?,
        "pid" => hello.pid = within(0, u64::MAX).ok_or("the pid is a plain number")?,
        "slots" => {
            let slots = within(SLOTS.0, SLOTS.1).and_then(|slots| u32::try_from(slots).ok());
            hello.slots = slots.ok_or("slots is a plain number from 1 to 65535")?;
        }
        "weight" => {
            hello.weight =
                Weight::parse(value).ok_or("weight is 0 to 100 with up to three decimals")?;
        }
        "kinds" => hello.kinds = names(value).ok_or("kinds is * or a list of 1 to 256 names")?,
        "queues" => hello.queues = names(value).ok_or("queues is * or a list of 1 to 256 names")?,
        "tags" => {
            let tags = names(value).flatten();
            hello.tags = tags.ok_or("tags is a list of 1 to 256 names")?;
        }
        "res" => {
            let res = owned_amounts(value);
            hello.res = res.ok_or("res is a list of 1 to 8 amounts such as cpu:4")?;
        }
        "heartbeat" => {
            let period = within(HEARTBEAT_MS.0, HEARTBEAT_MS.1);
            hello.heartbeat_ms = Some(period.ok_or("heartbeat is 1000 to 60000 milliseconds")?);
        }
        "price" => {
            hello.price = price(value).ok_or("price is 0 to 1000000000 with up to six decimals")?;
        }
        "max-payload" => {
            let bytes = within(PAYLOAD_LIMIT_MIN, u64::MAX);
            hello.payload_max = Some(bytes.ok_or("max-payload is a number of bytes from 1024 on")?);
        }
        "session" => {
            let session = SessionId::parse(value);
            hello.session = Some(session.ok_or("a session has 32 digits of 0-9 a-f")?);
        }
        "token" => hello.token = Some(text(value).ok_or("the token has 1 to 256 bytes")?),
        _ => {}
    }
    Ok(())
}

fn one_name(value: &str) -> Option<String> {
    is_name(value).then(|| value.to_owned())
}

fn text(value: &str) -> Option<String> {
    decode(value).filter(|text| (1..=TEXT_MAX).contains(&text.len())).map(String::from)
}

/// A list of names; the inner `None` is `*`. What is named twice counts once.
fn names(value: &str) -> Option<Option<Vec<String>>> {
    if value == "*" {
        return Some(None);
    }
    let mut names = BTreeSet::new();
    for (place, name) in value.split(',').enumerate() {
        if place >= LIST_MAX || !is_name(name) {
            return None;
        }
        names.insert(name);
    }
    Some(Some(names.into_iter().map(str::to_owned).collect()))
}

fn price(value: &str) -> Option<f64> {
    let (whole, decimals) = value.split_once('.').unwrap_or((value, "0"));
    let is_decimals =
        (1..=6).contains(&decimals.len()) && decimals.bytes().all(|b| b.is_ascii_digit());
    let whole = number(whole.as_bytes())?;
    let price: f64 = value.parse().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "the bound is exact")]
    let bound = PRICE_MAX as f64;
    (is_decimals && whole <= PRICE_MAX && price <= bound).then_some(price)
}

/// An option as a refusal names it: by its name, if that is one and no tale.
fn shown(name: &str) -> String {
    if is_option_name(name) && name.len() <= SHOWN_MAX {
        format!("the option {name}")
    } else {
        "an option".to_owned()
    }
}

fn bad(text: impl Into<String>) -> Refusal {
    Refusal::new(Code::BadHello, text)
}
