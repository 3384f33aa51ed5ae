//! The document's own wire: UTF-8 messages that end with `;`.
//!
//! | message | bytes | answer |
//! |---|---|---|
//! | one bet, exercise 5 | `{PlayerName:s,…,AgencyID:d};` | the same bytes |
//! | bets, exercise 6 | `{PlayerName:s,…,AgencyID:d},{…};` | `ACK_CHUNK;` |
//! | bets | `B{PlayerName:s,PlayerSurname:s,PlayerDocID:d,PlayerDateOfBirth:YYYY-MM-DD,WageredNumber:d,AgencyID:d},{…};` | `ACK_CHUNK;` |
//! | end of bets | `N{AgencyID:d};` | `ACK_NOTIFY;` |
//! | ask for results | `Q{AgencyID:d};` | `R{PlayerDocID:d},{…};`, `R;`, or before the draw `W;` |
//!
//! The first two are one form. A single bet is sent back, unless its agency has sent several in one
//! such message before: then it is the last of exercise 6's.
//!
//! What is refused is answered `E{reason};`, which names the bet where it is one: `E{bet 17: …};`.
//! A document keeps its digits, so one with leading zeros is refused; other numbers may have them,
//! and 0042 is 42. A field may hold anything but what ends it: `;`, and the next field's name
//! behind a comma.

use super::bet::{Fault, has_leading_zeros};
use super::{Bet, Lottery, Reply, Request};
use crate::core::{Decoded, Gateway, Text};
use alloc::borrow::Cow;
use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use memchr::{memchr, memchr_iter};

/// The longest message that agencies of this program make, with its end: the document's bound.
pub const MAX_CHUNK_BYTES: usize = 8 << 10;

/// The longest message that is taken, with its end. The document's client counts neither the letter
/// nor the bet that takes it over its own bound, and such a bet may have two names of 1,024 bytes:
/// its longest chunk has some 10.5 KB.
pub const MAX_MESSAGE_BYTES: usize = 16 << 10;

/// The state of one connection.
#[derive(Default)]
pub struct LotteryText {
    /// The bare bet whose answer comes next, without its end; empty for none.
    bare: Vec<u8>,
    /// How many bytes of a message that is still coming are known to hold no end.
    searched: usize,
    /// The message under way is too long, was refused, and is skipped to its end.
    skipping: bool,
}

impl Gateway for LotteryText {
    const NAME: &'static str = "lottery-text";
    type Protocol = Lottery;

    fn decode<'a>(&mut self, input: &'a [u8], idle: bool, _: &mut Vec<u8>) -> Decoded<Request<'a>> {
        let unsearched = input.get(self.searched..).unwrap_or_default();
        let end = memchr(b';', unsearched).map(|at| self.searched + at);
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
        if length >= MAX_MESSAGE_BYTES {
            self.searched = 0;
            self.skipping = end.is_none();
            let request = unreadable(input, "a message has at most 16384 bytes");
            return Decoded::Request { used: length + usize::from(end.is_some()), request };
        }
        let Some(end) = end else {
            self.searched = input.len();
            return Decoded::Incomplete;
        };
        let used = end + 1;
        match parse(&input[..end]) {
            // Its answer is the message itself, which is kept until then: one at a time.
            Ok(Some(Request::Bare { .. })) if !idle => Decoded::Wait,
            Ok(Some(request)) => {
                self.searched = 0;
                if let Request::Bare { .. } = request {
                    self.bare.clear();
                    self.bare.extend_from_slice(input[..end].trim_ascii_start());
                }
                Decoded::Request { used, request }
            }
            Ok(None) if !idle => Decoded::Wait,
            Ok(None) => {
                self.searched = 0;
                Decoded::Answered { used }
            }
            Err(reason) => {
                self.searched = 0;
                Decoded::Request { used, request: unreadable(input, reason) }
            }
        }
    }

    fn encode(&mut self, reply: Reply<'_>, output: &mut Vec<u8>) {
        match reply {
            Reply::Stored { .. } => output.extend_from_slice(b"ACK_CHUNK;"),
            Reply::Echo {} => {
                output.extend_from_slice(&self.bare);
                output.push(b';');
            }
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
            Reply::Refused { reason } | Reply::Later { reason } => error(output, reason),
            // Nobody asks for it here.
            Reply::Status { .. } => error(output, "no such message"),
        }
        self.bare.clear();
    }
}

/// What cannot be read goes to the central too, which tells of it.
fn unreadable(input: &[u8], reason: impl fmt::Display) -> Request<'static> {
    let kind = input.trim_ascii_start().first().copied().unwrap_or_default().into();
    Request::Unreadable { kind, reason: reason.to_string().into() }
}

fn error(output: &mut Vec<u8>, reason: impl fmt::Display) {
    // Writing to a vector cannot fail.
    let _ = write!(Text(output), "E{{{reason}}};");
}

