//! The history of a replica: which PUTs it holds, named so that two replicas find out whether they
//! hold the same ones. Knows neither who leads nor what is in the table.
//!
//! A PUT is named by its place (the timestamp), by the reign that gave it that place (the epoch),
//! and by a hash over everything up to it. Two histories that have the same hash at one place are
//! the same up to there; where they have not, they differ, however far each has come. A history
//! begins with a random genesis, so that those of two stores differ from the start.

use super::Timestamp;
use super::message::{Hash, History, Standing};
use crate::core::Epoch;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The PUTs that a replica holds.
pub(crate) struct Chain {
    /// Where the history begins; 0 for a replica that has none.
    genesis: Hash,
    applied: Timestamp,
    hash: Hash,
    /// The hashes at the last PUTs; the last one is `hash`.
    marks: VecDeque<Hash>,
}

/// How many PUTs back a replica can say what its hash was: half a megabyte. Whoever is further
/// behind gets a copy of the table instead of what it lacks.
const MAX_MARKS: usize = 1 << 16;

impl Chain {
    /// The replica of a node that never heard of any history.
    pub(crate) fn nothing() -> Chain {
        Chain::at(Hash(0), Timestamp(0), Hash(0))
    }

    /// A history that begins here.
    pub(crate) fn begin(genesis: u64) -> Chain {
        // 0 is for none.
        let genesis = Hash(genesis.max(1));
        Chain::at(genesis, Timestamp(0), genesis)
    }

    /// A history of which only this much is known: what comes after it.
    pub(crate) fn at(genesis: Hash, applied: Timestamp, hash: Hash) -> Chain {
        Chain { genesis, applied, hash, marks: VecDeque::from([hash]) }
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.genesis == Hash(0)
    }

    pub(crate) fn genesis(&self) -> Hash {
        self.genesis
    }

    pub(crate) fn applied(&self) -> Timestamp {
        self.applied
    }

    pub(crate) fn hash(&self) -> Hash {
        self.hash
    }

    /// Adds the PUT that follows: `hash` is over its key, timestamp and value.
    pub(crate) fn append(&mut self, reign: Epoch, hash: u64) {
        self.applied = self.applied.next();
        self.hash = link(self.hash, reign, hash);
        if self.marks.len() == MAX_MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back(self.hash);
    }

    /// The hash of everything up to this PUT, unless that is too long ago or yet to come.
    pub(crate) fn hash_at(&self, timestamp: Timestamp) -> Option<Hash> {
        let back = usize::try_from(self.applied.0.checked_sub(timestamp.0)?).ok()?;
        let place = self.marks.len().checked_sub(1 + back)?;
        self.marks.get(place).copied()
    }

    pub(crate) fn history(&self, standing: Standing) -> History {
        let Chain { genesis, applied, hash, .. } = *self;
        History { genesis, applied, hash, standing }
    }
}

/// The hash over everything up to a PUT, from that before it.
fn link(before: Hash, reign: Epoch, put: u64) -> Hash {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&put.to_le_bytes());
    bytes[8..].copy_from_slice(&reign.0.to_le_bytes());
    Hash(xxh3_64_with_seed(&bytes, before.0))
}

/// What a leader knows of one replica before it leads: its own, or what a follower reported.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) history: History,
    /// Its hashes at the places that it was asked for; none where it cannot say.
    pub(crate) marks: Vec<(Timestamp, Option<Hash>)>,
}

impl Report {
    /// Its hash at a place, if it has come that far and was asked. The inner value is missing where
    /// it cannot say.
    fn hash_at(&self, timestamp: Timestamp) -> Option<Option<Hash>> {
        if timestamp == self.history.applied {
            return Some(Some(self.history.hash));
        }
        let mark = self.marks.iter().find(|(at, _)| *at == timestamp);
        mark.map(|(_, hash)| *hash)
    }

    /// Whether the other's history is the beginning of this one, or all of it.
    fn continues(&self, other: &Report) -> bool {
        let (long, short) = (&self.history, &other.history);
        // Where it cannot be told any more, histories of one genesis are taken for one: it has one
        // writer at a time.
        let same = |hash: Option<Hash>| hash.is_none_or(|hash| hash == short.hash);
        long.genesis == short.genesis
            && long.applied >= short.applied
            && self.hash_at(short.applied).is_none_or(same)
    }
}

