//! Text in files that others wrote: where it is none, and where it was cut off.

use serde::de::IgnoredAny;
use std::path::Path;

/// Why a file cannot be read as text.
#[derive(Debug)]
pub struct NoText {
    /// Which line is no UTF-8, from 1; none when the file could not be read at all.
    pub line: Option<usize>,
    /// What is wrong, and what to do.
    pub why: String,
}

impl NoText {
    /// `FILE:LINE: WHY`.
    pub fn of(&self, path: &Path) -> String {
        let (path, why) = (path.display(), &self.why);
        match self.line {
            Some(line) => format!("{path}:{line}: {why}"),
            None => format!("{path}: {why}"),
        }
    }
}

/// Reads a file of UTF-8.
///
/// # Errors
/// The file cannot be read, or which line is no UTF-8.
pub fn read(path: &Path) -> Result<String, NoText> {
    let bytes = std::fs::read(path)
        .map_err(|error| NoText { line: None, why: format!("cannot read it: {error}") })?;
    String::from_utf8(bytes).map_err(|error| {
        let (bytes, at) = (error.as_bytes(), error.utf8_error().valid_up_to());
        let byte = bytes.get(at).copied().unwrap_or_default();
        let why = format!("this is no UTF-8: the byte 0x{byte:02x}; save the file as UTF-8");
        NoText { line: Some(line_of(bytes, at)), why }
    })
}

/// The line in which a byte stands, from 1.
pub fn line_of(text: &[u8], at: usize) -> usize {
    text.iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

/// Whether a line is the beginning of a JSON value: all that is there of a last one without an end
/// when its writer was killed.
pub fn is_beginning(line: &[u8]) -> bool {
    let lacks_more =
        |line: &[u8]| serde_json::from_slice::<IgnoredAny>(line).is_err_and(|error| error.is_eof());
    // A number that ends at its sign, point or exponent is one once there is a digit.
    lacks_more(line) || lacks_more(&[line, b"0"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_utf_8_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for (bytes, line) in [
            (&b"a\nb\xf3\nc"[..], "2: this is no UTF-8: the byte 0xf3;"),
            (b"\xff\xfea\0", "1: "),
            (b"a\r\n\n\xc3", "3: "),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let told = read(&path).unwrap_err().of(&path);
            assert!(told.starts_with(&format!("{}:{line}", path.display())), "{told}");
        }
        assert!(read(dir.path()).unwrap_err().of(&path).contains("cannot read it"));
    }

    #[test]
    fn every_part_of_a_line_is_its_beginning() {
        let line = "{\"at\":5,\"label\":\"é\\u00e9\",\"nodes\":[1,-2.5e3,null,true]}".as_bytes();
        for end in 1..line.len() {
            assert!(is_beginning(&line[..end]), "{end}");
        }
        for whole in [line, b"{\"at\":}", b"{]", b"7 8"] {
            assert!(!is_beginning(whole));
        }
    }
}
