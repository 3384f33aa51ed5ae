//! The central: what it stores, refuses, draws and tells.

use super::answers::{
    Asker, CHUNK, NOTIFY, RESULTS, action, answer, bets_of, info, line, put_off, refuse, say_stored,
};
use super::bet::Fault;
use super::mutants::Mutant;
use super::shown::View;
use super::{Bet, Config, Lottery, Message, Record, Reply, Request};
use crate::core::{
    Caller, ConfigError, Context, Corrupt, Counter, Env, Escaped, MAX_LISTED, NodeId, RecordSink,
};
use ::core::net::SocketAddr;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Each agency has a connection.
const MAX_AGENCIES: u32 = 100_000;

/// The central.
pub(super) struct Central {
    config: Config,
    agencies: BTreeMap<u32, Agency>,
    finished: u32,
    bets: u64,
    /// How long the file is, as far as batches are recorded.
    end: u64,
    /// Whether the log says what must not change.
    has_rules: bool,
    /// The agencies that are nodes, as far as they have asked something since their link came up.
    nodes: BTreeMap<NodeId, u32>,
}

#[derive(Default)]
struct Agency {
    finished: bool,
    /// What tells the batches with numbers 1, 2, … from others.
    batches: Vec<u64>,
    winners: Vec<u64>,
    /// Several bare bets have come in one message since the start: a single one is a chunk, too.
    sends_chunks: bool,
}

impl Central {
    pub(super) fn new(config: Config, env: &Env) -> Result<Central, ConfigError> {
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
        let (agencies, nodes) = (BTreeMap::new(), BTreeMap::new());
        Ok(Central { config, agencies, finished: 0, bets: 0, end: 0, has_rules: false, nodes })
    }

