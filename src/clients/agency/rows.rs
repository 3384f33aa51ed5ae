//! The file of an agency's bets, read as it is sent.

use crate::client::escaped;
use node_protocols::lottery::{BadRow, Chunk, Rows};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// How much is read at a time.
const READ_BYTES: usize = 64 << 10;

pub(super) struct BetsFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    rows: Rows,
    /// What was read, and which part of it is in no row yet.
    buffer: Vec<u8>,
    unused: std::ops::Range<usize>,
    is_end: bool,
}

impl BetsFile {
    pub(super) fn open(path: &Path, agency: u32, per_chunk: usize) -> Result<BetsFile, String> {
        let open = || {
            // Before it is opened: a pipe that nobody writes to would never let go.
            let metadata = fs::metadata(path)?;
            if !metadata.is_file() {
                return Err(io::Error::other("it is no file"));
            }
            Ok((File::open(path)?, metadata.len()))
        };
        let (file, bytes) = open().map_err(|error| format!("{}: {error}", show(path)))?;
        Ok(BetsFile {
            path: path.to_owned(),
            file,
            bytes,
            rows: Rows::new(agency, per_chunk),
            buffer: vec![0; READ_BYTES],
            unused: 0..0,
            is_end: false,
        })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next bets to send together; none when there are no more. An error has the place in the
    /// file, and the rows before it that are in no chunk yet stay in none.
    pub(super) fn next_chunk(&mut self) -> Result<Option<Chunk>, String> {
        loop {
            if self.unused.is_empty() && !self.is_end {
                let read = self.file.read(&mut self.buffer);
                let read = read.map_err(|error| format!("{}: {error}", show(&self.path)))?;
                self.unused = 0..read;
                self.is_end = read == 0;
            }
            let mut rest = &self.buffer[self.unused.clone()];
            let next = self.rows.next(&mut rest);
            self.unused.start = self.unused.end - rest.len();
            let next = next.map_err(|BadRow { line, fault }| {
                format!("{}:{line}: {fault}", show(&self.path))
            })?;
            if next.is_some() || self.is_end {
                return Ok(next);
            }
        }
    }

    /// Where the rows of a chunk are, for whoever looks for what is wrong with them.
    pub(super) fn place_of(&self, chunk: &Chunk) -> String {
        let Chunk { first_line, last_line, .. } = chunk;
        format!(" ({}, lines {first_line} to {last_line})", show(&self.path))
    }
}

fn show(path: &Path) -> String {
    escaped(path.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use node_protocols::core::{Decoded, Gateway};
    use node_protocols::lottery::{Bet, LotteryText, MAX_CHUNK_BYTES, Request};
    use std::fmt::Write;
    use std::io::Seek;
    use tempfile::TempDir;

    fn open(bytes: &[u8], per_batch: usize) -> (TempDir, BetsFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bets.csv");
        std::fs::write(&path, bytes).unwrap();
        let rows = BetsFile::open(&path, 1, per_batch).unwrap();
        (dir, rows)
    }

    /// The bets of each batch, and the error that ended it.
    fn batches(rows: &mut BetsFile) -> (Vec<Vec<Bet<'static>>>, Option<String>) {
        let mut all = Vec::new();
        loop {
            match rows.next_chunk() {
                Ok(Some(chunk)) => all.push(chunk.bets),
                Ok(None) => return (all, None),
                Err(error) => return (all, Some(error)),
            }
        }
    }

    fn read(bytes: &[u8], per_batch: usize) -> (Vec<Vec<Bet<'static>>>, Option<String>) {
        batches(&mut open(bytes, per_batch).1)
    }

    #[test]
    fn rows_are_read_with_either_line_end_and_with_quotes() {
        let lf = "Zoë,\"O\"\"Neil, \n1\",12,1999-03-17,2201\nA,B,13,2000-02-29,7\n";
        let (expected, none) = read(lf.as_bytes(), 50);
        assert_eq!((expected.len(), none), (1, None));
        assert_eq!(expected[0][0].surname, "O\"Neil, \n1");
        assert_eq!(expected[0][1].document, 13);
        let crlf = lf.replace("2201\n", "2201\r\n\r\n").replace("7\n", "7");
        assert_eq!(read(crlf.as_bytes(), 50), (expected, None));
        assert_eq!(read(b"", 50), (vec![], None));
        assert_eq!(read(b"\r\n\n", 50), (vec![], None));
    }

    #[test]
    fn a_bad_row_is_named_by_its_line_and_ends_the_batches() {
        let good = "A,B,13,2000-02-29,7";
        let long = format!("{},B,1,2000-01-01,1", "é".repeat(600));
        for (bad, words) in [
            ("A,B,13,2000-02-29", "this one has 4 fields"),
            ("A,B,13,2000-02-29,7,8", "this one has 6 fields"),
            (",B,13,2000-02-29,7", "a name has 1 to 1024 bytes"),
            (&long, "a name has 1 to 1024 bytes"),
            ("A,B,-13,2000-02-29,7", "the document is digits, and not too many: \"-13\""),
            ("A,B,99999999999999999999,2000-02-29,7", "not too many"),
            (
                "A,B,013,2000-02-29,7",
                "the document has leading zeros, which would be lost: \"013\"",
            ),
            ("A,B,13,2001-02-29,7", "a day of the calendar"),
            ("A,B,13,2000-02-29,4294967296", "the number is digits"),
            ("A,B,\x1b[2J,2000-02-29,7", "\"\\u{1b}[2J\""),
            ("\"A,B,13,2000-02-29,7", "this one has 1 fields"),
        ] {
            for end in ["\n", "\r\n"] {
                let file = format!("{good}{end}{good}{end}{end}{good}{end}{bad}{end}");
                let (batches, error) = read(file.as_bytes(), 2);
                assert_eq!(batches.len(), 1, "the row beside the bad one is in no batch");
                let error = error.unwrap();
                assert!(error.contains(words), "{error}");
                assert!(error.contains("bets.csv:5: "), "{error}");
            }
        }
        let (_, error) = read(b"A,\xff,13,2000-02-29,7\n", 2);
        assert!(error.unwrap().contains("bets.csv:1: a field is no UTF-8: \"\\xff\""));
    }

    /// At the beginning of a file it says that this is UTF-8, and is no part of it; inside, files
    /// were joined.
    #[test]
    fn a_byte_order_mark_inside_a_file_is_refused_with_its_line() {
        let row = "A,B,13,2000-02-29,7\n";
        let (marked, none) = read(format!("\u{feff}\"A\"{}", &row[1..]).as_bytes(), 50);
        assert_eq!((marked[0][0].name.as_ref(), none), ("A", None));
        for bad in [
            "\u{feff}\"Eva\",Paz,2,2000-01-01,75\n",
            "\u{feff}Eva,Paz,2,2000-01-01,75\n",
            "Eva,\u{feff}Paz,2,2000-01-01,75\n",
            "Eva,\"Paz\u{feff}\",2,2000-01-01,75\n",
            "Eva,Paz,\u{feff}2,2000-01-01,75\n",
            "\u{feff}\n",
            "\u{feff}",
        ] {
            for head in ["", "\u{feff}"] {
                let (batches, error) = read(format!("{head}{row}{row}{bad}{row}").as_bytes(), 2);
                assert_eq!(batches.len(), 1, "{bad}");
                let error = error.unwrap();
                assert!(error.contains("bets.csv:3: "), "{bad}: {error}");
            }
        }
        let (_, error) = read(format!("{row}\u{feff}\"Eva\",Paz,2,2000-01-01,75\n").as_bytes(), 2);
        assert!(error.unwrap().contains("bets.csv:2: a name has a byte order mark (U+FEFF)"));
    }

    #[test]
    fn a_quote_without_an_end_never_takes_the_file_into_memory() {
        let mut file = String::from("A,B,13,2000-02-29,7\n\"");
        for _ in 0..100_000 {
            file.push_str("A,B,13,2000-02-29,7\n");
        }
        let (dir, mut rows) = open(file.as_bytes(), 1);
        let (batches, error) = batches(&mut rows);
        assert_eq!(batches.len(), 1);
        let error = error.unwrap();
        assert!(error.contains("bets.csv:2: a row of more than 65536 bytes"), "{error}");
        assert!(rows.file.stream_position().unwrap() < 3 * READ_BYTES as u64);
        drop(dir);
    }

    #[test]
    fn batches_fit_into_a_message_of_the_text_wire_and_lose_nothing() {
        let mut file = String::new();
        for row in 0_u64..400 {
            let name = "ñ".repeat(1 + (row as usize * 37) % 500);
            writeln!(file, "{name},B,{},1999-03-17,{}", row * row * row, row % 11).unwrap();
        }
        let (batches, error) = read(file.as_bytes(), 50);
        assert_eq!(error, None);
        let documents: Vec<u64> = batches.iter().flatten().map(|bet| bet.document).collect();
        assert_eq!(documents, (0..400).map(|row| row * row * row).collect::<Vec<u64>>());
        let mut texts = Vec::new();
        for bets in &batches {
            let mut text = String::from("B");
            for (place, bet) in bets.iter().enumerate() {
                let Bet { agency, name, surname, document, birthdate, number } = bet;
                let comma = if place == 0 { "" } else { "," };
                write!(text, "{comma}{{PlayerName:{name},PlayerSurname:{surname},PlayerDocID:{document},PlayerDateOfBirth:{birthdate},WageredNumber:{number},AgencyID:{agency}}}").unwrap();
            }
            text.push(';');
            assert!(text.len() <= MAX_CHUNK_BYTES && bets.len() <= 50);
            let mut gateway = LotteryText::default();
            match gateway.decode(text.as_bytes(), true, &mut Vec::new()) {
                Decoded::Request { used, request } => {
                    assert_eq!(used, text.len());
                    assert_eq!(request, Request::Bets { batch: 0, bets: bets.clone() });
                }
                other => panic!("{other:?}"),
            }
            texts.push(text);
        }
        for two in texts.windows(2) {
            // What was put off would not have fitted.
            let first = two[1].find("},{").map_or(two[1].len() - 2, |end| end);
            let full = two[0].matches("PlayerName:").count() == 50;
            assert!(full || two[0].len() + 1 + first > MAX_CHUNK_BYTES);
        }
    }
}
