//! The rows of an agency's file, and the chunks that they are cut into. How they are cut depends on the
//! rows alone: a chunk that is read again is the same.

use super::bet::has_leading_zeros;
use super::text::{FRAME_BYTES, text_bytes};
use super::{Bet, MAX_CHUNK_BYTES};
use crate::core::Escaped;
use ::core::str::FromStr;
use alloc::borrow::{Cow, ToOwned};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use csv_core::{ReadRecordResult, Reader};

/// A row that is longer is none: somewhere a quote has no end. Memory never holds more of the file.
const MAX_ROW_BYTES: usize = 64 << 10;

/// Bets that are sent together, and where in the file they are.
#[derive(Default, Debug)]
pub struct Chunk {
    /// The bets.
    pub bets: Vec<Bet<'static>>,
    /// The line in which the first row begins, from 1.
    pub first_line: u64,
    /// The line in which the last row begins.
    pub last_line: u64,
    /// How many bytes the file has up to the end of the last row.
    pub end: u64,
    /// How long a message with the bets is.
    text_bytes: usize,
}

/// A row that is none. The rows before it that are in no chunk yet stay in none.
#[derive(Debug)]
pub struct BadRow {
    /// The line in which it begins, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub fault: String,
}

/// Cuts a file, which comes in pieces, into chunks.
pub struct Rows {
    agency: u32,
    per_chunk: usize,
    chunk: Chunk,
    /// Read, but too much for the chunk before.
    carried: Option<Row>,
    reader: Reader,
    /// The fields of the row under way, one behind the other, and where each ends.
    fields: Vec<u8>,
    ends: Vec<usize>,
    /// How much of both is in use.
    filled: usize,
    ended: usize,
    /// How many bytes of the row under way have come, and in which line it begins.
    row_bytes: usize,
    row_line: u64,
    /// What has come: bytes, and the line that they end in.
    taken: u64,
    line: u64,
}

struct Row {
    bet: Bet<'static>,
    line: u64,
    end: u64,
}

enum Step {
    Row(Row),
    /// The input has no whole row.
    Short,
    End,
}

impl Rows {
    /// For the file of an agency, from its beginning; a chunk has at most `per_chunk` bets, and fits
    /// into a message of the text wire.
    pub fn new(agency: u32, per_chunk: usize) -> Rows {
        Rows {
            agency,
            per_chunk,
            chunk: Chunk::default(),
            carried: None,
            reader: Reader::new(),
            fields: alloc::vec![0; 1 << 10],
            ends: alloc::vec![0; 2 * FIELDS],
            filled: 0,
            ended: 0,
            row_bytes: 0,
            row_line: 1,
            taken: 0,
            line: 1,
        }
    }

