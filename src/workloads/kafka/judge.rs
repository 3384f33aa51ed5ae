//! The checkers of logs. Each is a pass over all calls; what is known of offsets is known from the
//! whole run, as in Maelstrom: a log has no past in which an offset was not there yet.

use super::history::{Call, Sent, What};
use crate::json::Json;
use node_lab::study::{Verdict, Violation};
use std::collections::{BTreeMap, BTreeSet};

/// An acknowledged message.
struct Acked<'a> {
    call: &'a Call,
    key: &'a str,
    offset: i64,
    message: &'a Json,
}

fn acked(calls: &[Call]) -> impl Iterator<Item = Acked<'_>> {
    calls.iter().filter_map(|call| match &call.what {
        What::Send { key, message, sent: Sent::At(offset) } => {
            Some(Acked { call, key, offset: *offset, message })
        }
        _ => None,
    })
}

/// A poll of one key.
struct Polled<'a> {
    call: &'a Call,
    key: &'a str,
    /// The offset that was asked for; none where the key was not.
    from: Option<i64>,
    shown: &'a [(i64, Json)],
}

impl Polled<'_> {
    fn highest(&self) -> Option<i64> {
        self.shown.iter().map(|(offset, _)| *offset).max()
    }
}

/// All polls, key by key: those that were asked for, and those that were shown nevertheless.
fn polled(calls: &[Call]) -> impl Iterator<Item = Polled<'_>> {
    calls.iter().filter_map(|call| call.poll().map(|both| (call, both))).flat_map(
        |(call, (from, shown))| {
            let keys: BTreeSet<&String> = from.keys().chain(shown.keys()).collect();
            keys.into_iter().map(move |key| Polled {
                call,
                key,
                from: from.get(key).copied(),
                shown: shown.get(key).map_or(&[], |shown| &shown[..]),
            })
        },
    )
}

