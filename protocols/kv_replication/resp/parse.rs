//! RESP's framing: a command as an array of arguments, or as a line of words, found in bytes that
//! come in pieces. Each byte is looked at once, however small the pieces are.

use ::core::ops::Range;
use alloc::borrow::Cow;
use alloc::vec::Vec;
use memchr::memchr;

/// Commands have few arguments; longer ones are none that this store knows. Redis allows 1 Mi.
pub(super) const MAX_ARGUMENTS: usize = 1_024;
/// The longest argument: above the longest value that a config can allow.
const MAX_BULK_BYTES: usize = 16 << 20;
/// The longest inline command, as in Redis.
pub(super) const MAX_LINE_BYTES: usize = 64 << 10;
/// No length needs more digits.
const MAX_DIGITS: usize = 20;
/// Places of arguments that an idle connection keeps room for.
const KEPT_ARGUMENTS: usize = 8;

/// What is known of the command under way.
#[derive(Default)]
pub(super) struct Parser {
    /// Where to go on.
    at: usize,
    /// How many arguments it has, once its first line is there.
    count: Option<usize>,
    /// Where those are that are whole.
    arguments: Vec<Range<usize>>,
}

pub(super) enum Parsed<'a, 'p> {
    Incomplete,
    Command(Command<'a, 'p>),
    /// It is no RESP, and nobody knows where the next command begins.
    Wrong(&'static str),
}

/// A whole command.
pub(super) struct Command<'a, 'p> {
    arguments: Arguments<'a, 'p>,
    /// How many bytes it took.
    pub(super) used: usize,
}

enum Arguments<'a, 'p> {
    /// Of an array: places in the bytes.
    Places(&'a [u8], &'p [Range<usize>]),
    /// Of a line: words, which are in quotes or as they stand.
    Words(Vec<Cow<'a, [u8]>>),
}

impl<'a> Command<'a, '_> {
    pub(super) fn len(&self) -> usize {
        match &self.arguments {
            Arguments::Places(_, places) => places.len(),
            Arguments::Words(words) => words.len(),
        }
    }

    /// An argument, of which the first is the command's name; empty if there is none.
    pub(super) fn argument(&self, place: usize) -> Cow<'a, [u8]> {
        match &self.arguments {
            Arguments::Places(input, places) => {
                Cow::Borrowed(places.get(place).map_or(&[][..], |place| &input[place.clone()]))
            }
            Arguments::Words(words) => words.get(place).cloned().unwrap_or_default(),
        }
    }

    /// Whether an argument is a word, in letters of either case.
    pub(super) fn is(&self, place: usize, word: &str) -> bool {
        place < self.len() && self.argument(place).eq_ignore_ascii_case(word.as_bytes())
    }
}

