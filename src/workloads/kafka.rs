//! The workload `kafka`: programs keep append-only logs, each a key's, and what clients have
//! processed of them. As in Maelstrom (`doc/workloads.md`), offsets may have gaps, and nobody has
//! to show a message soon; but who shows a later one has to show those before it.

mod history;
mod judge;

use crate::crew::{Asks, Crew, Numbers};
use crate::errors::Told;
use history::{Call, Offsets};
use node_core::Rng;
use node_lab::hosted::{Body, Program};
use node_lab::study::{Cast, Clients, Needs, Property, Run, Shipped, Study, Verdict};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// The study.
pub struct Kafka;

/// Keys at a time, at most.
const MAX_KEYS: u32 = 1_000;
/// Messages of a key, at most.
const MAX_WRITES: u32 = 1_000_000;
/// How many keys at once are polled in the end.
const LAST_KEYS: usize = 16;

crate::settings! {
    /// `[workload] kind = "kafka"`.
    Settings {
        /// How many keys clients send to at a time.
        keys: u32 = 4,
        /// After about how many messages a key is replaced by a new one.
        writes_per_key: u32 = 16,
    }
}

const fn of_logs(
    name: &'static str,
    statement: &'static str,
    judge: fn(&Run) -> Verdict,
) -> Property {
    Property {
        name,
        statement,
        source: "Maelstrom, doc/workloads.md: kafka; Jepsen's checker of Kafka",
        needs: Needs::OPERATIONS.and(Needs::EVERY_CLIENT),
        bounds: &[],
        is_promised: true,
        missing,
        shows,
        judge,
    }
}

fn missing(cast: &Cast<'_>) -> Option<String> {
    const RUN: &str = "the scenario say [workload] kind = \"kafka\"";
    cast.lacks_clients(Kafka::NAME, "clients of logs", RUN)
}

fn shows(run: &Run) -> bool {
    !calls(run).is_empty()
}

fn calls(run: &Run) -> Vec<Call> {
    history::of(run)
}

/// Whether nothing is lost.
pub const NO_LOST_WRITES: Property = of_logs(
    "kafka_no_lost_writes",
    "a message that was acknowledged at an offset is shown there by some poll if any shows that \
     offset or a higher one of its key, and by a last poll in the end",
    |run| judge::no_lost_writes(&calls(run)),
);
/// Whether offsets ascend.
pub const OFFSETS_MONOTONIC: Property = of_logs(
    "kafka_offsets_monotonic",
    "of each key, offsets ascend in a poll, from one poll of a client to its next unless it is \
     assigned anew, and from one of its messages to its next",
    |run| judge::monotonic(&calls(run)),
);
/// Whether no poll leaves out a message.
pub const NO_SKIPS: Property = of_logs(
    "kafka_no_skips",
    "a poll shows every offset that is known to exist from the one that was asked for to the \
     highest that it shows",
    |run| judge::no_skips(&calls(run)),
);
/// Whether all agree on what is where.
pub const CONSISTENT_OFFSETS: Property = of_logs(
    "kafka_consistent_offsets",
    "an offset of a key has one message, a message one offset, and each was sent to that key and \
     not refused",
    |run| judge::consistent(&calls(run)),
);
/// Whether what is processed is known.
pub const COMMITS: Property = of_logs(
    "kafka_commits",
    "a committed offset that was acknowledged does not go back in lists that begin later, unless a \
     lower one was committed since, and no list shows more than was committed",
    |run| judge::commits(&calls(run)),
);

impl Study for Kafka {
    type Protocol = Program;
    const NAME: &'static str = "kafka";
    type Settings = Settings;
    const SCENARIOS: &'static [Shipped] = shipped! {
        "sim/glomers/5a.toml"
        "sim/glomers/5b.toml"
        "sim/glomers/5c.toml"
    };
    const PROPERTIES: &'static [Property] =
        &[NO_LOST_WRITES, OFFSETS_MONOTONIC, NO_SKIPS, CONSISTENT_OFFSETS, COMMITS];

    fn clients(settings: Settings, cast: &Cast<'_>) -> Result<Option<Box<dyn Clients>>, String> {
        let Settings { keys, writes_per_key, .. } = settings;
        if !(1..=MAX_KEYS).contains(&keys) {
            return Err(format!("workload: keys is 1 to {MAX_KEYS}"));
        }
        if !(1..=MAX_WRITES).contains(&writes_per_key) {
            return Err(format!("workload: writes_per_key is 1 to {MAX_WRITES}"));
        }
        let asks = Logs { keys: keys.into(), writes_per_key, ..Logs::default() };
        Crew::clients(Self::NAME, settings.pace(), cast, asks)
    }
}

/// Messages, polls, commits and assignments.
#[derive(Clone, Debug, Default)]
struct Logs {
    keys: u64,
    writes_per_key: u32,
    /// How many messages of a key are one client's share: it goes on to the next key then, without
    /// a look at the others, so that leaving one out shifts no other.
    share: u64,
    numbers: Numbers,
    workers: BTreeMap<u32, Reader>,
    lasts: BTreeMap<u32, Last>,
    /// The keys that somebody sent to.
    sent: BTreeSet<u64>,
}

/// A client that works.
#[derive(Clone, Debug, Default)]
struct Reader {
    /// How many messages it has sent to each of its places for keys.
    written: BTreeMap<u64, u64>,
    /// Where it goes on to poll; nothing where it has to be assigned.
    positions: Offsets,
    /// The keys of which it has seen something since then.
    seen: BTreeSet<String>,
}