    /// Takes from `input` up to the end of the next chunk, which it answers; none when the input ends
    /// before. No input at all is the file's end: then the last chunk comes, and none after it.
    ///
    /// # Errors
    /// Which row is none.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Chunk>, BadRow> {
        // Input that ends with a row is no end of the file.
        let is_end = input.is_empty();
        loop {
            let row = match self.carried.take() {
                Some(row) => row,
                None => match self.row(input, is_end)? {
                    Step::Row(row) => row,
                    Step::Short => return Ok(None),
                    Step::End => return Ok(self.cut()),
                },
            };
            let chunk = &mut self.chunk;
            let is_first = chunk.bets.is_empty();
            let more = text_bytes(&row.bet) + if is_first { FRAME_BYTES } else { ",".len() };
            if !is_first && chunk.text_bytes + more > MAX_CHUNK_BYTES {
                self.carried = Some(row);
                return Ok(self.cut());
            }
            if is_first {
                chunk.first_line = row.line;
            }
            chunk.text_bytes += more;
            (chunk.last_line, chunk.end) = (row.line, row.end);
            chunk.bets.push(row.bet);
            if chunk.bets.len() >= self.per_chunk {
                return Ok(self.cut());
            }
        }
    }

    fn cut(&mut self) -> Option<Chunk> {
        let chunk = ::core::mem::take(&mut self.chunk);
        (!chunk.bets.is_empty()).then_some(chunk)
    }

    fn row(&mut self, input: &mut &[u8], is_end: bool) -> Result<Step, BadRow> {
        if self.row_bytes == 0 {
            // Empty lines are no rows, and what is wrong with a row is told by where it begins.
            let blank = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            self.take(input, blank);
            self.row_line = self.line;
        }
        loop {
            let part = &input[..input.len().min(MAX_ROW_BYTES - self.row_bytes)];
            if part.is_empty() && !input.is_empty() {
                let fault =
                    format!("a row of more than {MAX_ROW_BYTES} bytes; is a quote missing?");
                return Err(BadRow { line: self.row_line, fault });
            }
            if part.is_empty() && !is_end {
                return Ok(Step::Short);
            }
            let (fields, ends) = (&mut self.fields[self.filled..], &mut self.ends[self.ended..]);
            let (result, read, filled, ended) = self.reader.read_record(part, fields, ends);
            self.take(input, read);
            self.row_bytes += read;
            self.filled += filled;
            self.ended += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                // Neither outgrows the row.
                ReadRecordResult::OutputFull => self.fields.resize(2 * self.fields.len(), 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(2 * self.ends.len(), 0),
                ReadRecordResult::Record => return self.whole_row().map(Step::Row),
                ReadRecordResult::End => return Ok(Step::End),
            }
        }
    }

    fn take(&mut self, input: &mut &[u8], bytes: usize) {
        let (taken, rest) = input.split_at(bytes);
        self.line += taken.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.taken += bytes as u64;
        *input = rest;
    }

    fn whole_row(&mut self) -> Result<Row, BadRow> {
        // A row of five fields is the usual case, and needs no memory of its own.
        let mut fields = [&b""[..]; FIELDS];
        let mut start = 0;
        for (field, end) in fields.iter_mut().zip(&self.ends[..self.ended]) {
            *field = &self.fields[start..*end];
            start = *end;
        }
        let bet = match self.ended {
            FIELDS => bet_of(self.agency, &fields),
            count => Err(format!("a row is {FORM}; this one has {count} fields")),
        };
        (self.filled, self.ended, self.row_bytes) = (0, 0, 0);
        let (line, end) = (self.row_line, self.taken);
        bet.map(|bet| Row { bet, line, end }).map_err(|fault| BadRow { line, fault })
    }
}

const FIELDS: usize = 5;
const FORM: &str = "name,surname,document,birthdate,number";

/// The bet that these fields of a row are: name, surname, document, birthdate, number; or what is wrong
/// with them. How high numbers go is for the central to say.
///
/// # Errors
/// What is wrong with the row.
pub fn bet_of(agency: u32, fields: &[&[u8]]) -> Result<Bet<'static>, String> {
    let &[name, surname, document, birthdate, number] = fields else {
        return Err(format!("a row is {FORM}"));
    };
    let text = |bytes: &[u8]| match str::from_utf8(bytes) {
        Ok(text) => Ok(Cow::Owned(text.to_owned())),
        Err(_) => Err(format!("a field is no UTF-8: \"{}\"", beginning(bytes))),
    };
    if has_leading_zeros(document) {
        let document = beginning(document);
        return Err(format!("the document has leading zeros, which would be lost: \"{document}\""));
    }
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
fn digits<T: FromStr>(field: &[u8], name: &str) -> Result<T, String> {
    let plain = !field.is_empty() && field.iter().all(u8::is_ascii_digit);
    let parsed = str::from_utf8(field).ok().and_then(|text| text.parse().ok());
    parsed
        .filter(|_| plain)
        .ok_or_else(|| format!("the {name} is digits, and not too many: \"{}\"", beginning(field)))
}

/// As much of a field as there is room for in a line.
fn beginning(field: &[u8]) -> Escaped<'_> {
    Escaped(field.get(..40).unwrap_or(field))
}
