//! What the agency prints: the document's lines on stdout, and a progress bar on stderr where it is
//! a terminal.

use crate::epoch::since_epoch;
use node_protocols::core::WallTime;
use node_protocols::lottery::{Line, Value};
use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, Instant};

fn json(value: Value<'_>) -> serde_json::Value {
    match value {
        Value::Number(number) => number.into(),
        Value::Documents(documents) => documents.into(),
        Value::Text(text) => text.into(),
    }
}

/// How often the bar is drawn.
const REDRAW: Duration = Duration::from_millis(100);

/// Where lines go. That one cannot be printed is no reason to stop: bets are sent all the same, and
/// the exit code tells.
pub(super) struct Lines {
    out: Box<dyn Write + Send>,
    json: bool,
    /// Whether there may be a bar.
    terminal: bool,
    bar: Option<Bar>,
}

struct Bar {
    bytes: u64,
    done: u64,
    start: Instant,
    drawn: Option<Instant>,
}

impl Lines {
    pub(super) fn new(out: Box<dyn Write + Send>, json: bool, terminal: bool) -> Lines {
        Lines { out, json, terminal, bar: None }
    }

    /// Prints a line.
    pub(super) fn print(
        &mut self,
        level: &str,
        action: &str,
        result: &str,
        fields: &[(&str, Value<'_>)],
    ) {
        let time = WallTime(since_epoch());
        let line = show(&Line { time, level, action, result, fields }, self.json);
        self.clear_bar();
        let _ = self.out.write_all(line.as_bytes()).and_then(|()| self.out.flush());
    }

    /// A file of this length is going to be sent.
    pub(super) fn progress_of(&mut self, bytes: u64) {
        let start = Instant::now();
        self.bar = self.terminal.then_some(Bar { bytes, done: 0, start, drawn: None });
    }

    /// So much of the file is stored.
    pub(super) fn progress(&mut self, done: u64) {
        let Some(bar) = &mut self.bar else { return };
        bar.done = done;
        if bar.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW) {
            bar.drawn = Some(Instant::now());
            let _ = write!(io::stderr(), "\r\x1b[K{bar}");
        }
    }

    /// All of the file is stored.
    pub(super) fn progress_ends(&mut self) {
        self.clear_bar();
        self.bar = None;
    }

    fn clear_bar(&mut self) {
        if let Some(bar) = &mut self.bar
            && bar.drawn.take().is_some()
        {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WIDTH: u64 = 30;
        let bytes = self.bytes.max(1);
        let done = self.done.min(bytes);
        // No file is so long that this would overflow.
        let (part, percent) =
            (done.saturating_mul(WIDTH) / bytes, done.saturating_mul(100) / bytes);
        let (full, empty) = ("#".repeat(part as usize), ".".repeat((WIDTH - part) as usize));
        let seconds = self.start.elapsed().as_secs_f64().max(0.001);
        let (total, rate) = (bytes as f64 / 1e6, done as f64 / 1e6 / seconds);
        write!(f, "[{full}{empty}] {percent:3} % of {total:.1} MB, {rate:.1} MB/s")
    }
}

fn show(line: &Line<'_>, as_json: bool) -> String {
    if !as_json {
        return format!("{line}\n");
    }
    let Line { time, level, action, result, fields } = line;
    let time = time.to_string();
    let mut object = serde_json::Map::new();
    let words = [("time", &time[..]), ("level", level), ("action", action), ("result", result)];
    object.extend(words.map(|(name, word)| (name.into(), word.into())));
    object.extend(fields.iter().map(|(name, value)| ((*name).into(), json(*value))));
    format!("{}\n", serde_json::Value::Object(object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_same_names() {
        let documents = Value::Documents(&[7, 8]);
        let time = WallTime::from_millis(1_711_418_173_000);
        let fields = &[("client_id", Value::Number(1)), ("dni_ganadores", documents)];
        let [level, action, result] = ["info", "consulta_ganadores", "success"];
        let line = show(&Line { time, level, action, result, fields }, true);
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected = serde_json::json!({
            "time": "2024-03-26 01:56:13", "level": "info", "action": "consulta_ganadores",
            "result": "success", "client_id": 1, "dni_ganadores": [7, 8],
        });
        assert_eq!(object, expected);
    }

    #[test]
    fn the_bar_is_full_at_the_end_and_never_beyond() {
        let bar = |bytes, done| Bar { bytes, done, start: Instant::now(), drawn: None }.to_string();
        assert!(bar(1_000_000, 500_000).starts_with("[###############...............]  50 %"));
        assert!(bar(10, 11).starts_with(&format!("[{}] 100 %", "#".repeat(30))));
        assert!(bar(0, 0).contains("  0 %"));
    }
}