impl Parser {
    /// Looks for a whole command at the start of the bytes, which begin as the last time.
    pub(super) fn parse<'a>(&mut self, input: &'a [u8]) -> Parsed<'a, '_> {
        match input.first() {
            None => Parsed::Incomplete,
            Some(b'*') => match self.array(input) {
                Ok(true) => {
                    let arguments = Arguments::Places(input, &self.arguments);
                    Parsed::Command(Command { arguments, used: self.at })
                }
                Ok(false) => Parsed::Incomplete,
                Err(reason) => Parsed::Wrong(reason),
            },
            Some(_) => self.line(input),
        }
    }

    /// The command was taken: another begins.
    pub(super) fn reset(&mut self) {
        self.at = 0;
        self.count = None;
        self.arguments.clear();
        if self.arguments.capacity() > KEPT_ARGUMENTS {
            self.arguments = Vec::new();
        }
    }

    /// Whether all of an array's arguments are there.
    fn array(&mut self, input: &[u8]) -> Result<bool, &'static str> {
        let count = match self.count {
            Some(count) => count,
            None => match number(input, 0)? {
                Some((count, _)) if count > MAX_ARGUMENTS => {
                    return Err("invalid multibulk length");
                }
                Some((count, end)) => {
                    self.at = end;
                    *self.count.insert(count)
                }
                None => return Ok(false),
            },
        };
        while self.arguments.len() < count {
            match input.get(self.at) {
                None => return Ok(false),
                Some(b'$') => {}
                Some(_) => return Err("expected '$'"),
            }
            let Some((length, start)) = number(input, self.at)? else { return Ok(false) };
            if length > MAX_BULK_BYTES {
                return Err("invalid bulk length");
            }
            let end = start + length;
            match input.get(end..end + 2) {
                None => return Ok(false),
                Some(b"\r\n") => {}
                Some(_) => return Err("expected the end of an argument"),
            }
            self.arguments.push(start..end);
            self.at = end + 2;
        }
        Ok(true)
    }

    /// A line of words, as a person types it.
    fn line<'a>(&mut self, input: &'a [u8]) -> Parsed<'a, 'static> {
        let line = &input[..input.len().min(MAX_LINE_BYTES)];
        let Some(end) = memchr(b'\n', &line[self.at.min(line.len())..]) else {
            self.at = line.len();
            let too_long = input.len() >= MAX_LINE_BYTES;
            return if too_long {
                Parsed::Wrong("too big inline request")
            } else {
                Parsed::Incomplete
            };
        };
        let end = self.at + end;
        match words(&line[..end]) {
            // A command that waits for others is looked for again, from its end.
            Ok(words) => {
                self.at = end;
                Parsed::Command(Command { arguments: Arguments::Words(words), used: end + 1 })
            }
            Err(reason) => Parsed::Wrong(reason),
        }
    }
}

/// The number behind the type byte at `at`, and where the line after it begins; none if its line is
/// not whole yet.
fn number(input: &[u8], at: usize) -> Result<Option<(usize, usize)>, &'static str> {
    let mut value: usize = 0;
    for (place, byte) in input.iter().enumerate().skip(at + 1) {
        match byte {
            b'0'..=b'9' if place <= at + MAX_DIGITS => {
                value = value.saturating_mul(10).saturating_add(usize::from(byte - b'0'));
            }
            b'0'..=b'9' => return Err("too big a number"),
            b'\r' if place > at + 1 => {
                return match input.get(place + 1) {
                    None => Ok(None),
                    Some(b'\n') => Ok(Some((value, place + 2))),
                    Some(_) => Err("expected a line's end"),
                };
            }
            _ => return Err("expected a number"),
        }
    }
    Ok(None)
}

fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0B
}

/// The words of a line, with quotes as Redis has them (`sdssplitargs`): "…" with `\n`, `\r`, `\t`,
/// `\b`, `\a`, `\xHH`, and any other character behind a backslash as itself; '…' with `\'` alone.
fn words(line: &[u8]) -> Result<Vec<Cow<'_, [u8]>>, &'static str> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        let start = rest.iter().position(|byte| !is_blank(*byte));
        let Some(start) = start else { return Ok(words) };
        if words.len() == MAX_ARGUMENTS {
            return Err("too many words");
        }
        rest = &rest[start..];
        let end = rest.iter().position(|byte| is_blank(*byte)).unwrap_or(rest.len());
        let word = &rest[..end];
        if !word.contains(&b'"') && !word.contains(&b'\'') {
            words.push(Cow::Borrowed(word));
            rest = &rest[end..];
        } else {
            let (word, used) = quoted(rest).ok_or("unbalanced quotes in request")?;
            words.push(Cow::Owned(word));
            rest = &rest[used..];
        }
    }
}