/// A client that asks for everything in the end.
#[derive(Clone, Debug, Default)]
struct Last {
    /// The keys that it polls now, and from where.
    positions: Offsets,
    /// Whether the last poll brought something new.
    has_news: bool,
    /// The first key that it has not come to.
    next: u64,
}

impl Last {
    /// The next keys, from the beginning.
    fn turn(&mut self, sent: &BTreeSet<u64>) {
        let keys = sent.range(self.next..).take(LAST_KEYS);
        self.positions = keys.map(|key| (key.to_string(), 0)).collect();
        let last = sent.range(self.next..).take(LAST_KEYS).last();
        self.next = last.map_or(self.next, |last| last + 1);
    }
}

/// Moves positions behind what a reply shows; answers which keys moved.
fn move_on(positions: &mut Offsets, reply: &Body<'_>) -> Vec<String> {
    let mut moved = Vec::new();
    for (key, all) in history::shown(reply).unwrap_or_default() {
        let highest = all.iter().map(|(offset, _)| *offset).max();
        let (Some(position), Some(highest)) = (positions.get_mut(&key), highest) else { continue };
        let next = highest.saturating_add(1);
        if next > *position {
            *position = next;
            moved.push(key);
        }
    }
    moved
}

fn poll(positions: &Offsets) -> Body<'static> {
    Body::of(&json!({ "type": "poll", "offsets": positions }))
}

impl Logs {
    /// The key that a client's place for keys has now.
    fn key(&self, client: u32, place: u64) -> u64 {
        let written = self.workers.get(&client).and_then(|one| one.written.get(&place));
        let turn = written.copied().unwrap_or_default() / self.share.max(1);
        turn * self.keys + place
    }

    fn send(&mut self, client: u32, rng: &mut Rng) -> Body<'static> {
        let place = rng.below(self.keys);
        let key = self.key(client, place);
        *self.workers.entry(client).or_default().written.entry(place).or_default() += 1;
        self.sent.insert(key);
        let message = self.numbers.next(client);
        Body::of(&json!({ "type": "send", "key": key.to_string(), "msg": message }))
    }

    /// Some keys, one at least, now and then those that have been replaced.
    fn assign(&self, client: u32, rng: &mut Rng) -> Body<'static> {
        let certain = rng.below(self.keys);
        let mut keys = Vec::new();
        for place in 0..self.keys {
            let is_chosen = rng.below(2) == 0 || place == certain;
            let is_old = rng.below(4) == 0;
            let key = self.key(client, place);
            let old = key.checked_sub(self.keys).filter(|_| is_old);
            if is_chosen {
                keys.push(old.unwrap_or(key).to_string());
            }
        }
        Body::of(&json!({ "type": "list_committed_offsets", "keys": keys }))
    }
}

impl Asks for Logs {
    fn begin(&mut self, clients: u32) {
        self.numbers = Numbers::of(clients);
        self.share = u64::from(self.writes_per_key.div_ceil(clients.max(1)));
    }

    fn next(&mut self, client: u32, rng: &mut Rng) -> Option<Body<'static>> {
        let what = rng.below(16);
        let reader = self.workers.entry(client).or_default();
        if what < 7 {
            return Some(self.send(client, rng));
        }
        if what == 7 || reader.positions.is_empty() {
            return Some(self.assign(client, rng));
        }
        if what < 10 && !reader.seen.is_empty() {
            let seen =
                |key: &String| Some((key.clone(), reader.positions.get(key)?.saturating_sub(1)));
            let offsets: Offsets = reader.seen.iter().filter_map(seen).collect();
            return Some(Body::of(&json!({ "type": "commit_offsets", "offsets": offsets })));
        }
        Some(poll(&reader.positions))
    }

    fn told(&mut self, client: u32, request: &Body<'_>, told: &Told) {
        let kind = request.kind();
        if let Some(last) = self.lasts.get_mut(&client) {
            if let Told::Done(reply) = told {
                last.has_news = !move_on(&mut last.positions, reply).is_empty();
            }
            return;
        }
        let is_another = *told == Told::Unknown && self.changes(request);
        let reader = self.workers.entry(client).or_default();
        match (&*kind, told) {
            ("poll", Told::Done(reply)) => {
                reader.seen.extend(move_on(&mut reader.positions, reply));
            }
            ("list_committed_offsets", Told::Done(reply)) => {
                let committed = history::offsets(reply).unwrap_or_default();
                let keys: Vec<String> =
                    crate::json::Key::of(request, "keys").read().unwrap_or_default();
                let behind = |key: String| {
                    let offset = committed.get(&key).map_or(0, |offset| offset.saturating_add(1));
                    (key, offset)
                };
                reader.positions = keys.into_iter().map(behind).collect();
                reader.seen.clear();
            }
            // Another process has no assignment yet.
            _ if is_another => {
                reader.positions.clear();
                reader.seen.clear();
            }
            _ => {}
        }
    }

    fn changes(&self, request: &Body<'_>) -> bool {
        ["send", "commit_offsets"].contains(&&*request.kind())
    }

    fn last(&mut self, client: u32, round: u32, _: &mut Rng) -> Option<Body<'static>> {
        let last = self.lasts.entry(client).or_default();
        if round == 0 || !last.has_news {
            last.turn(&self.sent);
        }
        (!last.positions.is_empty()).then(|| poll(&last.positions))
    }
}

#[cfg(test)]
mod tests;
