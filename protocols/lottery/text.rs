//! The document's own wire: UTF-8 messages that end with `;`.
//!
//! | message | bytes | answer |
//! |---|---|---|
//! | bets | `B{PlayerName:s,PlayerSurname:s,PlayerDocID:d,PlayerDateOfBirth:YYYY-MM-DD,WageredNumber:d,AgencyID:d},{…};` | `ACK_CHUNK;` |
//! | end of bets | `N{AgencyID:d};` | `ACK_NOTIFY;` |
//! | ask for results | `Q{AgencyID:d};` | `R{PlayerDocID:d},{…};`, `R;`, or before the draw `W;` |
//!
//! What is refused is answered `E{reason};`. A field may hold anything but what ends it: `;`, and the
//! next field's name behind a comma.

use super::{Bet, Lottery, Reply, Request};
use crate::core::{Decoded, Gateway};
use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt::Write;

/// The longest message that the document allows.
pub const MAX_MESSAGE_BYTES: usize = 8 << 10;

/// The state of one connection.
#[derive(Default)]
pub struct LotteryText {
    /// How many bytes of a message that is still coming are known to hold no end.
    searched: usize,
    /// The message under way is too long, was refused, and is skipped to its end.
    skipping: bool,
}

impl Gateway for LotteryText {
    const NAME: &'static str = "lottery-text";
    type Protocol = Lottery;

    fn decode<'a>(
        &mut self,
        input: &'a [u8],
        idle: bool,
        output: &mut Vec<u8>,
    ) -> Decoded<Request<'a>> {
        let unsearched = input.get(self.searched..).unwrap_or_default();
        let end = unsearched.iter().position(|byte| *byte == b';').map(|at| self.searched + at);
        let length = end.unwrap_or(input.len());
        if self.skipping {
            if length == 0 && end.is_none() {
                return Decoded::Incomplete;
            }
            if !idle {
                return Decoded::Wait;
            }
            self.searched = 0;
            self.skipping = end.is_none();
            return Decoded::Answered { used: length + usize::from(end.is_some()) };
        }
        if length > MAX_MESSAGE_BYTES {
            if !idle {
                return Decoded::Wait;
            }
            self.searched = 0;
            self.skipping = end.is_none();
            error(output, "a message has at most 8192 bytes");
            return Decoded::Answered { used: length + usize::from(end.is_some()) };
        }
        let Some(end) = end else {
            self.searched = input.len();
            return Decoded::Incomplete;
        };
        let used = end + 1;
        match parse(&input[..end]) {
            Ok(Some(request)) => {
                self.searched = 0;
                Decoded::Request { used, request }
            }
            // Its answer must not overtake those of requests before it.
            Ok(None) | Err(_) if !idle => Decoded::Wait,
            Ok(None) => {
                self.searched = 0;
                Decoded::Answered { used }
            }
            Err(reason) => {
                self.searched = 0;
                error(output, reason);
                Decoded::Answered { used }
            }
        }
    }

    fn encode(&mut self, reply: Reply<'_>, output: &mut Vec<u8>) {
        match reply {
            Reply::Stored { .. } => output.extend_from_slice(b"ACK_CHUNK;"),
            Reply::Finished {} => output.extend_from_slice(b"ACK_NOTIFY;"),
            Reply::NotDrawn {} => output.extend_from_slice(b"W;"),
            Reply::Winners { documents } => {
                output.push(b'R');
                for (place, document) in documents.iter().enumerate() {
                    let comma = if place == 0 { "" } else { "," };
                    // Writing to a vector cannot fail.
                    let _ = write!(Text(output), "{comma}{{PlayerDocID:{document}}}");
                }
                output.push(b';');
            }
            Reply::Refused { reason } => error(output, &reason),
            // Nobody asks for it here.
            Reply::Status { .. } => error(output, "no such message"),
        }
    }
}

fn error(output: &mut Vec<u8>, reason: &str) {
    output.extend_from_slice(b"E{");
    output.extend_from_slice(reason.as_bytes());
    output.extend_from_slice(b"};");
}

/// One message without its end; none for an empty one.
fn parse(message: &[u8]) -> Result<Option<Request<'_>>, &'static str> {
    let message = str::from_utf8(message).map_err(|_| "a message is UTF-8")?;
    // Whoever types a message ends it with a newline.
    let message = message.trim_ascii_start();
    let Some((kind, body)) = message.split_at_checked(1) else { return Ok(None) };
    match kind {
        "B" => bets(body).map(Some),
        "N" => Ok(Some(Request::Finished { agency: agency(body)? })),
        "Q" => Ok(Some(Request::Results { agency: agency(body)? })),
        _ => Err("a message begins with B, N or Q"),
    }
}

fn agency(body: &str) -> Result<u32, &'static str> {
    let digits = body.strip_prefix("{AgencyID:").and_then(|body| body.strip_suffix('}'));
    digits.and_then(number).ok_or("it must be {AgencyID:d}, with a number for d")
}

/// The names of a bet's fields with what is around them, in their order.
const FIELDS: [&str; 6] = [
    "{PlayerName:",
    ",PlayerSurname:",
    ",PlayerDocID:",
    ",PlayerDateOfBirth:",
    ",WageredNumber:",
    ",AgencyID:",
];

fn bets(body: &str) -> Result<Request<'_>, &'static str> {
    let mut bets = Vec::with_capacity(body.len() / 100);
    let mut rest = body;
    loop {
        let (bet, after) = bet(rest)?;
        bets.push(bet);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(Request::Bets { batch: 0, bets }),
            None => return Err(FORM),
        }
    }
}

const FORM: &str = "a bet is {PlayerName:s,PlayerSurname:s,PlayerDocID:d,PlayerDateOfBirth:YYYY-MM-DD,WageredNumber:d,AgencyID:d}";

/// The first bet, and what follows it.
fn bet(text: &str) -> Result<(Bet<'_>, &str), &'static str> {
    let mut rest = text.strip_prefix(FIELDS[0]).ok_or(FORM)?;
    let mut values = [""; 5];
    for (value, name) in values.iter_mut().zip(&FIELDS[1..]) {
        (*value, rest) = rest.split_once(name).ok_or(FORM)?;
    }
    let (agency, rest) = rest.split_once('}').ok_or(FORM)?;
    let [name, surname, document, birthdate, wagered] = values;
    let bet = Bet {
        agency: number(agency).ok_or("AgencyID is a number")?,
        name: Cow::Borrowed(name),
        surname: Cow::Borrowed(surname),
        document: number(document).ok_or("PlayerDocID is a number")?,
        birthdate: Cow::Borrowed(birthdate),
        number: number(wagered).ok_or("WageredNumber is a number")?,
    };
    Ok((bet, rest))
}

/// Digits alone: no sign, no space.
fn number<T: core::str::FromStr>(digits: &str) -> Option<T> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

struct Text<'a>(&'a mut Vec<u8>);

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
