//! The file of an agency's bets, read as it is sent and cut into batches. How it is cut depends on
//! the rows alone: a batch that is read again is the same.

use crate::client::escaped;
use csv::{ByteRecord, Reader, ReaderBuilder};
use node_protocols::lottery::{Bet, MAX_MESSAGE_BYTES};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// A row that is longer is none: somewhere a quote has no end. Memory never holds more of the file.
const MAX_ROW_BYTES: usize = 64 << 10;

/// Bets that are sent together, and where in the file they are.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) bets: Vec<Bet<'static>>,
    /// Where the first row begins.
    start: u64,
    /// Where the last row begins.
    last: u64,
    /// Where the last row ends.
    pub(super) end: u64,
}

pub(super) struct Rows {
    path: PathBuf,
    agency: u32,
    per_batch: usize,
    file_bytes: u64,
    reader: Reader<Bounded>,
    record: ByteRecord,
    /// Read, but too much for the batch before, with where its row begins and ends.
    carried: Option<(Bet<'static>, u64, u64)>,
}

impl Rows {
    pub(super) fn open(path: &Path, agency: u32, per_batch: usize) -> Result<Rows, String> {
        let open = || {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Err(io::Error::other("it is no file"));
            }
            Ok((file, metadata.len()))
        };
        let (file, file_bytes) = open().map_err(|error| format!("{}: {error}", show(path)))?;
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(MAX_ROW_BYTES)
            .from_reader(Bounded { file, left: MAX_ROW_BYTES });
        let path = path.to_owned();
        let (record, carried) = (ByteRecord::new(), None);
        Ok(Rows { path, agency, per_batch, file_bytes, reader, record, carried })
    }

    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Fills `batch` with the next bets; false when there are no more. An error has the place in the
    /// file, and the rows before it that are in no batch yet stay in none.
    pub(super) fn next_batch(&mut self, batch: &mut Batch) -> Result<bool, String> {
        batch.bets.clear();
        // The kind and the end; each bet but the first has a comma.
        let mut bytes = "B;".len();
        while batch.bets.len() < self.per_batch {
            let Some((bet, start, end)) = self.next_bet()? else { break };
            let more = text_bytes(&bet) + usize::from(!batch.bets.is_empty());
            if bytes + more > MAX_MESSAGE_BYTES && !batch.bets.is_empty() {
                self.carried = Some((bet, start, end));
                break;
            }
            if batch.bets.is_empty() {
                batch.start = start;
            }
            bytes += more;
            (batch.last, batch.end) = (start, end);
            batch.bets.push(bet);
        }
        Ok(!batch.bets.is_empty())
    }

    /// Where the rows of a batch are, for whoever looks for what is wrong with them.
    pub(super) fn place_of(&self, batch: &Batch) -> String {
        let (first, last) = (self.line(batch.start), self.line(batch.last));
        format!(" ({}, lines {first} to {last})", show(&self.path))
    }

    fn next_bet(&mut self) -> Result<Option<(Bet<'static>, u64, u64)>, String> {
        if let Some(carried) = self.carried.take() {
            return Ok(Some(carried));
        }
        let start = self.reader.position().byte();
        self.reader.get_mut().left = MAX_ROW_BYTES;
        let read = match self.reader.read_byte_record(&mut self.record) {
            Ok(false) => return Ok(None),
            Ok(true) => {
                // A row of five fields is the usual case, and needs no memory of its own.
                let mut fields = [&b""[..]; FIELDS];
                let count = self.record.len();
                fields.iter_mut().zip(&self.record).for_each(|(field, value)| *field = value);
                match count {
                    FIELDS => bet_of(self.agency, &fields),
                    _ => Err(format!("a row is {FORM}; this one has {count} fields")),
                }
            }
            Err(error) => Err(match error.into_kind() {
                csv::ErrorKind::Io(error) => error.to_string(),
                _ => "it cannot be read".into(),
            }),
        };
        let end = self.reader.position().byte();
        let placed = |fault| format!("{}:{}: {fault}", show(&self.path), self.line(start));
        read.map(|bet| Some((bet, start, end))).map_err(placed)
    }

    /// The number of the line in which the first row from `byte` on begins. The file is read again:
    /// the reader counts line ends only as it comes past them.
    fn line(&self, byte: u64) -> u64 {
        line_from(&self.path, byte).unwrap_or(0)
    }
}