/// What polls say of one key.
#[derive(Default)]
struct Reach<'a> {
    /// The highest offset that any shows, and that poll.
    highest: Option<(i64, &'a Call)>,
    /// The lowest offset above which a last poll of the run was told that there is nothing.
    end: Option<(i64, &'a Call)>,
    /// Ranges that last polls of the run showed: from what was asked for, to the highest.
    passed: Vec<(i64, i64, &'a Call)>,
    seen: BTreeSet<(i64, &'a Json)>,
    seen_last: BTreeSet<(i64, &'a Json)>,
}

impl<'a> Reach<'a> {
    fn add(&mut self, poll: &Polled<'a>) {
        let seen = poll.shown.iter().map(|(offset, message)| (*offset, message));
        self.seen.extend(seen.clone());
        let highest = poll.highest();
        if let Some(highest) = highest
            && self.highest.is_none_or(|(before, _)| before < highest)
        {
            self.highest = Some((highest, poll.call));
        }
        if !poll.call.is_final() {
            return;
        }
        self.seen_last.extend(seen);
        match (poll.from, highest) {
            (Some(from), None) if self.end.is_none_or(|(end, _)| from < end) => {
                self.end = Some((from, poll.call));
            }
            (Some(from), Some(highest)) => self.passed.push((from, highest, poll.call)),
            _ => {}
        }
    }

    /// The last poll that would have shown this offset, were it there.
    fn last(&self, offset: i64) -> Option<&'a Call> {
        let passed = self.passed.iter().find(|(from, to, _)| (*from..=*to).contains(&offset));
        let end = self.end.filter(|(end, _)| *end <= offset);
        passed.map(|(_, _, call)| *call).or(end.map(|(_, call)| call))
    }
}

/// Evidence: an acknowledged message that a poll showed, or has to have shown.
pub(super) fn no_lost_writes(calls: &[Call]) -> Verdict {
    let mut keys: BTreeMap<&str, Reach<'_>> = BTreeMap::new();
    for poll in polled(calls) {
        keys.entry(poll.key).or_default().add(&poll);
    }
    let mut has_evidence = false;
    for Acked { call, key, offset, message } in acked(calls) {
        let Some(reach) = keys.get(key) else { continue };
        let what = format!("message {message} was acknowledged at offset {offset} of key {key}");
        let is_seen = reach.seen.contains(&(offset, message));
        has_evidence |= is_seen;
        if let Some((highest, poll)) = reach.highest.filter(|(highest, _)| *highest >= offset)
            && !is_seen
        {
            let why = format!("{what} by {call}, no poll shows it, and {poll} shows {highest}");
            let roles = [("lost message", call.place), ("poll that skips it", poll.place)];
            return Verdict::Violated(Violation::shown_by(roles, why));
        }
        if let Some(poll) = reach.last(offset) {
            has_evidence = true;
            if !reach.seen_last.contains(&(offset, message)) {
                let why = format!("{what} by {call}, and no last poll shows it: not {poll}");
                let roles = [("lost message", call.place), ("last poll without it", poll.place)];
                return Verdict::Violated(Violation::shown_by(roles, why));
            }
        }
    }
    Verdict::of(None, has_evidence, "no poll came to a message that was acknowledged")
}

/// Evidence: two offsets that are in an order, of one poll or of one client.
pub(super) fn monotonic(calls: &[Call]) -> Verdict {
    let mut has_evidence = false;
    for Polled { call, key, shown, .. } in polled(calls) {
        for pair in shown.windows(2) {
            has_evidence = true;
            let (before, after) = (pair[0].0, pair[1].0);
            if after <= before {
                let why = format!("{call} shows of key {key} offset {after} after {before}");
                let roles = [("poll out of order", call.place)];
                return Verdict::Violated(Violation::shown_by(roles, why));
            }
        }
    }
    // Where each client is, by its keys: the highest offset that it has seen.
    let mut polls: BTreeMap<(u64, &str), (i64, &Call)> = BTreeMap::new();
    let mut sends: BTreeMap<(u64, &str), (i64, &Call)> = BTreeMap::new();
    for call in calls {
        match &call.what {
            What::List { .. } => polls.retain(|(client, _), _| *client != call.client),
            What::Send { key, sent: Sent::At(offset), .. } => {
                let before = sends.insert((call.client, key), (*offset, call));
                let Some((before, other)) = before else { continue };
                has_evidence = true;
                if *offset <= before {
                    let why = format!(
                        "{call} was acknowledged at offset {offset} of key {key}, after the same \
                         client's {other} at {before}"
                    );
                    let roles =
                        [("earlier send", other.place), ("later send, smaller offset", call.place)];
                    return Verdict::Violated(Violation::shown_by(roles, why));
                }
            }
            _ => {}
        }
        for poll in polled(std::slice::from_ref(call)) {
            let whose = (call.client, poll.key);
            let (Some((first, _)), Some(highest)) = (poll.shown.first(), poll.highest()) else {
                continue;
            };
            let before = polls.insert(whose, (highest, call));
            // Who asks for what it has seen before gets it.
            let is_on = |(at, _): &(i64, &Call)| poll.from.is_none_or(|from| from > *at);
            let Some((before, other)) = before.filter(is_on) else { continue };
            has_evidence = true;
            if *first <= before {
                let why = format!(
                    "{call} shows offset {first} of key {}, after the same client's {other} had \
                     shown {before}",
                    poll.key
                );
                let roles =
                    [("earlier poll", other.place), ("later poll, smaller offset", call.place)];
                return Verdict::Violated(Violation::shown_by(roles, why));
            }
        }
    }
    Verdict::of(None, has_evidence, "no two offsets were to be in an order")
}

/// Evidence: an offset, known from another call, that a poll showed or should have.
pub(super) fn no_skips(calls: &[Call]) -> Verdict {
    let mut known: BTreeMap<&str, BTreeMap<i64, &Call>> = BTreeMap::new();
    for Acked { call, key, offset, .. } in acked(calls) {
        known.entry(key).or_default().entry(offset).or_insert(call);
    }
    for Polled { call, key, shown, .. } in polled(calls) {
        for (offset, _) in shown {
            known.entry(key).or_default().entry(*offset).or_insert(call);
        }
    }
    let mut has_evidence = false;
    for poll in polled(calls) {
        let Polled { call, key, from, shown } = &poll;
        let lowest = shown.iter().map(|(offset, _)| *offset).min();
        let (Some(highest), Some(from)) = (poll.highest(), from.or(lowest)) else { continue };
        let Some(known) = known.get(key).filter(|_| from <= highest) else { continue };
        let shown: BTreeSet<i64> = shown.iter().map(|(offset, _)| *offset).collect();
        for (offset, other) in known.range(from..=highest) {
            has_evidence |= other.place != call.place;
            if !shown.contains(offset) {
                let why = format!(
                    "{call} from offset {from} of key {key} shows {highest} and skips {offset}, \
                     which exists: {other}"
                );
                let roles =
                    [("message that exists", other.place), ("poll that skips it", call.place)];
                return Verdict::Violated(Violation::shown_by(roles, why));
            }
        }
    }
    Verdict::of(None, has_evidence, "no poll came to an offset that another call knows")
}

/// Evidence: an offset that two calls show.
pub(super) fn consistent(calls: &[Call]) -> Verdict {
    // How many may have sent a message to a key.
    let mut senders: BTreeMap<(&str, &Json), u32> = BTreeMap::new();
    let mut all: Vec<(&Call, &str, i64, &Json)> = Vec::new();
    for call in calls {
        match &call.what {
            What::Malformed(kind) => {
                let why = format!("{call} was answered with {kind}_ok, but not in its form");
                let roles = [("answer of no form", call.place)];
                return Verdict::Violated(Violation::shown_by(roles, why));
            }
            What::Send { key, message, sent } => {
                let may_be = u32::from(*sent != Sent::Refused);
                *senders.entry((key, message)).or_default() += may_be;
            }
            _ => {}
        }
    }
    all.extend(acked(calls).map(|one| (one.call, one.key, one.offset, one.message)));
    for Polled { call, key, shown, .. } in polled(calls) {
        all.extend(shown.iter().map(|(offset, message)| (call, key, *offset, message)));
    }
    all.sort_by_key(|(call, ..)| call.place);
    let mut messages: BTreeMap<(&str, i64), (&Json, &Call)> = BTreeMap::new();
    let mut offsets: BTreeMap<(&str, &Json), (i64, &Call)> = BTreeMap::new();
    let mut has_evidence = false;
    for (call, key, offset, message) in all {
        let count = senders.get(&(key, message)).copied().unwrap_or_default();
        if count == 0 {
            let why = format!(
                "{call} shows message {message} at offset {offset} of key {key}, which nobody sent \
                 there, or which was refused"
            );
            let roles = [("poll of what nobody sent", call.place)];
            return Verdict::Violated(Violation::shown_by(roles, why));
        }
        let (there, other) = *messages.entry((key, offset)).or_insert((message, call));
        has_evidence |= other.place != call.place;
        if there != message {
            let why = format!(
                "offset {offset} of key {key} has two messages: {message} says {call}, and {there} \
                 {other}"
            );
            let roles = [("one message", other.place), ("other at its offset", call.place)];
            return Verdict::Violated(Violation::shown_by(roles, why));
        }
        let (at, other) = *offsets.entry((key, message)).or_insert((offset, call));
        // Who is sent twice is there twice.
        if at != offset && count == 1 {
            let why = format!(
                "message {message} of key {key} has two offsets: {offset} says {call}, and {at} \
                 {other}"
            );
            let roles = [("one offset", other.place), ("other of the message", call.place)];
            return Verdict::Violated(Violation::shown_by(roles, why));
        }
    }
    Verdict::of(None, has_evidence, "no two calls show one offset")
}

/// Evidence: a list of a key that began after an acknowledged commit of it.
pub(super) fn commits(calls: &[Call]) -> Verdict {
    let mut keys: BTreeMap<&str, Vec<(i64, &Call)>> = BTreeMap::new();
    for call in calls {
        if let What::Commit(offsets) = &call.what {
            for (key, offset) in offsets {
                keys.entry(key).or_default().push((*offset, call));
            }
        }
    }
    let mut has_evidence = false;
    for list in calls {
        let What::List { keys: asked, offsets } = &list.what else { continue };
        for key in asked.iter().chain(offsets.keys()) {
            let of_key = keys.get(&**key).map_or(&[][..], |all| &all[..]);
            let began = |other: &Call| list.done.is_none_or(|done| other.asked < done);
            let shown = offsets.get(key).copied();
            if let Some(shown) = shown
                && !of_key.iter().any(|(offset, other)| *offset >= shown && began(other))
            {
                let why = format!("{list} shows {shown} for key {key}: nobody committed so much");
                let roles = [("list of what nobody committed", list.place)];
                return Verdict::Violated(Violation::shown_by(roles, why));
            }
            for (offset, commit) in of_key.iter().filter(|(_, commit)| commit.is_before(list)) {
                has_evidence = true;
                // A lower one that may have come after it is what is committed then.
                let may_be = |(lower, other): &(i64, &Call)| {
                    Some(*lower) == shown && !other.is_before(commit) && began(other)
                };
                if shown.is_none_or(|shown| shown < *offset) && !of_key.iter().any(may_be) {
                    let shown = shown.map_or("nothing".into(), |shown| shown.to_string());
                    let why = format!(
                        "{list} shows {shown} for key {key}, after {offset} was acknowledged: \
                         {commit}"
                    );
                    let roles = [("commit", commit.place), ("list that goes back", list.place)];
                    return Verdict::Violated(Violation::shown_by(roles, why));
                }
            }
        }
    }
    Verdict::of(None, has_evidence, "nobody listed what had been committed")
}
