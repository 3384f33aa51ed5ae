//! The central over the document's own wire, which has no numbers: what may have arrived is not
//! sent again, as the document's server would store it twice, and with a second end of bets never
//! draw.

use super::central::{Answer, Passing, Trouble, until_answered};
use crate::client::escaped;
use node_protocols::lottery::{Bet, DISK_FULL, bets_text, winners_of_text};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// The winners of an agency fill no more, and whoever sends more is no central.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Whose wire it is: that of the central of one of the document's exercises.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Exercise {
    /// Chunks without a letter, one on each connection, and nothing after them.
    Six,
    /// Chunks, an end that gets no answer, and queries, one on each connection.
    Seven,
    /// All on one connection, and all with an answer.
    Eight,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bets(u64),
    Finished,
    Results,
}

pub(super) struct TextCentral {
    addr: SocketAddr,
    /// The longest time without an answer to go on with.
    timeout: Duration,
    exercise: Exercise,
    stream: Option<TcpStream>,
    /// What has come of an answer.
    input: Vec<u8>,
}

/// Why an attempt brought no answer to go on with.
enum Failed {
    /// Another would end alike.
    Final(Trouble),
    /// Nothing was done.
    PutOff(String),
    /// Nothing was sent.
    Unsent(String),
    /// It may have been taken.
    Unsure(String),
}

impl TextCentral {
    pub(super) fn new(addr: SocketAddr, timeout: Duration, exercise: Exercise) -> TextCentral {
        TextCentral { addr, timeout, exercise, stream: None, input: Vec::new() }
    }

    /// Has bets stored; `is_single` is the document's exercise 5.
    pub(super) fn store(&mut self, bets: &[Bet<'_>], is_single: bool) -> Result<Answer, Trouble> {
        let mut message = Vec::new();
        if !is_single && self.exercise != Exercise::Six {
            message.push(b'B');
        }
        bets_text(bets, &mut message).map_err(|why| Trouble::Refused(why.into()))?;
        message.push(b';');
        self.ask(Kind::Bets(bets.len() as u64), &message)
    }

    pub(super) fn finish(&mut self, agency: u32) -> Result<Answer, Trouble> {
        self.ask(Kind::Finished, format!("N{{AgencyID:{agency}}};").as_bytes())
    }

    pub(super) fn results(&mut self, agency: u32) -> Result<Answer, Trouble> {
        self.ask(Kind::Results, format!("Q{{AgencyID:{agency}}};").as_bytes())
    }

    fn ask(&mut self, kind: Kind, message: &[u8]) -> Result<Answer, Trouble> {
        let timeout = self.timeout;
        until_answered(timeout, |left| {
            // A query may be asked again, so one whose answer is lost never takes all of the time.
            let left = if kind == Kind::Results { left.min(timeout / 4) } else { left };
            match self.attempt(kind, message, left) {
                Ok(answer) => Ok(Ok(answer)),
                Err(Failed::Final(trouble)) => Ok(Err(trouble)),
                Err(Failed::Unsure(why)) if kind != Kind::Results => Ok(Err(Trouble::Unsure(why))),
                Err(Failed::PutOff(reason)) => Err(Passing::PutOff(reason)),
                Err(Failed::Unsent(why) | Failed::Unsure(why)) => Err(Passing::Broken(why)),
            }
        })
    }

    fn attempt(&mut self, kind: Kind, message: &[u8], left: Duration) -> Result<Answer, Failed> {
        let addr = self.addr;
        // It is taken, and only put back when all went well: nothing is read from a broken one.
        let mut stream = match self.stream.take().filter(is_open) {
            Some(stream) => stream,
            None => {
                self.input.clear();
                let connected = connect(addr, left.min(self.timeout / 4));
                connected.map_err(|error| Failed::Unsent(format!("{addr}: {error}")))?
            }
        };
        let until = Instant::now() + left;
        let sent = stream.write_all(message).and_then(|()| self.answer(&mut stream, until));
        let answer = match sent.map_err(|error| Failed::Unsure(format!("{addr}: {error}")))? {
            Some(answer) => answer,
            // The document's server of exercise 7 closes when it has taken the end.
            None if kind == Kind::Finished && self.exercise == Exercise::Seven => {
                return Ok(Answer::Finished);
            }
            None => return Err(Failed::Unsure(format!("{addr} closed the connection"))),
        };
        if self.exercise == Exercise::Eight {
            self.stream = Some(stream);
        }
        match (kind, answer.as_bytes()) {
            (Kind::Bets(bets), b"ACK_CHUNK") => Ok(Answer::Stored(bets)),
            (Kind::Bets(1), echo @ [b'{', ..]) if message.strip_suffix(b";") == Some(echo) => {
                Ok(Answer::Stored(1))
            }
            (Kind::Finished, b"ACK_NOTIFY") => Ok(Answer::Finished),
            (Kind::Results, b"W") => Ok(Answer::NotDrawn),
            (Kind::Results, [b'R', ..]) => match winners_of_text(&answer[1..]) {
                Some(documents) => Ok(Answer::Winners(documents)),
                None => Err(Failed::Final(Trouble::Unexpected)),
            },
            (_, [b'E', b'{', .., b'}']) => match &answer[2..answer.len() - 1] {
                DISK_FULL => Err(Failed::PutOff(DISK_FULL.into())),
                reason => Err(Failed::Final(Trouble::Refused(escaped(reason.as_bytes())))),
            },
            (Kind::Bets(_) | Kind::Finished | Kind::Results, _) => {
                Err(Failed::Final(Trouble::Unexpected))
            }
        }
    }

    /// The next answer that is not empty, without its end: the document's server ends `W` twice.
    /// None when the connection ends before one.
    fn answer(&mut self, stream: &mut TcpStream, until: Instant) -> io::Result<Option<String>> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.input[searched..].iter().position(|byte| *byte == b';') {
                let answer: Vec<u8> = self.input.drain(..=searched + end).collect();
                searched = 0;
                if answer.len() > 1 {
                    let text = String::from_utf8(answer[..answer.len() - 1].to_vec());
                    return text.map(Some).map_err(io::Error::other);
                }
                continue;
            }
            searched = self.input.len();
            if searched > MAX_ANSWER_BYTES {
                return Err(io::Error::other("the answer has no end"));
            }
            let left = until.saturating_duration_since(Instant::now());
            // A timeout of 0 would be none.
            stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let mut piece = [0; 8 << 10];
            match stream.read(&mut piece) {
                Ok(0) => return Ok(None),
                Ok(read) => self.input.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let why = format!("no answer within {} ms", self.timeout.as_millis());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, why));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

fn connect(addr: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let timeout = timeout.max(Duration::from_millis(1));
    let stream = TcpStream::connect_timeout(&addr, timeout)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(timeout))?;
    Ok(stream)
}

/// Whether the central has not closed it: what is sent then would be lost.
fn is_open(stream: &TcpStream) -> bool {
    let peeked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    let is_open = match peeked {
        Ok(bytes) => bytes > 0,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    };
    is_open && stream.set_nonblocking(false).is_ok()
}

#[cfg(test)]
mod tests;