    pub(super) fn on_recover(&mut self, record: Record) -> Result<(), Corrupt> {
        if let Record::Batch { agency, number: 1.., .. }
        | Record::Finished { agency }
        | Record::Batches { agency, .. } = record
            && !self.is_expected(agency)
        {
            return Err(Corrupt("it is of an agency that is not expected"));
        }
        match record {
            Record::Rules { agencies, winning_number } => {
                let ours = (self.config.agencies, self.config.winning_number);
                if ours != (agencies, winning_number) {
                    return Err(Corrupt(
                        "this lottery began with other agencies or another winning_number: put them \
                         back, or begin a new one in another data_dir",
                    ));
                }
                self.has_rules = true;
            }
            Record::Batch { agency, number, hash, bets, end, winners } => {
                if end < self.end {
                    return Err(Corrupt("a batch makes bets.csv shorter"));
                }
                if number > 0 && !self.config.planted().has(Mutant::BatchesForgotten) {
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
            Record::Batches { agency, hashes } => self.agency(agency).batches.extend(hashes),
            Record::Winners { agency, documents } => {
                self.agency(agency).winners.extend(documents);
            }
        }
        Ok(())
    }

    pub(super) fn on_file(&mut self, bytes: u64) -> Result<u64, Corrupt> {
        if bytes < self.end {
            return Err(Corrupt("bets.csv has lost bets that were acknowledged: put it back"));
        }
        Ok(self.end)
    }

    pub(super) fn snapshot(&self, sink: &mut RecordSink<'_>) {
        sink.record(&self.rules());
        sink.record(&Record::Total { bets: self.bets, end: self.end });
        let drops = self.config.planted().has(Mutant::SnapshotDropsBatches);
        for (id, agency) in &self.agencies {
            let kept = if drops { agency.batches.len().min(8) } else { agency.batches.len() };
            for hashes in agency.batches[..kept].chunks(SNAPSHOT_PART) {
                sink.record(&Record::Batches { agency: *id, hashes: hashes.to_vec() });
            }
            for documents in agency.winners.chunks(SNAPSHOT_PART) {
                sink.record(&Record::Winners { agency: *id, documents: documents.to_vec() });
            }
            if agency.finished {
                sink.record(&Record::Finished { agency: *id });
            }
        }
    }

    pub(super) fn seen(&self) -> View {
        let finished = self.agencies.iter().filter(|(_, agency)| agency.finished);
        View::Central {
            bets: self.bets,
            finished: self.finished,
            agencies: self.config.agencies,
            list: finished.map(|(id, _)| *id).take(MAX_LISTED).collect(),
            drawn: self.is_drawn(),
            winners: self.agencies.values().map(|agency| agency.winners.len()).sum(),
        }
    }

    fn rules(&self) -> Record {
        let Config { agencies, winning_number, .. } = self.config;
        Record::Rules { agencies, winning_number }
    }

    pub(super) fn on_start(&mut self, cx: &mut Context<'_, Lottery>) {
        if !self.has_rules {
            self.has_rules = true;
            cx.persist(&self.rules());
        }
        let Config { agencies, winning_number, .. } = self.config;
        info(
            cx,
            format_args!(
                "action: config | result: success | agencies: {agencies} | winning_number: {winning_number}"
            ),
        );
        info(cx, format_args!("action: accept_connections | result: in_progress"));
    }

    pub(super) fn on_request(
        &mut self,
        caller: Caller,
        request: Request<'_>,
        cx: &mut Context<'_, Lottery>,
    ) {
        self.serve(Asker::Client(caller.request), request, cx);
    }

    pub(super) fn on_message(
        &mut self,
        from: NodeId,
        message: Message<'_>,
        cx: &mut Context<'_, Lottery>,
    ) {
        let Message::Ask { number, request } = message else { return cx.count(Counter::Stale) };
        let to = Asker::Node(from, number);
        match self.node_fault(from, &request) {
            Some(reason) => refuse(to, action(&request), bets_of(&request), reason, cx),
            None => self.serve(to, request, cx),
        }
    }

    pub(super) fn on_link(&mut self, peer: NodeId, up: bool, cx: &mut Context<'_, Lottery>) {
        if up {
            info(cx, format_args!("action: accept_connections | result: success | node: {peer}"));
            info(cx, format_args!("action: accept_connections | result: in_progress"));
        } else {
            // Another may come in its place.
            self.nodes.remove(&peer);
        }
    }

    /// Why a node may not ask this. What it sends may come twice, so its batches have numbers. It
    /// speaks for one agency, and no other node does: two with the same number by mistake would mix
    /// their batches.
    fn node_fault(&mut self, from: NodeId, request: &Request<'_>) -> Option<&'static str> {
        let agency = match request {
            Request::Bets { batch: 0, .. } | Request::Bare { .. } => {
                return Some("a node's batches have numbers");
            }
            Request::Bets { bets, .. } => bets.first()?.agency,
            Request::Finished { agency } | Request::Results { agency } => *agency,
            Request::Status {} | Request::Unreadable { .. } => return None,
        };
        if !self.is_expected(agency) {
            return None;
        }
        match self.nodes.get(&from) {
            Some(own) if *own == agency => None,
            Some(_) => Some("this node speaks for another agency"),
            None if self.nodes.values().any(|taken| *taken == agency)
                && !self.config.planted().has(Mutant::TwoSpeakForOne) =>
            {
                Some("another node speaks for this agency")
            }
            None => {
                self.nodes.insert(from, agency);
                None
            }
        }
    }

    fn serve(&mut self, to: Asker, request: Request<'_>, cx: &mut Context<'_, Lottery>) {
        match request {
            Request::Bets { batch, bets } => self.on_bets(to, batch, &bets, false, cx),
            Request::Bare { bets } => self.on_bets(to, 0, &bets, true, cx),
            Request::Finished { agency } => self.on_finished(to, agency, cx),
            Request::Results { agency } => self.on_results(to, agency, cx),
            Request::Status {} => {
                let finished = self.agencies.iter().filter(|(_, agency)| agency.finished);
                let finished = finished.map(|(id, _)| *id).collect();
                let (bets, drawn) = (self.bets, self.is_drawn());
                answer(to, Reply::Status { bets, finished, drawn }, cx);
            }
            Request::Unreadable { ref reason, .. } => {
                let (action, shown) = (action(&request), Escaped(reason.as_bytes()));
                line(cx, "ERROR", format_args!("action: {action} | result: fail | error: {shown}"));
                answer(to, Reply::Refused { reason: reason.as_ref().into() }, cx);
            }
        }
    }

    pub(super) fn on_client(&mut self, addr: SocketAddr, up: bool, cx: &mut Context<'_, Lottery>) {
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

    pub(super) fn on_stop(&mut self, cx: &mut Context<'_, Lottery>) {
        info(cx, format_args!("action: exiting_due_to_signal | result: in_progress"));
        info(cx, format_args!("action: socket_closing | result: success"));
    }

    pub(super) fn digest(&self) -> u64 {
        self.end ^ u64::from(self.finished) << 48
    }

    pub(super) fn check_invariants(&self) {
        let finished = self.agencies.values().filter(|agency| agency.finished).count();
        assert!(finished == self.finished as usize, "{finished} agencies have finished");
        assert!(self.finished <= self.config.agencies, "more have finished than there are");
    }

    fn agency(&mut self, id: u32) -> &mut Agency {
        self.agencies.entry(id).or_default()
    }

    fn is_drawn(&self) -> bool {
        let early = u32::from(self.config.planted().has(Mutant::DrawEarly));
        self.finished + early >= self.config.agencies
    }

    fn has_finished(&self, agency: u32) -> bool {
        self.agencies.get(&agency).is_some_and(|agency| agency.finished)
    }

    fn have_too_many(&self, more: &[(u32, u64)]) -> bool {
        more.iter().any(|(id, _)| {
            let known = self.agencies.get(id).map_or(0, |agency| agency.winners.len());
            known + more.len() > MAX_WINNERS
        })
    }

    fn is_expected(&self, agency: u32) -> bool {
        (1..=self.config.agencies).contains(&agency)
    }

    /// `is_bare`: they came without a letter before them.
    fn on_bets(
        &mut self,
        to: Asker,
        batch: u64,
        bets: &[Bet<'_>],
        is_bare: bool,
        cx: &mut Context<'_, Lottery>,
    ) {
        let planted = self.config.planted();
        let batch = if planted.has(Mutant::NumbersIgnored) { 0 } else { batch };
        let count = bets.len() as u64;
        let Some(first) = bets.first() else {
            return refuse(to, CHUNK, Some(0), "a chunk has at least one bet", cx);
        };
        if bets.len() > MAX_BETS {
            return refuse(to, CHUNK, Some(count), "a chunk has at most 10000 bets", cx);
        }
        // Rows are written where they go, and taken back when one cannot be.
        let start = cx.file().len();
        let mut winners = Vec::new();
        let mut fault = None;
        for (place, bet) in (1..).zip(bets) {
            if let Some(reason) = self.fault(bet, batch, first.agency) {
                fault = Some(Fault::of_bet(place, reason));
                break;
            }
            bet.row(cx.file());
            if bet.number == self.config.winning_number {
                winners.push((bet.agency, bet.document));
            }
        }
        let rows = &cx.file()[start..];
        let (hash, bytes) = (xxh3_64_with_seed(rows, batch), rows.len() as u64);
        let is_retry = fault.is_none() && self.is_retry(first.agency, batch, hash);
        if fault.is_none() && !is_retry {
            fault = self.batch_fault(first.agency, batch, &winners).map(Fault::from);
        }
        let stays = planted.has(Mutant::HalfBatchStays);
        if is_retry || fault.is_some() && !stays {
            cx.file().truncate(start);
        }
        if let Some(fault) = fault {
            return refuse(to, CHUNK, Some(count), fault, cx);
        }
        if !is_retry {
            let end = self.end + bytes;
            let agency = if batch > 0 { first.agency } else { 0 };
            let winners = winners.clone();
            let record = Record::Batch { agency, number: batch, hash, bets: count, end, winners };
            if !cx.has_room(&record) {
                cx.file().truncate(start);
                return put_off(to, CHUNK, Some(count), cx);
            }
            if !planted.has(Mutant::NoRecord) {
                cx.persist(&record);
            }
            if let Record::Batch { winners, .. } = record {
                self.stored(count, end, winners);
            }
            if batch > 0 {
                self.agency(agency).batches.push(hash);
            }
        }
        let chunks = &mut self.agency(first.agency).sends_chunks;
        *chunks |= is_bare && count > 1;
        let is_single = is_bare && !*chunks;
        answer(to, if is_single { Reply::Echo {} } else { Reply::Stored { bets: count } }, cx);
        say_stored(first, count, cx);
    }

    /// Whether this very batch is stored: a retry is answered as the first was, whatever has happened
    /// since.
    fn is_retry(&self, agency: u32, batch: u64, hash: u64) -> bool {
        if self.config.planted().has(Mutant::RetryAfterEndRefused) && self.has_finished(agency) {
            return false;
        }
        let known = self.batches(agency);
        place(batch).and_then(|place| known.get(place)) == Some(&hash)
    }

    /// Why these bets, which are no retry, are not stored.
    fn batch_fault(&self, agency: u32, batch: u64, winners: &[(u32, u64)]) -> Option<&'static str> {
        let known = self.batches(agency).len();
        match place(batch) {
            Some(place) if place < known => {
                Some("this batch number was given to other bets, and those are stored")
            }
            Some(place) if place > known => Some("a batch before this one is missing"),
            Some(_) | None if self.has_finished(agency) => Some(FINISHED),
            Some(_) | None if self.have_too_many(winners) => {
                Some("the agency has as many winners as one answer can tell")
            }
            Some(_) | None => None,
        }
    }

    fn batches(&self, agency: u32) -> &[u64] {
        self.agencies.get(&agency).map_or(&[], |agency| &agency.batches)
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
        // The number is for people, and a log can say anything.
        self.bets = self.bets.saturating_add(bets);
        self.end = end;
        for (agency, document) in winners {
            self.agency(agency).winners.push(document);
        }
    }

    fn on_finished(&mut self, to: Asker, agency: u32, cx: &mut Context<'_, Lottery>) {
        if !self.is_expected(agency) {
            return refuse(to, NOTIFY, None, "no such agency is expected", cx);
        }
        let first = !self.has_finished(agency);
        if first {
            let record = Record::Finished { agency };
            if !cx.has_room(&record) {
                return put_off(to, NOTIFY, None, cx);
            }
            cx.persist(&record);
            self.finish(agency);
        }
        answer(to, Reply::Finished {}, cx);
        info(cx, format_args!("action: notify_received | result: success | agency: {agency}"));
        let again = self.config.planted().has(Mutant::DrawTwice);
        if (first || again) && self.is_drawn() {
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

    fn on_results(&mut self, to: Asker, agency: u32, cx: &mut Context<'_, Lottery>) {
        if !self.is_expected(agency) {
            return refuse(to, RESULTS, None, "no such agency is expected", cx);
        }
        // Before the draw, too: the document's server logs each query.
        let said =
            format_args!("action: results_query_received | result: success | agency: {agency}");
        info(cx, said);
        if !self.is_drawn() {
            return answer(to, Reply::NotDrawn {}, cx);
        }
        let mut documents = self.agencies.get(&agency).map(|agency| agency.winners.clone());
        if self.config.planted().has(Mutant::AllWinners) {
            let all = self.agencies.values().flat_map(|agency| &agency.winners);
            documents = Some(all.copied().collect());
        }
        let mut documents = documents.unwrap_or_default();
        if self.config.planted().has(Mutant::WinnersCut) {
            documents.truncate(50);
        }
        answer(to, Reply::Winners { documents }, cx);
    }
}

const FINISHED: &str = "the agency has finished";

/// Of one request; also those of the native and JSON gateways, which know no 8 KiB.
const MAX_BETS: usize = 10_000;
/// Of one agency: they are told in one answer, and a frame has at most 16 MiB.
const MAX_WINNERS: usize = 500_000;
/// How many numbers a record of a snapshot has.
const SNAPSHOT_PART: usize = 10_000;

/// Where in an agency's batches the one with this number is; none for bets without a number.
fn place(batch: u64) -> Option<usize> {
    batch.checked_sub(1).and_then(|place| usize::try_from(place).ok())
}
