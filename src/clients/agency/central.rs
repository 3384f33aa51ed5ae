//! The central, as an agency reaches it: whatever breaks or is put off, it asks again, until there
//! is an answer to go on with or none for too long. What is asked may therefore arrive twice.

use crate::client::{self, Client, ClientError};
use node_protocols::core::{Backoff, Protocol};
use node_protocols::lottery::{Lottery, Reply};
use serde::Serialize;
use std::fmt;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// Between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What the central answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Stored(u64),
    Finished,
    Winners(Vec<u64>),
    NotDrawn,
}

/// Why there is no answer to go on with.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The central does not do it: its reason, escaped.
    Refused(String),
    /// The answer is to something else.
    Unexpected,
    /// Another attempt would end alike.
    Final(ClientError),
    /// It may have been done, and cannot be asked again: what broke.
    Unsure(String),
    /// What it was at last, and how long it was tried.
    Lasting { last: Passing, after: Duration },
}

/// Why another attempt may do better.
#[derive(Debug)]
pub(super) enum Passing {
    Unanswered(ClientError),
    /// The central cannot do it now: its reason, escaped.
    PutOff(String),
    /// The text wire is broken: how.
    Broken(String),
}

impl Trouble {
    /// Whether one looks for the cause, or for what became of it, at what was asked.
    pub(super) fn concerns_bets(&self) -> bool {
        matches!(self, Trouble::Refused(_) | Trouble::Unsure(_))
    }

    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Trouble::Refused(_))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Refused(reason) => f.write_str(reason),
            Trouble::Unexpected => f.write_str("the answer is to something else"),
            Trouble::Final(error) => error.fmt(f),
            Trouble::Unsure(why) => write!(
                f,
                "{why}: it may have been taken, and is not sent again, since this wire has no numbers \
                 and the central would take it twice; see what it has before you send the rest"
            ),
            Trouble::Lasting {
                last: last @ (Passing::Unanswered(_) | Passing::Broken(_)),
                after,
            } => {
                write!(f, "no answer for {} ms; {last}", after.as_millis())
            }
            Trouble::Lasting { last: last @ Passing::PutOff(_), after } => {
                write!(f, "{last} (tried for {} ms)", after.as_millis())
            }
        }
    }
}

impl From<ClientError> for Passing {
    fn from(error: ClientError) -> Passing {
        Passing::Unanswered(error)
    }
}

impl fmt::Display for Passing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Passing::Unanswered(error) => error.fmt(f),
            Passing::PutOff(reason) | Passing::Broken(reason) => f.write_str(reason),
        }
    }
}

/// Attempts again, with pauses between, until one decides what the answer is, or for too long. An
/// attempt is told how much time is left.
pub(super) fn until_answered(
    timeout: Duration,
    mut attempt: impl FnMut(Duration) -> Result<Result<Answer, Trouble>, Passing>,
) -> Result<Answer, Trouble> {
    let start = Instant::now();
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        let last = match attempt(timeout.saturating_sub(start.elapsed())) {
            Ok(answer) => return answer,
            Err(last) => last,
        };
        let left = timeout.saturating_sub(start.elapsed());
        // What is left after the pause must do for an attempt.
        if left <= backoff.wait() {
            return Err(Trouble::Lasting { last, after: start.elapsed() });
        }
        if backoff.is_fresh() {
            log::warn!("{last}; trying again for {} ms", left.as_millis());
        }
        thread::sleep(backoff.wait());
        backoff.failed();
    }
}

pub(super) struct Central {
    addr: SocketAddr,
    /// The longest time without an answer to go on with.
    timeout: Duration,
    client: Option<Client>,
}

impl Central {
    pub(super) fn new(addr: SocketAddr, timeout: Duration) -> Central {
        Central { addr, timeout, client: None }
    }

    /// Asks until there is an answer.
    pub(super) fn ask(&mut self, request: &impl Serialize) -> Result<Answer, Trouble> {
        let timeout = self.timeout;
        // One attempt never takes all of the time: an answer may be lost without a sign.
        until_answered(timeout, |left| match self.attempt(request, left.min(timeout / 4)) {
            Err(Passing::Unanswered(
                error @ (ClientError::Refused { .. } | ClientError::TooLong { .. }),
            )) => Ok(Err(Trouble::Final(error))),
            Err(last) => {
                if let Passing::Unanswered(_) = last {
                    self.client = None;
                }
                Err(last)
            }
            answered => answered,
        })
    }

    fn attempt(
        &mut self,
        request: &impl Serialize,
        timeout: Duration,
    ) -> Result<Result<Answer, Trouble>, Passing> {
        // A central that has closed in between would lose the request.
        let client = match self.client.take().filter(Client::is_open) {
            Some(client) => self.client.insert(client),
            None => self.client.insert(Client::connect(self.addr, Lottery::NAME, timeout)?),
        };
        Ok(match client.request(request, timeout)? {
            Reply::Stored { bets } => Ok(Answer::Stored(bets)),
            Reply::Finished {} => Ok(Answer::Finished),
            Reply::Winners { documents } => Ok(Answer::Winners(documents)),
            Reply::NotDrawn {} => Ok(Answer::NotDrawn),
            Reply::Refused { reason } => Err(Trouble::Refused(client::escaped(reason.as_bytes()))),
            Reply::Later { reason } => {
                return Err(Passing::PutOff(client::escaped(reason.as_bytes())));
            }
            Reply::Status { .. } | Reply::Echo {} => Err(Trouble::Unexpected),
        })
    }
}
