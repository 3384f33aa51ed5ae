//! What the checkers of the lottery look at: the batches that agencies sent, and which of them were in
//! the file of bets each time that somebody looked. Made once for a run, however many properties are
//! judged.
//!
//! The file only grows, but for what a crash tore. So of each look only that is read which the one
//! before had not.

use super::model::{Ask, Asked, Bet, File, Lottery, Told};
use node_lab::check::describe::Short;
use std::collections::{BTreeMap, HashMap};

/// A run, with its batches.
pub(crate) struct Reading {
    pub(super) batches: Vec<Batch>,
    /// What was in the file, look by look.
    pub(super) looks: Vec<Held>,
    /// The documents of each agency's rows with the winning number, at the last look.
    pub(super) winners: BTreeMap<u32, Vec<u64>>,
}

/// Bets that were sent together, once or more often.
pub(super) struct Batch {
    pub(super) agency: u32,
    pub(super) number: u64,
    /// The places of the asks that sent it; there is one.
    pub(super) asks: Vec<usize>,
    /// Those of them that were answered that it is stored.
    pub(super) acknowledged: Vec<usize>,
}

/// What was in the file.
pub(super) struct Held {
    /// How many times each batch is there whole.
    pub(super) whole: Vec<usize>,
    /// Whether something of each batch is there otherwise.
    pub(super) parts: Vec<bool>,
    /// A row that nobody sent.
    pub(super) foreign: Option<String>,
    /// Where the file stops being rows.
    pub(super) torn: Option<String>,
}

impl Batch {
    pub(super) fn bets<'a>(&self, lottery: &'a Lottery) -> &'a [Bet] {
        match self.asks.first().map(|ask| &lottery.asks[*ask].ask) {
            Some(Asked::Bets { bets, .. }) => bets,
            Some(Asked::Finished | Asked::Results) | None => &[],
        }
    }

    pub(super) fn name(&self, lottery: &Lottery) -> String {
        let (agency, number) = (self.agency, self.number);
        let document = self.bets(lottery).first().map_or(0, |bet| bet.document);
        format!("agency {agency}'s batch {number}, from document {document} on,")
    }
}

/// The batch of each bet, and its place there. Only looked up: its order shows nowhere.
type Places<'a> = HashMap<&'a Bet, (usize, usize)>;

impl Reading {
    /// Sorts a run; an error says why its file cannot be understood.
    pub(super) fn new(lottery: &Lottery) -> Result<Reading, String> {
        let (batches, places) = sort(lottery)?;
        let lengths: Vec<usize> = batches.iter().map(|batch| batch.bets(lottery).len()).collect();
        let mut sheet = Sheet::default();
        let mut looks = Vec::new();
        let mut seen = "";
        for File { text, .. } in &lottery.files {
            sheet.read_on(seen, text, &places);
            looks.push(sheet.held(&lengths));
            seen = text;
        }
        let mut winners: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for row in sheet.rows.iter().filter(|row| row.number == lottery.winning_number) {
            winners.entry(row.agency).or_default().push(row.document);
        }
        Ok(Reading { batches, looks, winners })
    }
}

fn sort(lottery: &Lottery) -> Result<(Vec<Batch>, Places<'_>), String> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut known: BTreeMap<(u32, u64, &[Bet]), usize> = BTreeMap::new();
    let mut places = Places::new();
    for (at, Ask { agency, ask, answer, .. }) in lottery.asks.iter().enumerate() {
        let Asked::Bets { batch: number, bets } = ask else { continue };
        let next = batches.len();
        let place = *known.entry((*agency, *number, bets)).or_insert(next);
        if place == next {
            let (agency, number) = (*agency, *number);
            batches.push(Batch { agency, number, asks: Vec::new(), acknowledged: Vec::new() });
            for (row, bet) in bets.iter().enumerate() {
                if places.insert(bet, (place, row)).is_some() {
                    let (agency, document) = (bet.agency, bet.document);
                    return Err(format!(
                        "agency {agency} has the same bet, of {document}, in two places: which \
                         of them is stored cannot be told"
                    ));
                }
            }
        }
        batches[place].asks.push(at);
        let told = answer.as_ref().map(|answer| &answer.told);
        if let Some(Told::Stored(_)) = told {
            batches[place].acknowledged.push(at);
        }
    }
    Ok((batches, places))
}

/// The rows of a file, up to what is none.
#[derive(Default)]
struct Sheet {
    rows: Vec<Row>,
    torn: Option<String>,
}

struct Row {
    /// Its batch, and its place there; none for one that nobody sent.
    place: Option<(usize, usize)>,
    agency: u32,
    document: u64,
    number: u32,
    /// Where in the file it ends.
    end: usize,
    /// What nobody sent.
    foreign: Option<String>,
}

