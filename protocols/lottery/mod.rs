//! The national lottery's central: stores the agencies' bets, draws once all have finished, and tells
//! each agency its winners.
//!
//! ```text
//!  agency                                    central
//!    │ ── Bets (a batch) ──────────────────────► │ appended to bets.csv, recorded, durable
//!    │ ◄──────────────────────────── Stored ──── │
//!    │ ── Finished ────────────────────────────► │ after the last agency's: the draw, once
//!    │ ◄────────────────────────── Finished ──── │
//!    │ ── Results ─────────────────────────────► │
//!    │ ◄─────────────── NotDrawn, or Winners ─── │ only its own, never partial
//! ```
//!
//! **Source.** Document 001, "TP0 - Sistemas Distribuidos" (2024); the lines that it prescribes are
//! printed as it has them, in its language. The gateway `lottery-text` speaks its wire, byte for byte.
//!
//! **Guarantees.** A batch is stored whole or not at all, and acknowledged only when it is durable.
//! Batches with numbers are stored exactly once, across restarts of either side: a retry with the same
//! number is acknowledged and not stored again, one with other content is refused. The text wire has no
//! numbers, so there a retry is stored again (at least once). The draw takes place once, when every
//! agency has finished; a second Finished changes nothing, and bets after it are refused.
//!
//! **Assumes** one central that comes back with its data directory. Memory holds winners and what
//! tells batches apart (8 bytes each), not bets.

mod bet;
mod message;
mod text;

pub use self::bet::{Bet, MAX_NAME_BYTES};
pub use self::message::{Record, Reply, Request};
pub use self::text::{LotteryText, MAX_MESSAGE_BYTES};

use crate::core::{
    Caller, ConfigError, Context, Corrupt, Env, Never, NodeId, Protocol, RecordSink, RequestId,
    WallTime,
};
use ::core::fmt;
use ::core::net::SocketAddr;
use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The table `[protocols.lottery]`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How many agencies there are: 1 to this many are their numbers.
    pub agencies: u32,
    /// The number that wins.
    pub winning_number: u32,
    /// The highest number that can be bet on.
    pub highest_number: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config { agencies: 5, winning_number: 7_574, highest_number: 9_999 }
    }
}

/// Each agency has a connection.
const MAX_AGENCIES: u32 = 100_000;

/// The central.
pub struct Lottery {
    config: Config,
    agencies: BTreeMap<u32, Agency>,
    finished: u32,
    bets: u64,
    /// How long the file is, as far as batches are recorded.
    end: u64,
}

#[derive(Default)]
struct Agency {
    finished: bool,
    /// What tells the batches with numbers 1, 2, … from others.
    batches: Vec<u64>,
    winners: Vec<u64>,
}

impl Protocol for Lottery {
    const NAME: &'static str = "lottery";
    const FILE: Option<&'static str> = Some("bets.csv");
    type Config = Config;
    type Message<'a> = Never;
    type Record<'a> = Record;
    type Timer = Never;
    type Request<'a> = Request<'a>;
    type Reply<'a> = Reply<'a>;

    fn new(config: Config, env: &Env) -> Result<Lottery, ConfigError> {
        let wrong = |key, rule: &str| Err(ConfigError { key, rule: String::from(rule) });
        if !(1..=MAX_AGENCIES).contains(&config.agencies) {
            return wrong("agencies", "it must be 1 to 100000");
        }
        if config.winning_number > config.highest_number {
            return wrong("winning_number", "it must be at most highest_number");
        }
        if !env.durable {
            return wrong("agencies", "the central keeps bets.csv: set data_dir under [node]");
        }
        Ok(Lottery { config, agencies: BTreeMap::new(), finished: 0, bets: 0, end: 0 })
    }

    fn persists(&self) -> bool {
        true
    }

    fn on_recover(&mut self, record: Record) -> Result<(), Corrupt> {
        match record {
            Record::Batch { agency, number, hash, bets, end, winners } => {
                if end < self.end {
                    return Err(Corrupt("a batch makes bets.csv shorter"));
                }
                if number > 0 {
                    let batches = &mut self.agency(agency).batches;
                    if number != batches.len() as u64 + 1 {
                        return Err(Corrupt("a batch does not follow the one before it"));
                    }
                    batches.push(hash);
                }
                self.stored(bets, end, winners);
            }
            Record::Finished { agency } => self.finish(agency),
            Record::Total { bets, end } => (self.bets, self.end) = (bets, end),
            Record::Batches { agency, hashes } => self.agency(agency).batches = hashes,
            Record::Winners { agency, documents } => self.agency(agency).winners = documents,
        }
        Ok(())
    }

    fn on_file(&mut self, bytes: u64) -> Result<u64, Corrupt> {
        if bytes < self.end {
            return Err(Corrupt("bets.csv has lost bets that were acknowledged: put it back"));
        }
        Ok(self.end)
    }

