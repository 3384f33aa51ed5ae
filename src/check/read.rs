//! Reading histories: JSON lines in, or which line is wrong and why. Knows no property.

use super::history::{Board, Kind, Lottery, Op, Outcome, Record, Replica};
use super::{History, by_client};
use crate::text::is_beginning;
use std::fmt;
use std::io::{self, BufRead, Read};

/// The longest line, in bytes: the longest value that a store takes by default, with every byte
/// escaped, and room for the key.
const MAX_LINE_BYTES: u64 = 8 << 20;

/// Why a history cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// The source failed.
    Io(io::Error),
    /// A line is none of a history.
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Io(error) => write!(f, "{error}"),
            ReadError::Line { line, why } => write!(f, "line {line}: {why}"),
        }
    }
}

impl std::error::Error for ReadError {}

impl History {
    /// Reads JSON lines, blank ones skipped. Every operation must make sense by itself, and no
    /// client's operations may overlap.
    pub fn read(input: impl BufRead) -> Result<History, ReadError> {
        match History::read_part(input)? {
            (history, None) => Ok(history),
            (_, Some(line)) => {
                Err(ReadError::Line { line, why: "no JSON object: it is cut off".into() })
            }
        }
    }

    /// As [`read`](History::read), but of a last line whose writer was killed the beginning may be
    /// there: that is left out, and its number comes with the history.
    pub fn read_part(mut input: impl BufRead) -> Result<(History, Option<usize>), ReadError> {
        let mut history = History::default();
        let (mut lines, mut cut) = (Vec::new(), None);
        let mut buffer = Vec::new();
        for line in 1.. {
            let error = |why: String| ReadError::Line { line, why };
            buffer.clear();
            let mut limited = (&mut input).take(MAX_LINE_BYTES);
            let n = limited.read_until(b'\n', &mut buffer).map_err(ReadError::Io)?;
            if n == 0 {
                break;
            }
            if n as u64 == MAX_LINE_BYTES && buffer.last() != Some(&b'\n') {
                return Err(error(format!("longer than {MAX_LINE_BYTES} bytes")));
            }
            let text = buffer.trim_ascii();
            if text.is_empty() {
                continue;
            }
            if buffer.last() != Some(&b'\n') && is_beginning(text) {
                cut = Some(line);
                break;
            }
            match parse(text).map_err(error)? {
                Record::Op(op) => {
                    check_op(&op).map_err(|why| error(why.into()))?;
                    history.ops.push(op);
                    lines.push(line);
                }
                Record::Replica(replica) => history.replicas.push(replica),
                Record::Lottery(lottery) => {
                    check_lottery(&lottery).map_err(|why| error(why.into()))?;
                    join(&mut history.lottery, lottery);
                }
                Record::Board(board) => join_boards(&mut history.board, board),
            }
        }
        check_clients(&history.ops, &lines)?;
        Ok((history, cut))
    }

    /// Joins histories of one run. Clients of different histories are different clients: those of
    /// each but the first are numbered on from the greatest before. Also says by how much each
    /// history's numbers were moved.
    pub fn merge(histories: impl IntoIterator<Item = History>) -> (History, Vec<u64>) {
        let mut merged = History::default();
        let mut moved = Vec::new();
        let mut next = 0_u64;
        for history in histories {
            let shift = next;
            moved.push(shift);
            for mut op in history.ops {
                // Only absurd numbers come near the end; two of them may then fall together.
                op.client = op.client.saturating_add(shift);
                next = next.max(op.client.saturating_add(1));
                merged.ops.push(op);
            }
            merged.replicas.extend(history.replicas);
            if let Some(lottery) = history.lottery {
                join(&mut merged.lottery, lottery);
            }
            if let Some(board) = history.board {
                join_boards(&mut merged.board, board);
            }
            merged.timeline.extend(history.timeline);
        }
        (merged, moved)
    }
}

