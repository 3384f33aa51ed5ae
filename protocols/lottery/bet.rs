//! A bet: what may be in it, and its row in the file.

use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

/// One bet of one agency.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bet<'a> {
    /// Who took it.
    pub agency: u32,
    /// The player's first name.
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    /// The player's surname.
    #[serde(borrow)]
    pub surname: Cow<'a, str>,
    /// The player's document number.
    pub document: u64,
    /// The player's date of birth, as YYYY-MM-DD.
    #[serde(borrow)]
    pub birthdate: Cow<'a, str>,
    /// The number that was bet on.
    pub number: u32,
}

/// Why bets are refused, and which of their batch is at fault, counted from 1, where it is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    bet: Option<usize>,
    reason: &'static str,
}

impl Fault {
    pub(super) fn of_bet(bet: usize, reason: &'static str) -> Fault {
        Fault { bet: Some(bet), reason }
    }
}

impl From<&'static str> for Fault {
    fn from(reason: &'static str) -> Fault {
        Fault { bet: None, reason }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(bet) = self.bet {
            write!(f, "bet {bet}: ")?;
        }
        f.write_str(self.reason)
    }
}

/// A name longer than this is none; a row then always fits into what one message may carry.
pub const MAX_NAME_BYTES: usize = 1_024;

/// Files that begin with the mark were joined, and what follows it would be stored with it, and
/// with its quotes.
const MARKED: &str = "a name has a byte order mark (U+FEFF): take it out of the file";

impl Bet<'_> {
    /// What of it cannot be; numbers go up to `highest`.
    pub fn fault(&self, highest: u32) -> Option<&'static str> {
        let is_name = |name: &str| !name.is_empty() && name.len() <= MAX_NAME_BYTES;
        let is_marked = |name: &str| name.contains('\u{feff}');
        if !is_name(&self.name) || !is_name(&self.surname) {
            Some("a name has 1 to 1024 bytes")
        } else if is_marked(&self.name) || is_marked(&self.surname) {
            Some(MARKED)
        } else if !is_date(&self.birthdate) {
            Some("a date of birth is YYYY-MM-DD and a day of the calendar")
        } else if self.number > highest {
            Some("the number is out of range")
        } else {
            None
        }
    }

    /// Appends its row: agency, name, surname, document, birthdate, number, as RFC 4180 has it but
    /// with the line end `\n`.
    pub fn row(&self, out: &mut Vec<u8>) {
        number(self.agency.into(), out);
        out.push(b',');
        field(&self.name, out);
        out.push(b',');
        field(&self.surname, out);
        out.push(b',');
        number(self.document, out);
        out.push(b',');
        out.extend_from_slice(self.birthdate.as_bytes());
        out.push(b',');
        number(self.number.into(), out);
        out.push(b'\n');
    }
}

/// Whether digits say more than the number that they are: a document `00123` is not `123`.
pub(super) fn has_leading_zeros(digits: &[u8]) -> bool {
    digits.len() > 1 && digits.first() == Some(&b'0')
}

fn field(text: &str, out: &mut Vec<u8>) {
    let special = |byte: &u8| matches!(byte, b',' | b'"' | b'\r' | b'\n');
    if !text.as_bytes().iter().any(special) {
        return out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

fn number(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Whether it is YYYY-MM-DD, and a day of the Gregorian calendar.
fn is_date(text: &str) -> bool {
    let &[a, b, c, d, b'-', e, f, b'-', g, h] = text.as_bytes() else { return false };
    let two = |high: u8, low: u8| {
        let is_digit = high.is_ascii_digit() && low.is_ascii_digit();
        is_digit.then(|| u32::from(high - b'0') * 10 + u32::from(low - b'0'))
    };
    let (Some(century), Some(year), Some(month), Some(day)) =
        (two(a, b), two(c, d), two(e, f), two(g, h))
    else {
        return false;
    };
    let year = century * 100 + year;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return false,
    };
    year > 0 && (1..=days).contains(&day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bet(name: &'static str) -> Bet<'static> {
        Bet {
            agency: 1,
            name: name.into(),
            surname: "Lorca".into(),
            document: 30_904_465,
            birthdate: "1999-03-17".into(),
            number: 2_201,
        }
    }

    #[test]
    fn rows_are_quoted_only_where_they_must_be() {
        let row = |name| {
            let mut out = Vec::new();
            bet(name).row(&mut out);
            alloc::string::String::from_utf8(out).unwrap()
        };
        assert_eq!(row("Santiago Lionel"), "1,Santiago Lionel,Lorca,30904465,1999-03-17,2201\n");
        assert_eq!(row("A, \"B\"\n}"), "1,\"A, \"\"B\"\"\n}\",Lorca,30904465,1999-03-17,2201\n");
    }

    #[test]
    fn dates_are_days_of_the_calendar() {
        for date in ["1999-03-17", "2000-02-29", "0001-01-01", "9999-12-31"] {
            assert!(is_date(date), "{date}");
        }
        for date in [
            "1999-02-29",
            "1900-02-29",
            "0000-01-01",
            "1999-13-01",
            "1999-00-10",
            "1999-04-31",
            "1999-1-01",
            "99-01-01",
            "1999/01/01",
            "1999-01-01 ",
            "",
            "1999-01-0é",
            "+999-01-01",
        ] {
            assert!(!is_date(date), "{date}");
        }
    }

    #[test]
    fn what_cannot_be_has_a_reason() {
        assert_eq!(bet("x").fault(9_999), None);
        assert!(bet("").fault(9_999).is_some());
        assert!(bet("x").fault(2_200).is_some());
    }
}