    fn snapshot(&self, sink: &mut RecordSink<'_>) {
        sink.record(&Record::Total { bets: self.bets, end: self.end });
        for (id, agency) in &self.agencies {
            sink.record(&Record::Batches { agency: *id, hashes: agency.batches.clone() });
            sink.record(&Record::Winners { agency: *id, documents: agency.winners.clone() });
            if agency.finished {
                sink.record(&Record::Finished { agency: *id });
            }
        }
    }

    fn on_start(&mut self, cx: &mut Context<'_, Self>) {
        let Config { agencies, winning_number, .. } = self.config;
        info(
            cx,
            format_args!(
                "action: config | result: success | agencies: {agencies} | winning_number: {winning_number}"
            ),
        );
        info(cx, format_args!("action: accept_connections | result: in_progress"));
    }

    fn on_message(&mut self, _: NodeId, message: Never, _: &mut Context<'_, Self>) {
        match message {}
    }

    fn on_timer(&mut self, timer: Never, _: &mut Context<'_, Self>) {
        match timer {}
    }

    fn on_request(&mut self, caller: Caller, request: Request<'_>, cx: &mut Context<'_, Self>) {
        match request {
            Request::Bets { batch, bets } => self.on_bets(caller.request, batch, &bets, cx),
            Request::Finished { agency } => self.on_finished(caller.request, agency, cx),
            Request::Results { agency } => self.on_results(caller.request, agency, cx),
            Request::Status {} => {
                let finished = self.agencies.iter().filter(|(_, agency)| agency.finished);
                let finished = finished.map(|(id, _)| *id).collect();
                let (bets, drawn) = (self.bets, self.is_drawn());
                cx.reply(caller.request, &Reply::Status { bets, finished, drawn });
            }
        }
    }

    fn on_client(&mut self, addr: SocketAddr, up: bool, cx: &mut Context<'_, Self>) {
        if up {
            let ip = addr.ip();
            info(cx, format_args!("action: accept_connections | result: success | ip: {ip}"));
            info(cx, format_args!("action: accept_connections | result: in_progress"));
        } else {
            log::debug!(
                target: "lottery",
                "action: receive_message | result: fail | error: connection_closed_by_client"
            );
        }
    }

    fn on_stop(&mut self, cx: &mut Context<'_, Self>) {
        info(cx, format_args!("action: exiting_due_to_signal | result: in_progress"));
        info(cx, format_args!("action: socket_closing | result: success"));
    }

    fn digest(&self) -> u64 {
        self.end ^ u64::from(self.finished) << 48
    }

    fn check_invariants(&self) {
        let finished = self.agencies.values().filter(|agency| agency.finished).count();
        assert!(finished == self.finished as usize, "{finished} agencies have finished");
        assert!(self.finished <= self.config.agencies, "more have finished than there are");
    }
}

impl Lottery {
    fn agency(&mut self, id: u32) -> &mut Agency {
        self.agencies.entry(id).or_default()
    }

    fn is_drawn(&self) -> bool {
        self.finished == self.config.agencies
    }

    fn has_finished(&self, agency: u32) -> bool {
        self.agencies.get(&agency).is_some_and(|agency| agency.finished)
    }

    fn is_expected(&self, agency: u32) -> bool {
        (1..=self.config.agencies).contains(&agency)
    }