/// As [`Record`], with an error that says what is wrong.
fn parse(text: &[u8]) -> Result<Record, String> {
    serde_json::from_slice(text).or_else(|_| {
        let object: serde_json::Value =
            serde_json::from_slice(text).map_err(|error| format!("no JSON object: {error}"))?;
        let error = if object.get("replica").is_some() {
            serde_json::from_value::<Replica>(object).err()
        } else if object.get("asks").is_some() {
            serde_json::from_value::<Lottery>(object).err()
        } else if object.get("posts").is_some() {
            serde_json::from_value::<Board>(object).err()
        } else {
            serde_json::from_value::<Op>(object).err()
        };
        Err(error.map_or_else(
            || "no operation, no replica, no lottery and no board".into(),
            |error| error.to_string(),
        ))
    })
}

/// Joins parts of one run of the lottery.
fn join(whole: &mut Option<Lottery>, part: Lottery) {
    match whole {
        None => *whole = Some(part),
        Some(whole) => {
            whole.asks.extend(part.asks);
            whole.files.extend(part.files);
            whole.files.sort_by_key(|file| file.at_ns);
            whole.draws.extend(part.draws);
        }
    }
}

/// Joins parts of one run of the board.
fn join_boards(whole: &mut Option<Board>, part: Board) {
    match whole {
        None => *whole = Some(part),
        Some(whole) => {
            whole.posts.extend(part.posts);
            whole.connections.extend(part.connections);
            whole.end_ns = whole.end_ns.max(part.end_ns);
        }
    }
}

/// What a run of the lottery must satisfy by itself.
fn check_lottery(lottery: &Lottery) -> Result<(), &'static str> {
    if !lottery.files.is_sorted_by_key(|file| file.at_ns) {
        return Err("the files are not in the order of time");
    }
    for ask in &lottery.asks {
        if ask.answer.as_ref().is_some_and(|answer| answer.at_ns < ask.invoke_ns) {
            return Err("an answer is before what was asked");
        }
        if !(1..=lottery.agencies).contains(&ask.agency) {
            return Err("there is no such agency");
        }
    }
    Ok(())
}

/// What an operation must satisfy by itself.
fn check_op(op: &Op) -> Result<(), &'static str> {
    if op.return_ns.is_some_and(|end| end < op.invoke_ns) {
        return Err("return_ns is before invoke_ns");
    }
    let fits = match op.outcome {
        Outcome::Ok | Outcome::Unknown => true,
        Outcome::Null | Outcome::TryOther => op.op == Kind::Get,
        Outcome::NotApplied | Outcome::MayStillApply => op.op == Kind::Put,
    };
    if !fits {
        return Err("this operation cannot have this outcome");
    }
    if op.return_ns.is_none() && op.outcome != Outcome::Unknown {
        return Err("an answer without return_ns");
    }
    match (op.op, op.outcome, &op.value) {
        (Kind::Put, _, None) => Err("a put without its value"),
        (Kind::Get, Outcome::Ok, None) => Err("a get that was answered without a value"),
        (Kind::Get, Outcome::Null, Some(_)) => Err("a get that was answered null has a value"),
        _ => Ok(()),
    }
}

