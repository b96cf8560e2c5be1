//! What can go wrong between a request and its reply, sorted by what must be done about it.

use std::fmt;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::store::Error;

/// What a Redis says with the code ERR that will not pass by itself.
const LASTING: [&str; 4] =
    ["unknown command", "DB index is out of range", "invalid DB index", "without any password"];

/// What a scheduler needs, as the rules of an ACL.
const RULES: &str = "~{ganger:0}:* &{ganger:0}:* +@all -@admin -@dangerous +info";

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing happened, Redis says: to be tried again after a pause.
    NotDone(String),
    /// Nothing happened, and a person has to change something: to be tried again, slowly.
    Refused(String),
    /// Nothing happened: Redis does not know the script.
    NoScript,
    /// Whether it happened is not known: to be asked again on another connection.
    Unknown(String),
    /// Not to be tried again.
    Halt(Error),
}

impl Failure {
    /// A command that the ACL does not permit, by what a script says.
    pub(super) fn forbidden(command: &str, key: &str) -> Self {
        let rule = command.to_lowercase();
        Self::Refused(format!(
            "its ACL does not permit {command} {key}; grant the scheduler's user +{rule}, or all that it \
             needs: {RULES}"
        ))
    }

    /// A reply that no request of ours can have.
    pub(super) fn garbled(reply: impl std::fmt::Debug) -> Self {
        let mut text = format!("{reply:?}");
        if let Some((cut, _)) = text.char_indices().nth(200) {
            text.truncate(cut);
        }
        Self::Unknown(format!("a reply that does not fit the request: {text}"))
    }

    /// An error that came while a connection was being made: no request was sent yet.
    pub(super) fn connecting(error: &RedisError) -> Self {
        match Self::from(error) {
            Self::Unknown(text) if error.kind() == ErrorKind::Parse => Self::Refused(format!(
                "what answers there is no Redis, or one that expects TLS, which this version does \
                 not speak ({text})"
            )),
            Self::Unknown(text) => Self::NotDone(text),
            failure => failure,
        }
    }

    /// Whether the connection may be used again.
    pub(super) fn keeps_connection(&self) -> bool {
        matches!(self, Self::NoScript)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotDone(text) | Self::Refused(text) | Self::Unknown(text) => f.write_str(text),
            Self::NoScript => f.write_str("it forgets scripts at once"),
            Self::Halt(error) => error.fmt(f),
        }
    }
}

impl From<&RedisError> for Failure {
    fn from(error: &RedisError) -> Self {
        let text = error.to_string();
        let detail = error.detail().unwrap_or_default();
        let is_forbidden = error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
            || detail.contains("The user executing the script can't");
        if is_forbidden {
            return Self::Refused(format!(
                "{text}; grant the scheduler's user what it needs: {RULES}"
            ));
        }
        if detail.contains("user_script") {
            // A command inside a script failed after the script had checked that none can.
            return Self::Halt(Error::Corrupt(format!("a script failed half way: {text}")));
        }
        match error.kind() {
            ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig => Self::Refused(text),
            ErrorKind::Server(kind) => match kind {
                ServerErrorKind::NoScript => Self::NoScript,
                ServerErrorKind::ResponseError if LASTING.iter().any(|s| detail.contains(s)) => {
                    Self::Refused(text)
                }
                ServerErrorKind::BusyLoading
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::TryAgain
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask
                | ServerErrorKind::CrossSlot => Self::NotDone(text),
                _ => Self::Unknown(text),
            },
            ErrorKind::Extension => match error.code() {
                Some("NOAUTH" | "WRONGPASS") => Self::Refused(format!(
                    "{text} (user and password stand in the address: \
                     redis://USER:PASSWORD@HOST, without a user redis://:PASSWORD@HOST)"
                )),
                Some("DENIED") => Self::Refused(text),
                Some("OOM" | "MISCONF" | "BUSY" | "NOREPLICAS") => Self::NotDone(text),
                _ => Self::Unknown(text),
            },
            _ => Self::Unknown(text),
        }
    }
}
