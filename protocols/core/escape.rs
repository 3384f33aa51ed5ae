//! How bytes that a peer or a client sent reach a console or a log: never raw.

use ::core::fmt;

/// Shows bytes as text: UTF-8 as it is, control and unprintable characters as `\n`, `\u{1b}`,
/// bytes that are no UTF-8 as `\xff`. One line in, one line out.
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    // `escape_debug` would quote these, and they harm nobody.
                    '\\' | '\'' | '"' => f.write_char(c)?,
                    _ => write!(f, "{}", c.escape_debug())?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
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
    fn text_passes_and_control_codes_do_not() {
        let show = |bytes: &[u8]| Escaped(bytes).to_string();
        assert_eq!(show("ação \"x\"\\".as_bytes()), "ação \"x\"\\");
        assert_eq!(show(b"a\nb\x1b[31m\r\0"), "a\\nb\\u{1b}[31m\\r\\0");
        assert_eq!(show(b"\xff\xfeok"), "\\xff\\xfeok");
        assert_eq!(show("\u{202e}x".as_bytes()), "\\u{202e}x");
    }
}