fn line_from(path: &Path, byte: u64) -> io::Result<u64> {
    let mut file = BufReader::with_capacity(MAX_ROW_BYTES, File::open(path)?);
    let (mut at, mut line) = (0, 1);
    loop {
        let chunk = file.fill_buf()?;
        for found in chunk {
            if at >= byte && !matches!(found, b'\r' | b'\n') {
                return Ok(line);
            }
            line += u64::from(*found == b'\n');
            at += 1;
        }
        let read = chunk.len();
        if read == 0 {
            return Ok(line);
        }
        file.consume(read);
    }
}

fn show(path: &Path) -> String {
    escaped(path.as_os_str().as_encoded_bytes())
}

const FIELDS: usize = 5;
const FORM: &str = "name,surname,document,birthdate,number";

/// The bet that these fields of a row are, in the order of [`FORM`]; or what is wrong with them.
/// How high numbers go is for the central to say.
pub(super) fn bet_of(agency: u32, fields: &[&[u8]]) -> Result<Bet<'static>, String> {
    let &[name, surname, document, birthdate, number] = fields else {
        return Err(format!("a row is {FORM}"));
    };
    let text = |bytes: &[u8]| match str::from_utf8(bytes) {
        Ok(text) => Ok(Cow::Owned(text.to_owned())),
        Err(_) => Err(format!("a field is no UTF-8: \"{}\"", beginning(bytes))),
    };
    let bet = Bet {
        agency,
        name: text(name)?,
        surname: text(surname)?,
        document: digits(document, "document")?,
        birthdate: text(birthdate)?,
        number: digits(number, "number")?,
    };
    match bet.fault(u32::MAX) {
        Some(fault) => Err(fault.into()),
        None => Ok(bet),
    }
}

/// Digits alone: no sign, no space.
fn digits<T: std::str::FromStr>(field: &[u8], name: &str) -> Result<T, String> {
    let plain = !field.is_empty() && field.iter().all(u8::is_ascii_digit);
    let parsed = str::from_utf8(field).ok().and_then(|text| text.parse().ok());
    parsed
        .filter(|_| plain)
        .ok_or_else(|| format!("the {name} is digits, and not too many: \"{}\"", beginning(field)))
}

/// As much of a field as there is room for in a line.
fn beginning(field: &[u8]) -> String {
    escaped(field.get(..40).unwrap_or(field))
}

/// How long a bet is on the text wire.
fn text_bytes(bet: &Bet<'_>) -> usize {
    const NAMES: &str =
        "{PlayerName:,PlayerSurname:,PlayerDocID:,PlayerDateOfBirth:,WageredNumber:,AgencyID:}";
    let length = |number: u64| number.checked_ilog10().unwrap_or(0) as usize + 1;
    let numbers = length(bet.document) + length(bet.number.into()) + length(bet.agency.into());
    NAMES.len() + bet.name.len() + bet.surname.len() + bet.birthdate.len() + numbers
}

/// A file of which no more than `left` bytes are given out.
struct Bounded {
    file: File,
    left: usize,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let why = "a row of more than 65536 bytes; is a quote missing?";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let room = buffer.len().min(self.left);
        let read = self.file.read(&mut buffer[..room])?;
        self.left -= read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use node_protocols::core::{Decoded, Gateway};
    use node_protocols::lottery::{LotteryText, Request};
    use std::fmt::Write;
    use tempfile::TempDir;

    fn open(bytes: &[u8], per_batch: usize) -> (TempDir, Rows) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bets.csv");
        std::fs::write(&path, bytes).unwrap();
        let rows = Rows::open(&path, 1, per_batch).unwrap();
        (dir, rows)
    }

    /// The bets of each batch, and the error that ended it.
    fn batches(rows: &mut Rows) -> (Vec<Vec<Bet<'static>>>, Option<String>) {
        let mut all = Vec::new();
        let mut batch = Batch::default();
        loop {
            match rows.next_batch(&mut batch) {
                Ok(true) => all.push(std::mem::take(&mut batch.bets)),
                Ok(false) => return (all, None),
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
        assert!(rows.reader.position().byte() < 3 * MAX_ROW_BYTES as u64);
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
                let start = text.len() + comma.len();
                write!(text, "{comma}{{PlayerName:{name},PlayerSurname:{surname},PlayerDocID:{document},PlayerDateOfBirth:{birthdate},WageredNumber:{number},AgencyID:{agency}}}").unwrap();
                assert_eq!(text.len() - start, text_bytes(bet));
            }
            text.push(';');
            assert!(text.len() <= MAX_MESSAGE_BYTES && bets.len() <= 50);
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
            assert!(full || two[0].len() + 1 + first > MAX_MESSAGE_BYTES);
        }
    }
}