    fn on_bets(&mut self, to: RequestId, batch: u64, bets: &[Bet<'_>], cx: &mut Context<'_, Self>) {
        let count = bets.len() as u64;
        let Some(first) = bets.first() else {
            return refuse(to, "chunk_received", Some(0), "a chunk has at least one bet", cx);
        };
        // Rows are written where they go, and taken back when one cannot be.
        let start = cx.file().len();
        let mut winners = Vec::new();
        let mut fault = None;
        for bet in bets {
            fault = self.fault(bet, batch, first.agency);
            if fault.is_some() {
                break;
            }
            bet.row(cx.file());
            if bet.number == self.config.winning_number {
                winners.push((bet.agency, bet.document));
            }
        }
        let rows = &cx.file()[start..];
        let (hash, bytes) = (xxh3_64_with_seed(rows, batch), rows.len() as u64);
        // A retry is answered as the first was, whatever has happened since.
        let known = self.agencies.get(&first.agency).map_or(&[][..], |agency| &agency.batches);
        let place = usize::try_from(batch).ok().and_then(|batch| batch.checked_sub(1));
        let is_retry = fault.is_none() && place.and_then(|place| known.get(place)) == Some(&hash);
        if fault.is_none() && !is_retry {
            fault = match place {
                Some(place) if place < known.len() => {
                    Some("this number was another batch's, and its bets are stored")
                }
                Some(place) if place > known.len() => Some("a batch before this one is missing"),
                Some(_) | None if self.has_finished(first.agency) => Some(FINISHED),
                Some(_) | None => None,
            };
        }
        if is_retry || fault.is_some() {
            cx.file().truncate(start);
        }
        if let Some(reason) = fault {
            return refuse(to, "chunk_received", Some(count), reason, cx);
        }
        let agency = first.agency;
        if !is_retry {
            let end = self.end + bytes;
            let owner = if batch > 0 { agency } else { 0 };
            cx.persist(&Record::Batch {
                agency: owner,
                number: batch,
                hash,
                bets: count,
                end,
                winners: winners.clone(),
            });
            if batch > 0 {
                self.agency(agency).batches.push(hash);
            }
            self.stored(count, end, winners);
        }
        cx.reply(to, &Reply::Stored { bets: count });
        info(
            cx,
            format_args!(
                "action: chunk_received | result: success | agency: {agency} | number_of_bets: {count}"
            ),
        );
        info(cx, format_args!("action: apuesta_recibida | result: success | cantidad: {count}"));
        if count == 1 {
            let (document, number) = (first.document, first.number);
            info(
                cx,
                format_args!(
                    "action: apuesta_almacenada | result: success | dni: {document} | numero: {number}"
                ),
            );
        }
    }

    /// Why a bet cannot be stored.
    fn fault(&self, bet: &Bet<'_>, batch: u64, first: u32) -> Option<&'static str> {
        if !self.is_expected(bet.agency) {
            Some("no such agency is expected")
        } else if batch > 0 && bet.agency != first {
            Some("a numbered batch is of one agency")
        } else if batch == 0 && self.has_finished(bet.agency) {
            Some(FINISHED)
        } else {
            bet.fault(self.config.highest_number)
        }
    }

    fn stored(&mut self, bets: u64, end: u64, winners: Vec<(u32, u64)>) {
        self.bets += bets;
        self.end = end;
        for (agency, document) in winners {
            self.agency(agency).winners.push(document);
        }
    }

    fn on_finished(&mut self, to: RequestId, agency: u32, cx: &mut Context<'_, Self>) {
        if !self.is_expected(agency) {
            return refuse(to, "notify_received", None, "no such agency is expected", cx);
        }
        let first = !self.has_finished(agency);
        if first {
            cx.persist(&Record::Finished { agency });
            self.finish(agency);
        }
        cx.reply(to, &Reply::Finished {});
        info(cx, format_args!("action: notify_received | result: success | agency: {agency}"));
        if first && self.is_drawn() {
            info(cx, format_args!("action: sorteo | result: success"));
        }
    }

    fn finish(&mut self, agency: u32) {
        let state = self.agency(agency);
        if !state.finished {
            state.finished = true;
            self.finished += 1;
        }
    }

    fn on_results(&mut self, to: RequestId, agency: u32, cx: &mut Context<'_, Self>) {
        if !self.is_expected(agency) {
            return refuse(to, "results_query_received", None, "no such agency is expected", cx);
        }
        if !self.is_drawn() {
            return cx.reply(to, &Reply::NotDrawn {});
        }
        let documents = self.agencies.get(&agency).map(|agency| agency.winners.clone());
        cx.reply(to, &Reply::Winners { documents: documents.unwrap_or_default() });
        info(
            cx,
            format_args!("action: results_query_received | result: success | agency: {agency}"),
        );
    }
}

const FINISHED: &str = "the agency has finished";

fn refuse(
    to: RequestId,
    action: &str,
    bets: Option<u64>,
    reason: &'static str,
    cx: &mut Context<'_, Lottery>,
) {
    cx.reply(to, &Reply::Refused { reason: Cow::Borrowed(reason) });
    line(cx, "ERROR", format_args!("action: {action} | result: fail | error: {reason}"));
    if let Some(bets) = bets {
        line(
            cx,
            "ERROR",
            format_args!("action: apuesta_recibida | result: fail | cantidad: {bets}"),
        );
    }
}

fn info(cx: &mut Context<'_, Lottery>, text: fmt::Arguments<'_>) {
    line(cx, "INFO", text);
}

/// A line in the form of the document's log: time, level, text.
fn line(cx: &mut Context<'_, Lottery>, level: &str, text: fmt::Arguments<'_>) {
    let time = Stamp(cx.wall_clock());
    cx.print(format_args!("{time} {level:<8} {text}"));
}

/// A time as `2024-03-22 21:26:04`, UTC.
struct Stamp(WallTime);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.0 / 1_000;
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": civil_from_days.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn times_are_days_of_the_calendar() {
        let stamp = |seconds: u64| Stamp(WallTime(seconds * 1_000)).to_string();
        assert_eq!(stamp(0), "1970-01-01 00:00:00");
        assert_eq!(stamp(951_782_399), "2000-02-28 23:59:59");
        assert_eq!(stamp(951_782_400), "2000-02-29 00:00:00");
        assert_eq!(stamp(1_711_142_764), "2024-03-22 21:26:04");
        assert_eq!(stamp(1_735_689_600), "2025-01-01 00:00:00");
    }
}