/// One message without its end; none for an empty one.
fn parse(message: &[u8]) -> Result<Option<Request<'_>>, Fault> {
    let message = str::from_utf8(message).map_err(|_| "a message is UTF-8")?;
    // Whoever types a message ends it with a newline.
    let message = message.trim_ascii_start();
    if message.is_empty() {
        return Ok(None);
    }
    let (kind, body) = message.split_at_checked(1).unwrap_or_default();
    match kind {
        "B" => bets(body).map(|bets| Some(Request::Bets { batch: 0, bets })),
        "{" => bets(message).map(|bets| Some(Request::Bare { bets })),
        "N" => Ok(Some(Request::Finished { agency: agency(body)? })),
        "Q" => Ok(Some(Request::Results { agency: agency(body)? })),
        _ => Err("a message begins with B, N or Q, or is {…},{…}".into()),
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

fn bets(body: &str) -> Result<Vec<Bet<'_>>, Fault> {
    let mut bets = Vec::with_capacity(body.len() / 100);
    let mut rest = body;
    loop {
        let (bet, after) = bet(rest).map_err(|reason| Fault::of_bet(bets.len() + 1, reason))?;
        bets.push(bet);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(bets),
            None => return Err(Fault::of_bet(bets.len(), FORM)),
        }
    }
}

/// How many bytes the kind and the end of a message with bets have. Each bet but the first has a
/// comma.
pub(super) const FRAME_BYTES: usize = "B;".len();

/// Appends bets as a message has them, without its letter and its end.
///
/// # Errors
/// What is wrong with the first that this wire cannot carry. The document's server also takes a
/// name apart at `,` and `:`, so what it would store wrongly is not written either.
pub fn bets_text(bets: &[Bet<'_>], out: &mut Vec<u8>) -> Result<(), &'static str> {
    for (place, bet) in bets.iter().enumerate() {
        let Bet { agency, name, surname, document, birthdate, number } = bet;
        let special = |name: &str| name.contains([',', ':', ';', '{', '}']);
        if special(name) || special(surname) {
            return Err("the text wire carries no name with , : ; { or }");
        }
        let comma = if place == 0 { "" } else { "," };
        let [f0, f1, f2, f3, f4, f5] = FIELDS;
        // Writing to a vector cannot fail.
        let _ = write!(
            Text(out),
            "{comma}{f0}{name}{f1}{surname}{f2}{document}{f3}{birthdate}{f4}{number}{f5}{agency}}}"
        );
    }
    Ok(())
}

/// The winners that an answer tells, as the bytes between its letter and its end; none when it is
/// no such answer.
pub fn winners_of_text(body: &str) -> Option<Vec<u64>> {
    if body.is_empty() {
        return Some(Vec::new());
    }
    let document = |part: &str| {
        number(part.strip_prefix("{PlayerDocID:").and_then(|part| part.strip_suffix('}'))?)
    };
    body.split(',').map(document).collect()
}

/// How long a bet is in a message.
pub(super) fn text_bytes(bet: &Bet<'_>) -> usize {
    let names = FIELDS.iter().map(|name| name.len()).sum::<usize>() + "}".len();
    let length = |number: u64| number.checked_ilog10().unwrap_or(0) as usize + 1;
    let numbers = length(bet.document) + length(bet.number.into()) + length(bet.agency.into());
    names + bet.name.len() + bet.surname.len() + bet.birthdate.len() + numbers
}

const FORM: &str = "a bet is {PlayerName:s,PlayerSurname:s,PlayerDocID:d,PlayerDateOfBirth:YYYY-MM-DD,WageredNumber:d,AgencyID:d}";

/// What precedes a field's name, and what follows it. Names begin with a comma, and most commas
/// begin a name: faster than a search that prepares itself for any text.
fn split_at_name<'a>(text: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    memchr_iter(b',', text.as_bytes())
        .find_map(|comma| Some((&text[..comma], text[comma..].strip_prefix(name)?)))
}

/// The first bet, and what follows it.
fn bet(text: &str) -> Result<(Bet<'_>, &str), &'static str> {
    let mut rest = text.strip_prefix(FIELDS[0]).ok_or(FORM)?;
    let mut values = [""; 5];
    for (value, name) in values.iter_mut().zip(&FIELDS[1..]) {
        (*value, rest) = split_at_name(rest, name).ok_or(FORM)?;
    }
    let (agency, rest) = rest.split_once('}').ok_or(FORM)?;
    let [name, surname, document, birthdate, wagered] = values;
    let bet = Bet {
        agency: number(agency).ok_or("AgencyID must be digits, at most 4294967295")?,
        name: Cow::Borrowed(name),
        surname: Cow::Borrowed(surname),
        document: self::document(document)?,
        birthdate: Cow::Borrowed(birthdate),
        number: number(wagered).ok_or("WageredNumber must be digits, at most 4294967295")?,
    };
    Ok((bet, rest))
}

/// A document is kept as the number that it is, so zeros before it would be lost.
fn document(digits: &str) -> Result<u64, &'static str> {
    if has_leading_zeros(digits.as_bytes()) {
        return Err("PlayerDocID has leading zeros, which would be lost");
    }
    number(digits).ok_or("PlayerDocID must be digits, at most 18446744073709551615")
}

/// Digits alone: no sign, no space.
fn number<T: core::str::FromStr>(digits: &str) -> Option<T> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}