/// `lines` has the line of each of `ops`.
fn check_clients(ops: &[Op], lines: &[usize]) -> Result<(), ReadError> {
    let order = by_client(ops);
    for pair in order.windows(2) {
        let (before, after) = (&ops[pair[0]], &ops[pair[1]]);
        let overlap = before.return_ns.is_some_and(|end| after.invoke_ns < end);
        if before.client == after.client && overlap {
            return Err(ReadError::Line {
                line: lines[pair[1]],
                why: format!(
                    "client {} has an operation that is not over, that of line {}",
                    after.client, lines[pair[0]]
                ),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::studies::kv_replication::testing::{get, put};

    fn error(text: &str) -> String {
        History::read(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn reads_what_is_written() {
        let ops = vec![put(1, "é\n", 1, 5, 9), get(2, None, 0, 6, 7)];
        let replica = Replica { replica: "n1".into(), applied: 1, digest: "00ff".into() };
        let mut text = String::from("\n");
        for op in &ops {
            text += &format!("{}\r\n\n", serde_json::to_string(op).unwrap());
        }
        text += &serde_json::to_string(&replica).unwrap();
        let history = History::read(text.as_bytes()).unwrap();
        assert_eq!(history, History { ops, replicas: vec![replica], ..History::default() });
        assert_eq!(History::read(&b""[..]).unwrap(), History::default());
    }

    #[test]
    fn names_the_line_and_what_is_wrong() {
        let good = serde_json::to_string(&put(1, "a", 1, 5, 9)).unwrap();
        assert!(error(&format!("{good}\n{{")).starts_with("line 2: no JSON object"));
        assert!(error(r#"{"client":1,"op":"put"}"#).contains("missing field `key`"));
        assert!(error(r#"{"replica":"a"}"#).contains("missing field `applied`"));
        assert!(error("[]").starts_with("line 1: "));
        assert!(error("\n7\n").starts_with("line 2: "));
        assert!(History::read(&b"\xff\n"[..]).is_err());
    }

    #[test]
    fn refuses_what_cannot_have_happened() {
        let line = |op: &Op| serde_json::to_string(op).unwrap();
        let mut op = put(1, "a", 1, 5, 4);
        assert!(error(&line(&op)).contains("before"));
        op = Op { return_ns: None, ..op };
        assert!(error(&line(&op)).contains("without return_ns"));
        op = Op { outcome: Outcome::Null, return_ns: Some(9), ..op };
        assert!(error(&line(&op)).contains("outcome"));
        op = Op { outcome: Outcome::Ok, value: None, ..op };
        assert!(error(&line(&op)).contains("without its value"));
        op = Op { op: Kind::Get, ..op };
        assert!(error(&line(&op)).contains("without a value"));
        op = Op { outcome: Outcome::Null, value: Some("a".into()), ..op };
        assert!(error(&line(&op)).contains("has a value"));
    }

    #[test]
    fn refuses_a_client_that_does_two_things_at_once() {
        let [a, b, c] = [put(1, "a", 1, 5, 9), put(2, "b", 2, 6, 7), get(1, None, 0, 8, 9)];
        let text = [a, b, c].map(|op| serde_json::to_string(&op).unwrap()).join("\n");
        assert_eq!(
            error(&text),
            "line 3: client 1 has an operation that is not over, that of line 1"
        );
    }

    #[test]
    fn reads_a_lottery_and_refuses_one_that_cannot_have_been() {
        let good = r#"{"agencies":2,"winning_number":7574,"draws":[9],"files":[{"at_ns":0,"text":""}],
            "asks":[{"agency":2,"ask":{"bets":{"batch":1,"bets":[]}},"invoke_ns":5,
            "answer":{"at_ns":7,"told":{"stored":0}}},
            {"agency":1,"ask":"finished","invoke_ns":5,"answer":null}]}"#;
        let good = good.replace('\n', "");
        let history = History::read(good.as_bytes()).unwrap();
        let lottery = history.lottery.clone().unwrap();
        assert_eq!((lottery.asks.len(), lottery.files.len()), (2, 1));
        assert_eq!(
            serde_json::to_value(&lottery).unwrap(),
            good.parse::<serde_json::Value>().unwrap()
        );
        let (merged, _) = History::merge([history.clone(), history]);
        assert_eq!(merged.lottery.unwrap().asks.len(), 4);
        assert!(
            error(&good.replace("\"at_ns\":7", "\"at_ns\":4")).contains("before what was asked")
        );
        assert!(error(&good.replace("\"agency\":2", "\"agency\":3")).contains("no such agency"));
        assert!(error(&good.replace("\"draws\":[9],", "")).contains("missing field `draws`"));
    }

    #[test]
    fn refuses_a_line_without_end() {
        let endless = io::BufReader::new(io::repeat(b' '));
        assert!(History::read(endless).unwrap_err().to_string().contains("longer than"));
    }

    #[test]
    fn merging_keeps_clients_apart() {
        let one = |client| History { ops: vec![put(client, "a", 1, 5, 9)], ..History::default() };
        let (merged, moved) = History::merge([one(3), one(0), one(3)]);
        assert_eq!(merged.ops.iter().map(|op| op.client).collect::<Vec<_>>(), [3, 4, 8]);
        assert_eq!(moved, [0, 4, 5]);
    }
}
