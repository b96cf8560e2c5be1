//! The connection: made when needed, checked when made, thrown away after anything unexpected, so
//! that no reply is ever taken for that of another request.

use std::time::{Duration, Instant};

use redis::{
    Client, Cmd, Connection, ConnectionInfo, ConnectionLike, IntoConnectionInfo, ProtocolVersion,
    RedisError, Value,
};

use super::checks::{self, Verdict};
use super::failure::Failure;
use super::options::Options;
use super::scripts::Script;
use crate::store::Error;

/// The scheme of an address that this version can use.
const SUPPORTED: &str = "redis";

/// How an address is spelled.
const SPELLED: &str = "redis://[user:password@]host[:port][/database]";

/// Whether a scheme names a Redis, if only one that this version refuses.
pub fn is_scheme(scheme: &str) -> bool {
    [SUPPORTED, "rediss", "redis+sentinel", "redis+cluster"].contains(&scheme)
}

/// Checks that an address can be read; connects nothing.
///
/// # Errors
///
/// A text that says how an address is spelled, without the password that this one may hold.
pub fn check_url(url: &str) -> Result<(), String> {
    read_url(url).map(drop)
}

fn read_url(url: &str) -> Result<ConnectionInfo, String> {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    if scheme != SUPPORTED {
        return Err(format!(
            "a Redis address is {SPELLED}; the scheme {scheme:?} is not supported by this version \
             (TLS, Sentinel and Cluster are not yet)"
        ));
    }
    url.into_connection_info().map_err(|_| {
        format!(
            "the Redis address cannot be read: it is {SPELLED}, with numbers for port and database"
        )
    })
}

/// One connection to Redis, or the way to the next one.
pub(super) struct Link {
    client: Client,
    connection: Option<Connection>,
    /// Host and port, for messages; without the password.
    place: String,
    connect_limit: Duration,
    response_limit: Duration,
    allow_unsafe: bool,
    /// When [`checks`] were made last.
    checked: Option<Instant>,
}

impl Link {
    /// Reads the address; connects nothing.
    pub(super) fn new(options: &Options) -> Result<Self, Error> {
        let refuse = |text: String| Error::Unavailable(text);
        let info = read_url(&options.url).map_err(refuse)?;
        if options.holder.is_empty() {
            return Err(refuse("a Redis is held by somebody: the holder has no name".to_owned()));
        }
        let place = info.addr().to_string();
        let tcp = redis::io::tcp::TcpSettings::default().set_nodelay(true).set_keepalive(
            redis::io::tcp::socket2::TcpKeepalive::new()
                .with_time(Duration::from_secs(15))
                .with_interval(Duration::from_secs(5)),
        );
        let named = info.redis_settings().clone().set_lib_name("ganger", env!("CARGO_PKG_VERSION"));
        let client = Client::open(info.set_tcp_settings(tcp).set_redis_settings(named))
            .map_err(|error| refuse(format!("the Redis address cannot be used: {error}")))?;
        Ok(Self {
            client,
            connection: None,
            place,
            connect_limit: options.connect_limit,
            response_limit: options.response_limit,
            allow_unsafe: options.allow_unsafe,
            checked: None,
        })
    }

    /// What makes further connections, of the kind that is told what it did not ask for.
    pub(super) fn hearing(&self) -> Result<Client, RedisError> {
        let info = self.client.get_connection_info().clone();
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        Client::open(info.set_redis_settings(settings))
    }

    /// Host and port.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Sends a packed command and waits for its reply, once.
    pub(super) fn ask(&mut self, packed: &[u8]) -> Result<Value, Failure> {
        let reply = match self.connected()?.req_packed_command(packed) {
            Ok(Value::ServerError(error)) => Err(Failure::from(&error.into())),
            Ok(value) => Ok(value),
            Err(error) => Err(Failure::from(&error)),
        };
        self.settle(reply)
    }

    /// Sends the call of a script, which is loaded first if Redis does not know it.
    pub(super) fn run(&mut self, script: &Script, packed: &[u8]) -> Result<Value, Failure> {
        match self.ask(packed) {
            Err(Failure::NoScript) => {
                self.ask(&script.load())?;
                self.ask(packed)
            }
            reply => reply,
        }
    }

    /// Whether the next request goes out on the connection of the last one.
    pub(super) fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// Throws the connection away: what it says from now on is heard by nobody.
    pub(super) fn drop_connection(&mut self) {
        self.connection = None;
    }

    /// Looks again, now and then, whether the Redis is still one that may be used.
    pub(super) fn check_again(&mut self, every: Duration) -> Result<(), Failure> {
        if self.checked.is_none_or(|at| now().duration_since(at) >= every) {
            let info = self.ask(&checks::request())?;
            self.judge(info)?;
        }
        Ok(())
    }

    fn settle<T>(&mut self, reply: Result<T, Failure>) -> Result<T, Failure> {
        if reply.as_ref().is_err_and(|failure| !failure.keeps_connection()) {
            self.drop_connection();
        }
        reply
    }

    fn connected(&mut self) -> Result<&mut Connection, Failure> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        Ok(self.connection.insert(connection))
    }

    fn connect(&mut self) -> Result<Connection, Failure> {
        let mut connection = self
            .client
            .get_connection_with_timeout(self.connect_limit)
            .map_err(|error| Failure::connecting(&error))?;
        let limit = Some(self.response_limit);
        connection
            .set_read_timeout(limit)
            .and_then(|()| connection.set_write_timeout(limit))
            .and_then(|()| connection.req_packed_command(&checks::request()))
            .and_then(Value::extract_error)
            .map_err(|error| Failure::connecting(&error))
            .and_then(|info| self.judge(info))?;
        tracing::debug!("connected to Redis at {}", self.place);
        Ok(connection)
    }

    fn judge(&mut self, info: Value) -> Result<(), Failure> {
        let info = redis::from_redis_value::<String>(info).map_err(Failure::garbled)?;
        match checks::judge(&info, self.allow_unsafe) {
            Verdict::Fit => {
                self.checked = Some(now());
                Ok(())
            }
            Verdict::NotNow(text) => {
                self.drop_connection();
                Err(Failure::NotDone(text))
            }
            Verdict::Unfit(text) => Err(Failure::Halt(Error::Unavailable(format!(
                "the Redis at {} is not safe to use: {text}",
                self.place
            )))),
        }
    }
}

/// Packs a command.
pub(super) fn packed(command: &str, args: &[&[u8]]) -> Vec<u8> {
    let mut packed = Cmd::new();
    packed.arg(command);
    args.iter().for_each(|arg| {
        packed.arg(*arg);
    });
    packed.get_packed_command()
}

/// The clock of time limits and pauses.
#[expect(clippy::disallowed_methods, reason = "limits of a connection; no record depends on it")]
pub(super) fn now() -> Instant {
    Instant::now()
}