/// A word that is in quotes, as a whole or from some place on, and how many bytes it takes; none if
/// its quotes do not end, or something stands right behind them.
fn quoted(text: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut word = Vec::new();
    let mut at = 0;
    while let Some(byte) = text.get(at).filter(|byte| !is_blank(**byte)) {
        at += 1;
        if !matches!(byte, b'"' | b'\'') {
            word.push(*byte);
            continue;
        }
        let quote = *byte;
        loop {
            let rest = &text[at..];
            match rest {
                [] => return None,
                [b'\\', b'x', high, low, ..] if quote == b'"' => {
                    let digits = (char::from(*high).to_digit(16), char::from(*low).to_digit(16));
                    if let (Some(high), Some(low)) = digits {
                        word.push((high * 16 + low) as u8);
                        at += 4;
                    } else {
                        word.push(b'x');
                        at += 2;
                    }
                }
                [b'\\', escaped, ..] if quote == b'"' || *escaped == b'\'' => {
                    word.push(match escaped {
                        b'n' if quote == b'"' => b'\n',
                        b'r' if quote == b'"' => b'\r',
                        b't' if quote == b'"' => b'\t',
                        b'b' if quote == b'"' => 0x08,
                        b'a' if quote == b'"' => 0x07,
                        other => *other,
                    });
                    at += 2;
                }
                [end, ..] if *end == quote => {
                    at += 1;
                    let stands_alone = text.get(at).is_none_or(|byte| is_blank(*byte));
                    return stands_alone.then_some((word, at));
                }
                [other, ..] => {
                    word.push(*other);
                    at += 1;
                }
            }
        }
    }
    Some((word, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Result<Vec<Vec<u8>>, &'static str> {
        words(line.as_bytes()).map(|words| words.into_iter().map(Cow::into_owned).collect())
    }

    /// What `sdssplitargs` of Redis makes of the same lines.
    #[test]
    fn quotes_are_as_in_redis() {
        for (line, expected) in [
            ("SET q \"ab\"", &[&b"SET"[..], b"q", b"ab"][..]),
            ("SET s \"a b\"\r", &[b"SET", b"s", b"a b"]),
            ("\"\" ''", &[b"", b""]),
            (r#""\x41\xfF\xg1\n\r\t\b\a\\\"\q""#, &[b"A\xffxg1\n\r\t\x08\x07\\\"q"]),
            (r"'a\'b\n' x", &[b"a'b\\n", b"x"]),
            ("pre\"fix ed\" \x0b y", &[b"prefix ed", b"y"]),
            ("it\"'s\"", &[b"it's"]),
            (" \t ", &[]),
        ] {
            let expected: Vec<Vec<u8>> = expected.iter().map(|word| word.to_vec()).collect();
            assert_eq!(split(line), Ok(expected), "{line}");
        }
        for line in ["SET a \"b", "'a", "\"a\"b", "'a'\"b\"", "\"a\\", "\"a\\\""] {
            assert_eq!(split(line), Err("unbalanced quotes in request"), "{line}");
        }
    }

    #[test]
    fn a_command_in_single_bytes_is_looked_at_once() {
        let mut input = Vec::from(&b"*1024\r\n"[..]);
        for _ in 0..1_024 {
            input.extend_from_slice(b"$1\r\nk\r\n");
        }
        let mut parser = Parser::default();
        for end in 1..input.len() {
            let before = parser.at;
            assert!(matches!(parser.parse(&input[..end]), Parsed::Incomplete), "{end}");
            assert!(before <= parser.at && end - parser.at <= 7, "{end}: {}", parser.at);
        }
        for _ in 0..2 {
            let Parsed::Command(command) = parser.parse(&input) else { panic!("it is whole") };
            assert_eq!((command.len(), command.used), (1_024, input.len()));
            assert_eq!(&*command.argument(1_023), b"k");
        }
        parser.reset();
        assert!(parser.arguments.capacity() <= KEPT_ARGUMENTS);
        let line = [b'x'; 1_000];
        for end in 1..line.len() {
            assert!(matches!(parser.parse(&line[..end]), Parsed::Incomplete));
            assert_eq!(parser.at, end);
        }
    }
}
