//! Short forms for people: cut where they get long, and never with a raw byte of somebody else's.

use super::Escaped;
use ::core::fmt::{self, Write};
use alloc::string::String;

/// The longest short form, in characters; protocols aim for half of it.
pub const MAX_BRIEF: usize = 48;

/// How much of a list a view shows.
pub const MAX_LISTED: usize = 16;

/// The first characters of bytes as [`Escaped`] shows them, at most so many, and `…` if that is not all.
pub struct Clipped<'a>(pub &'a [u8], pub usize);

impl fmt::Display for Clipped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Clipped(bytes, mut left) = *self;
        // A character has at most four bytes: a value of a megabyte is not walked for its first eight.
        let head = &bytes[..bytes.len().min(4 * (left + 1))];
        for chunk in head.utf8_chunks() {
            let valid = chunk.valid();
            let chars = valid
                .char_indices()
                .map(|(at, c)| (&valid.as_bytes()[at..at + c.len_utf8()], width(c)));
            // `\xff` for each.
            let others = chunk.invalid().chunks(1).map(|byte| (byte, 4));
            for (piece, width) in chars.chain(others) {
                if width > left {
                    return f.write_char('…');
                }
                left -= width;
                write!(f, "{}", Escaped(piece))?;
            }
        }
        if head.len() < bytes.len() { f.write_char('…') } else { Ok(()) }
    }
}

/// How many characters [`Escaped`] shows for one.
fn width(c: char) -> usize {
    match c {
        '\\' | '\'' | '"' => 1,
        _ => c.escape_debug().len(),
    }
}

/// What `write` writes, cut and escaped; none where that is nothing.
#[doc(hidden)]
pub fn brief_of(write: impl FnOnce(&mut dyn Write) -> fmt::Result) -> Option<String> {
    let mut short = Short { text: String::new(), left: MAX_BRIEF };
    if write(&mut short).is_err() && !short.text.is_empty() {
        short.text.push('…');
    }
    Some(short.text).filter(|text| !text.is_empty())
}

/// Takes so many characters, and refuses what follows: whoever writes then stops.
struct Short {
    text: String,
    left: usize,
}

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let width = width(c);
            if width > self.left {
                return Err(fmt::Error);
            }
            self.left -= width;
            match width {
                1 => self.text.push(c),
                _ => self.text.extend(c.escape_debug()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn what_is_long_is_cut_and_the_rest_is_not_even_walked() {
        let shown = |bytes: &[u8], most| Clipped(bytes, most).to_string();
        assert_eq!(shown(b"", 3), "");
        assert_eq!(shown(b"abc", 3), "abc");
        assert_eq!(shown(b"abcd", 3), "abc…");
        assert_eq!(shown("ação".as_bytes(), 3), "açã…");
        assert_eq!(shown("🦀🦀🦀🦀".as_bytes(), 3), "🦀🦀🦀…");
        assert_eq!(shown(&[b'x'; 1 << 20], 3), "xxx…");
        assert_eq!(shown(b"a\x1b[31m", 8), "a\\u{1b}[…");
        assert_eq!(shown(b"abc\x1b", 8), "abc…", "an escape is whole, or not there");
        assert_eq!(shown(b"ab\xff\xff", 8), "ab\\xff…");
        assert_eq!(shown(b"a\xff", 8), "a\\xff");
    }

    #[test]
    fn a_short_form_is_cut_and_has_no_control_characters() {
        assert_eq!(brief_of(|_| Ok(())), None);
        assert_eq!(brief_of(|out| out.write_str("PUT \"k\"\n")).unwrap(), "PUT \"k\"\\n");
        let long = brief_of(|out| (0..).try_for_each(|n| write!(out, "{n} "))).unwrap();
        assert_eq!(long.chars().count(), MAX_BRIEF + 1);
        assert!(long.starts_with("0 1 2 3") && long.ends_with('…'), "{long}");
    }
}