impl Sheet {
    /// Goes on from the rows of `seen` to those of `text`: what both have is known.
    fn read_on(&mut self, seen: &str, text: &str, places: &Places<'_>) {
        let same = common_prefix(seen.as_bytes(), text.as_bytes());
        // A row that has its end is what it is, whatever follows.
        let is_known = |row: &Row| row.end <= same && text.as_bytes()[..row.end].ends_with(b"\n");
        self.rows.truncate(self.rows.partition_point(is_known));
        self.torn = None;
        let start = self.rows.last().map_or(0, |row| row.end);
        let rest = &text[start..];
        if rest.is_empty() {
            return;
        }
        let mut builder = csv::ReaderBuilder::new();
        let mut reader = builder.has_headers(false).flexible(true).from_reader(rest.as_bytes());
        // The reader would take a mark for the file's own.
        let is_marked = rest.starts_with('\u{feff}');
        let (mut record, mut bet) = (csv::StringRecord::new(), no_bet());
        loop {
            let read = reader.read_record(&mut record);
            if let Ok(false) = read {
                break;
            }
            if is_marked || read.is_err() || fill(&mut bet, &record).is_none() {
                self.torn = Some(format!("row {} is no bet", self.rows.len() + 1));
                return;
            }
            let place = places.get(&bet).copied();
            let foreign = place.is_none().then(|| Short(&format!("{bet:?}")).to_string());
            let end = start + usize::try_from(reader.position().byte()).unwrap_or(usize::MAX);
            let Bet { agency, document, number, .. } = bet;
            self.rows.push(Row { place, agency, document, number, end, foreign });
        }
        if !text.ends_with('\n') {
            self.torn = Some("the last has no end".into());
        }
    }

    /// What of batches with so many bets is there.
    fn held(&self, lengths: &[usize]) -> Held {
        let mut whole = vec![0; lengths.len()];
        let mut parts = vec![false; lengths.len()];
        let mut foreign = None;
        let mut at = 0;
        while let Some(row) = self.rows.get(at) {
            let Some((place, first)) = row.place else {
                foreign = foreign.or_else(|| row.foreign.clone());
                at += 1;
                continue;
            };
            let following = self.rows[at..].iter().zip(0..lengths[place]);
            let whole_rows = following.take_while(|(row, nth)| row.place == Some((place, *nth)));
            if first == 0 && whole_rows.count() == lengths[place] {
                whole[place] += 1;
                at += lengths[place];
            } else {
                parts[place] = true;
                at += 1;
            }
        }
        Held { whole, parts, foreign, torn: self.torn.clone() }
    }
}

fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    let most = one.len().min(other.len());
    if one[..most] == other[..most] {
        return most;
    }
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

fn no_bet() -> Bet {
    let (name, surname, birthdate) = (String::new(), String::new(), String::new());
    Bet { agency: 0, name, surname, document: 0, birthdate, number: 0 }
}

/// Makes a bet that of a row; none when it is no bet.
fn fill(bet: &mut Bet, record: &csv::StringRecord) -> Option<()> {
    let mut fields = record.iter();
    let mut field = || fields.next();
    let put = |text: &mut String, field: &str| {
        text.clear();
        text.push_str(field);
    };
    bet.agency = field()?.parse().ok()?;
    put(&mut bet.name, field()?);
    put(&mut bet.surname, field()?);
    bet.document = field()?.parse().ok()?;
    put(&mut bet.birthdate, field()?);
    bet.number = field()?.parse().ok()?;
    (record.len() == 6).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = "1,Ana,Paz,10,2000-01-01,1\n1,\"two\nlines\",Paz,11,2000-01-01,2\n";

    fn rows(sheet: &Sheet) -> Vec<(u64, bool, usize)> {
        sheet.rows.iter().map(|row| (row.document, row.place.is_some(), row.end)).collect()
    }

    /// Going on from any other look gives what a look at the whole gives.
    #[test]
    fn what_was_seen_before_changes_nothing() {
        let bet = |name: &str, document, number| {
            let (name, surname, birthdate) = (name.into(), "Paz".into(), "2000-01-01".into());
            Bet { agency: 1, name, surname, document, birthdate, number }
        };
        let bets = [bet("Ana", 10, 1), bet("two\nlines", 11, 2)];
        let places: Places<'_> = bets.iter().zip([(0, 0), (0, 1)]).collect();
        let mut texts: Vec<String> =
            (0..=SENT.len()).step_by(6).map(|cut| SENT[..cut].into()).collect();
        texts.push([SENT, "2,Eva,Paz,3,2000-01-01,3\n"].concat());
        texts.push([SENT, "\n\n2,Eva,Paz,3,2000-01-01,3\n"].concat());
        texts.push([SENT, "\u{feff}2,Eva,Paz,3,2000-01-01,3\n"].concat());
        texts.push(SENT.replace('\n', "\r\n"));
        texts.push(SENT.replacen('\n', "\r", 1));
        for seen in &texts {
            for text in &texts {
                let (mut fresh, mut sheet) = (Sheet::default(), Sheet::default());
                fresh.read_on("", text, &places);
                sheet.read_on("", seen, &places);
                sheet.read_on(seen, text, &places);
                assert_eq!(rows(&sheet), rows(&fresh), "{seen:?}, then {text:?}");
                assert_eq!(sheet.torn, fresh.torn, "{seen:?}, then {text:?}");
            }
        }
    }
}