/// What a leader makes of all reports, its own first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Finding {
    /// Nobody ever had anything: a new history begins.
    Nothing,
    /// This report's history has everything that was ever acknowledged.
    Holder(usize),
    /// More must be asked: the hashes at these places.
    Ask(Vec<Timestamp>),
    /// There was a history, and nobody is left who has all of it.
    Lost,
    /// Histories contradict each other, and no majority of those who have one agrees.
    Differ,
}

/// Which history goes on. A PUT is acknowledged when all replicas have it, so the longest history
/// has all that were, as long as the others are beginnings of it. A history that contradicts the
/// others is not of this store, or was changed, and is outvoted by a majority of those that there
/// are.
///
/// On disks (`durable`), who has nothing either never had, and then nothing was ever acknowledged,
/// or was emptied. Two who say so, and one who lacks something, would be three bad disks at once.
pub(crate) fn find(reports: &[Report], durable: bool) -> Finding {
    let whole = |report: &&Report| report.history.standing == Standing::Whole;
    let holders = reports.iter().filter(whole).count();
    if holders == 0 {
        let nothing = |report: &&Report| report.history.standing == Standing::Nothing;
        let nothings = reports.iter().filter(nothing).count();
        let is_new = nothings == reports.len() || (durable && nothings >= 2);
        return if is_new { Finding::Nothing } else { Finding::Lost };
    }
    let ends = || reports.iter().filter(whole).map(|report| report.history.applied);
    let unknown = |report: &Report, at: &Timestamp| {
        *at < report.history.applied && report.hash_at(*at).is_none()
    };
    if reports.iter().filter(whole).any(|report| ends().any(|at| unknown(report, &at))) {
        let mut places: Vec<Timestamp> = ends().collect();
        places.sort_unstable();
        places.dedup();
        return Finding::Ask(places);
    }
    // The first of several that are equally far, so that a leader that has everything copies
    // nothing.
    let mut longest: Option<usize> = None;
    let mut contested = false;
    for (place, report) in reports.iter().enumerate().filter(|(_, report)| whole(report)) {
        let group = reports.iter().filter(whole).filter(|other| report.continues(other)).count();
        if 2 * group <= holders {
            continue;
        }
        match longest.map(|longest| &reports[longest]) {
            None => longest = Some(place),
            Some(other) if other.continues(report) => {}
            Some(other) if report.continues(other) => longest = Some(place),
            Some(_) => contested = true,
        }
    }
    match longest {
        Some(place) if !contested => Finding::Holder(place),
        Some(_) | None => Finding::Differ,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn chain(genesis: u64, values: &str) -> Chain {
        let mut chain = Chain::begin(genesis);
        for value in values.bytes() {
            chain.append(Epoch(1), value.into());
        }
        chain
    }

    /// What each of these answers when it is asked for the ends of all.
    fn asked(chains: &[(&Chain, Standing)]) -> Vec<Report> {
        let ends: Vec<Timestamp> = chains.iter().map(|(chain, _)| chain.applied()).collect();
        let report = |(chain, standing): &(&Chain, Standing)| Report {
            history: chain.history(*standing),
            marks: ends.iter().map(|end| (*end, chain.hash_at(*end))).collect(),
        };
        chains.iter().map(report).collect()
    }

    fn found(chains: &[&Chain]) -> Finding {
        let whole: Vec<_> = chains.iter().map(|chain| (*chain, Standing::Whole)).collect();
        find(&asked(&whole), false)
    }

    #[test]
    fn a_hash_names_reign_and_put_and_all_before() {
        let hash = |puts: &[(u64, u64)]| {
            let mut chain = Chain::begin(7);
            puts.iter().for_each(|(reign, put)| chain.append(Epoch(*reign), *put));
            chain.hash()
        };
        let one = hash(&[(1, 5)]);
        let others = [
            hash(&[(2, 5)]),
            hash(&[(5, 1)]),
            hash(&[(1, 6)]),
            hash(&[(1, 5), (1, 5)]),
            hash(&[(1, 6), (1, 5)]),
            chain(8, "").hash(),
        ];
        assert!(others.iter().all(|other| *other != one));
        assert_eq!(hash(&[(1, 5)]), one);
    }

    #[test]
    fn marks_reach_back_as_far_as_they_are_kept() {
        let mut chain = Chain::begin(1);
        let mut hashes = vec![chain.hash()];
        for _ in 0..MAX_MARKS + 10 {
            chain.append(Epoch(1), 9);
            hashes.push(chain.hash());
        }
        let last = hashes.len() - 1;
        for (back, known) in [(0, true), (MAX_MARKS - 1, true), (MAX_MARKS, false), (last, false)] {
            let at = last - back;
            let expected = known.then(|| hashes[at]);
            assert_eq!(chain.hash_at(Timestamp(at as u64)), expected, "{back} back");
        }
        assert_eq!(chain.hash_at(Timestamp(last as u64 + 1)), None);
    }

    #[test]
    fn the_longest_of_agreeing_histories_goes_on() {
        let (short, long) = (chain(1, "ab"), chain(1, "abcd"));
        assert_eq!(found(&[&long, &short, &short]), Finding::Holder(0));
        assert_eq!(found(&[&short, &short, &long]), Finding::Holder(2));
        assert_eq!(found(&[&long, &long, &long]), Finding::Holder(0), "nothing is copied");
        assert_eq!(found(&[&short, &long]), Finding::Holder(1));
    }

    #[test]
    fn one_history_that_contradicts_the_others_is_outvoted() {
        let (ours, foreign) = (chain(1, "abc"), chain(2, "abcdef"));
        let changed = chain(1, "axcd");
        for odd in [&foreign, &changed] {
            assert_eq!(found(&[odd, &ours, &ours]), Finding::Holder(1));
            assert_eq!(found(&[&ours, odd, &chain(1, "abcd")]), Finding::Holder(2));
            assert_eq!(found(&[odd, &ours]), Finding::Differ, "who of two is wrong?");
            assert_eq!(found(&[odd, &ours, &chain(3, "")]), Finding::Differ);
        }
        // Each has a majority with the short one.
        let (one, other) = (chain(1, "abc"), chain(1, "abx"));
        assert_eq!(found(&[&chain(1, "ab"), &one, &other]), Finding::Differ);
    }

    #[test]
    fn who_lacks_something_decides_nothing() {
        use Standing::{Nothing, Partial, Whole};
        let (none, some, all) = (Chain::nothing(), chain(1, "a"), chain(1, "abc"));
        assert_eq!(find(&asked(&[(&none, Nothing), (&none, Nothing)]), false), Finding::Nothing);
        assert_eq!(find(&asked(&[(&none, Nothing), (&none, Partial)]), false), Finding::Lost);
        assert_eq!(find(&asked(&[(&none, Nothing), (&some, Partial)]), false), Finding::Lost);
        // Of memories nothing is what every start has; of disks, what one that was never written
        // has.
        let new = asked(&[(&none, Nothing), (&none, Nothing), (&none, Partial)]);
        assert_eq!((find(&new, false), find(&new, true)), (Finding::Lost, Finding::Nothing));
        let lost = asked(&[(&none, Nothing), (&none, Partial), (&none, Partial)]);
        assert_eq!(find(&lost, true), Finding::Lost);
        let reports = asked(&[(&none, Nothing), (&all, Partial), (&some, Whole)]);
        assert_eq!(find(&reports, false), Finding::Holder(2));
    }

    #[test]
    fn what_is_not_known_is_asked_for_once() {
        let (short, long) = (chain(1, "ab"), chain(1, "abcd"));
        let reports = [&long, &short]
            .map(|chain| Report { history: chain.history(Standing::Whole), marks: vec![] });
        assert_eq!(find(&reports, false), Finding::Ask(vec![Timestamp(2), Timestamp(4)]));
        let mut reports = reports.to_vec();
        reports[0].marks.push((Timestamp(2), None));
        assert_eq!(find(&reports, false), Finding::Holder(0), "it cannot say, and is believed");
    }
}
