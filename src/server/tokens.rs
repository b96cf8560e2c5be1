//! Who may do what: the tokens of a file, a line each. A token has 8 to 256 bytes.
//!
//! ```text
//! # token               grants
//! s3cr3t-of-the-shop    submit
//! s3cr3t-of-img-7       work,submit
//! ```

use std::fmt;

use subtle::ConstantTimeEq;

use crate::message::{Code, Cron, Grants, Hello, Refusal, Request, Role};
use crate::protocol::TEXT_MAX;

/// The shortest token in bytes; the longest is what a HELLO can carry.
const TOKEN_MIN: usize = 8;

/// The tokens that are known. None at all means that everything is granted to everybody.
#[derive(Clone, Default)]
pub struct Tokens(Vec<(String, Grants)>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens", self.0.len())
    }
}

impl Tokens {
    /// Reads a tokens file.
    ///
    /// # Errors
    ///
    /// A text that names the line and what is wrong with it, never the token.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split_once('#').map_or(line, |(before, _)| before).trim();
            if line.is_empty() {
                continue;
            }
            let Some((token, grants)) = line.split_once(char::is_whitespace) else {
                return Err(format!("line {number}: expected a token, a space, and its grants"));
            };
            if token.len() < TOKEN_MIN {
                return Err(format!("line {number}: a token has at least {TOKEN_MIN} bytes"));
            }
            if token.len() > TEXT_MAX {
                return Err(format!(
                    "line {number}: a token has at most {TEXT_MAX} bytes: no HELLO carries more"
                ));
            }
            let grants = parse_grants(grants.trim()).map_err(|e| format!("line {number}: {e}"))?;
            if tokens.iter().any(|(known, _)| known == token) {
                return Err(format!("line {number}: the token stands in an earlier line already"));
            }
            tokens.push((token.to_owned(), grants));
        }
        if tokens.is_empty() {
            return Err("there is no token in it".into());
        }
        Ok(Self(tokens))
    }

    /// Whether everything is granted to everybody.
    pub fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// What a peer may do, and a number that stands for its token.
    ///
    /// # Errors
    ///
    /// [`Code::Denied`], the same for a wrong token, a missing one, and one that does not grant the
    /// role.
    pub fn admit(&self, hello: &Hello) -> Result<(Grants, u32), Refusal> {
        if self.is_open() {
            return Ok((Grants::ALL, 0));
        }
        let shown = hello.token.as_deref().unwrap_or_default().as_bytes();
        // Every token is compared, in constant time, so that the time tells nothing.
        let mut grants = None;
        for (token, its) in &self.0 {
            if bool::from(token.as_bytes().ct_eq(shown)) {
                grants = Some(*its);
            }
        }
        let grants = grants.filter(|grants| match hello.role {
            Role::Worker => grants.work,
            Role::Client => grants.submit || grants.observe,
            Role::Operator => grants.operate || grants.observe,
        });
        let denied = "the token is not known, or does not grant the role";
        let grants = grants.ok_or_else(|| Refusal::new(Code::Denied, denied))?;
        Ok((grants, crc32c::crc32c(shown)))
    }
}

fn parse_grants(text: &str) -> Result<Grants, String> {
    let mut grants = Grants::default();
    for grant in text.split(',') {
        match grant.trim() {
            "submit" => grants.submit = true,
            "work" => grants.work = true,
            "observe" => grants.observe = true,
            "operate" => grants.operate = true,
            other => {
                return Err(format!("{other:?} is no grant: submit, work, observe, operate"));
            }
        }
    }
    Ok(grants)
}

/// Whether a session may ask for something.
///
/// # Errors
///
/// [`Code::Forbidden`] with what would be needed.
pub fn permit(role: Role, grants: Grants, request: &Request) -> Result<(), Refusal> {
    let (granted, needed) = match request {
        Request::Done { .. }
        | Request::Fail(_)
        | Request::Release { .. }
        | Request::Progress { .. }
        | Request::Slots(_) => (role == Role::Worker, "only a worker may do that"),
        Request::Bye | Request::Pong => (true, ""),
        Request::Submit(_) => (grants.submit, "the token does not grant submit"),
        Request::Get(_) | Request::Watch(_) | Request::Explain(_) => {
            (grants.submit || grants.observe, "the token grants neither submit nor observe")
        }
        Request::Cancel(_) => {
            (grants.submit || grants.operate, "the token grants neither submit nor operate")
        }
        Request::Queue { policies, .. } if !policies.is_empty() => {
            (grants.operate, "the token does not grant operate")
        }
        Request::Cron(Cron::List { .. })
        | Request::Queues
        | Request::Workers
        | Request::Tasks(_)
        | Request::Stats { .. }
        | Request::Events(_)
        | Request::Queue { .. } => {
            (grants.observe || grants.operate, "the token grants neither observe nor operate")
        }
        Request::Retry(_)
        | Request::Drain(_)
        | Request::Pause { .. }
        | Request::Purge(_)
        | Request::Cron(_) => (grants.operate, "the token does not grant operate"),
    };
    if granted { Ok(()) } else { Err(Refusal::new(Code::Forbidden, needed)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_tokens_is_read_and_its_mistakes_are_named_by_line() {
        let tokens = Tokens::parse("# all\nlong-secret submit,work\n\nother-secret operate # me\n");
        assert!(tokens.is_ok_and(|tokens| !tokens.is_open()));
        for (text, word) in [
            ("long-secret", "line 1"),
            ("long-secret fly", "fly"),
            ("short work", "8 bytes"),
            (&format!("long-secret{} work", "s".repeat(TEXT_MAX - 10)), "256 bytes"),
            ("long-secret work\nlong-secret submit", "line 2"),
            ("# nothing", "no token"),
        ] {
            let error = Tokens::parse(text).expect_err(text);
            assert!(error.contains(word) && !error.contains("long-secret"), "{error}");
        }
    }

    #[test]
    fn a03_a_token_is_never_shown() {
        let tokens = Tokens::parse("long-secret submit").expect("a token");
        assert!(!format!("{tokens:?}").contains("long-secret"));
    }
}
