//! Verdicts on histories: pure functions that say whether a named property held in a run.
//!
//! A checker knows only what clients saw and what replicas held in the end ([`history`] has the
//! form), what the lottery's central left in its file, and when nodes started, stopped, sent, received,
//! said who coordinates, and what their clocks showed ([`timeline`]); it knows nothing of a protocol's messages or state, so the same verdicts hold for simulated and
//! for real runs.
//!
//! **Time.** All times are of one clock. An operation precedes another when its answer came
//! strictly before the other was sent; equal times count as overlapping. One client's operations
//! are in order even when one is sent at the very time at which the one before was answered. A PUT
//! without a certain outcome may take effect at any time after it was sent, or never.
//!
//! **Start.** A history begins with an empty store and holds every client that wrote to it.

mod board;
mod clocks;
mod describe;
mod election;
pub mod history;
mod linearizable;
mod lottery;
mod members;
mod read;
mod regular;
mod replicas;
mod search;
mod sessions;
mod skew;
#[cfg(test)]
mod testing;
pub mod timeline;
mod writes;
mod zones;

pub use self::read::ReadError;

use self::history::{Board, Kind, Lottery, Op, Outcome, Replica};
use self::timeline::{Bounds, Happening};
use std::fmt;
use std::str::FromStr;

/// A run as its clients saw it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct History {
    /// The operations, in any order.
    pub ops: Vec<Op>,
    /// What replicas held at the end; empty when nobody looked.
    pub replicas: Vec<Replica>,
    /// A run of the lottery; none when there was none.
    pub lottery: Option<Lottery>,
    /// A run of the bulletin board; none when there was none.
    pub board: Option<Board>,
    /// What nodes did, in the order in which it happened on each node; empty when nobody looked.
    pub timeline: Vec<Happening>,
    /// What elections, clocks and lists are held against.
    pub bounds: Bounds,
    /// Whether who wrote it saw all nodes from outside: who was held up, and when faults were. The
    /// simulator does; traces of real nodes do not.
    pub is_simulated: bool,
}

/// What can be asked of a history. Each has its statement and its source at its checker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Property {
    /// A client never sees a key go back.
    MonotonicReads,
    /// A client sees its own writes of a key.
    ReadYourWrites,
    /// A GET that starts after a PUT was answered sees it or a newer one, and only what was PUT.
    RegularRegister,
    /// A timestamp stands for one value, and a PUT takes effect once.
    UniqueTimestamps,
    /// PUTs have one order, that of their timestamps, and it respects time.
    LinearizableWrites,
    /// In the end all replicas hold the same.
    ReplicasEqual,
    /// Each key behaves as one register would.
    Linearizable,
    /// An event that another may have caused has a greater Lamport value.
    ClockCondition,
    /// A node's Lamport clock never goes back or stands still.
    ClockStrictlyIncreases,
    /// When nothing disturbs them, all nodes hold a coordinator that they can reach.
    ElectionTerminates,
    /// When nothing disturbs them, nodes that can reach each other hold the same coordinator.
    OneCoordinatorPerComponent,
    /// When nothing disturbs them, the coordinator is the highest node within reach.
    HighestLiveIdWins,
    /// No two nodes hold themselves coordinator, for longer than it takes to hand over.
    OneCoordinator,
    /// No node goes back to a reign before the one that it knew.
    ReignsGoForward,
    /// Who hears a higher node follows nobody below it.
    LiveHigherPrevails,
    /// Clocks that were corrected in one round are close to each other.
    SkewBound,
    /// A corrected clock never runs backwards.
    ClockNeverBackwards,
    /// One clock that is far off has none of the others moved far.
    OneLiarMovesNobody,
    /// A node has one rank for ever, and a rank one node.
    RanksUniqueAndStable,
    /// Who dies is off the list in time, and nobody else.
    DeathNoticedInTime,
    /// Nobody hears a user's posts in another order than they were sent.
    PerPublisherOrder,
    /// Nobody hears a post twice.
    DeliveredAtMostOnce,
    /// Who listens hears what is published, or is told that something is missing.
    NoSilentGap,
    /// What is heard was posted, and its client not told otherwise.
    AnswersMatchDeliveries,
    /// What was acknowledged is in the file once, and nothing that was not sent.
    StoredExactlyOnce,
    /// What was acknowledged is in the file after every crash.
    AckImpliesDurable,
    /// A batch is in the file whole, or not at all.
    BatchAllOrNothing,
    /// The draw takes place once, after all agencies have finished.
    DrawOnceAfterAll,
    /// An agency is told all of its winners, and nobody else's.
    WinnersOnlyToTheirAgency,
}

impl Property {
    /// All properties.
    pub const ALL: [Property; 29] = [
        Property::MonotonicReads,
        Property::ReadYourWrites,
        Property::RegularRegister,
        Property::UniqueTimestamps,
        Property::LinearizableWrites,
        Property::ReplicasEqual,
        Property::Linearizable,
        Property::ClockCondition,
        Property::ClockStrictlyIncreases,
        Property::ElectionTerminates,
        Property::OneCoordinatorPerComponent,
        Property::HighestLiveIdWins,
        Property::OneCoordinator,
        Property::ReignsGoForward,
        Property::LiveHigherPrevails,
        Property::SkewBound,
        Property::ClockNeverBackwards,
        Property::OneLiarMovesNobody,
        Property::RanksUniqueAndStable,
        Property::DeathNoticedInTime,
        Property::PerPublisherOrder,
        Property::DeliveredAtMostOnce,
        Property::NoSilentGap,
        Property::AnswersMatchDeliveries,
        Property::StoredExactlyOnce,
        Property::AckImpliesDurable,
        Property::BatchAllOrNothing,
        Property::DrawOnceAfterAll,
        Property::WinnersOnlyToTheirAgency,
    ];

    /// Its name in scenarios, on the command line and in verdicts.
    pub fn name(self) -> &'static str {
        match self {
            Property::MonotonicReads => "monotonic_reads",
            Property::ReadYourWrites => "read_your_writes",
            Property::RegularRegister => "regular_register",
            Property::UniqueTimestamps => "unique_timestamps",
            Property::LinearizableWrites => "linearizable_writes",
            Property::ReplicasEqual => "replicas_equal",
            Property::Linearizable => "linearizable",
            Property::ClockCondition => "clock_condition",
            Property::ClockStrictlyIncreases => "clock_strictly_increases",
            Property::ElectionTerminates => "election_terminates",
            Property::OneCoordinatorPerComponent => "one_coordinator_per_component",
            Property::HighestLiveIdWins => "highest_live_id_wins",
            Property::OneCoordinator => "one_coordinator",
            Property::ReignsGoForward => "reigns_go_forward",
            Property::LiveHigherPrevails => "live_higher_prevails",
            Property::SkewBound => "skew_bound",
            Property::ClockNeverBackwards => "clock_never_backwards",
            Property::OneLiarMovesNobody => "one_liar_moves_nobody",
            Property::RanksUniqueAndStable => "ranks_unique_and_stable",
            Property::DeathNoticedInTime => "death_noticed_in_time",
            Property::PerPublisherOrder => "per_publisher_order",
            Property::DeliveredAtMostOnce => "delivered_at_most_once",
            Property::NoSilentGap => "no_silent_gap",
            Property::AnswersMatchDeliveries => "answers_match_deliveries",
            Property::StoredExactlyOnce => "stored_exactly_once",
            Property::AckImpliesDurable => "ack_implies_durable",
            Property::BatchAllOrNothing => "batch_all_or_nothing",
            Property::DrawOnceAfterAll => "draw_once_after_all",
            Property::WinnersOnlyToTheirAgency => "winners_only_to_their_agency",
        }
    }
}

/// What a run needs to have before a property can be judged in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Need {
    /// Clients of a key-value store.
    StoreClients,
    /// Several replicas of a key-value store, and clients.
    Replicas,
    /// Agencies of a lottery.
    Agencies,
    /// Clients of a bulletin board.
    BoardClients,
    /// Nodes that send each other messages.
    Messages,
    /// Nodes that elect.
    Elections,
    /// Nodes that elect, and do nothing else.
    OnlyElections,
    /// Nodes whose clocks are corrected.
    Clocks,
    /// Nodes that get ranks.
    Ranks,
    /// A node that lists others.
    Lists,
}

impl Property {
    /// What it takes to judge it.
    pub fn need(self) -> Need {
        match self {
            Property::MonotonicReads
            | Property::ReadYourWrites
            | Property::RegularRegister
            | Property::UniqueTimestamps
            | Property::LinearizableWrites
            | Property::Linearizable => Need::StoreClients,
            Property::ReplicasEqual => Need::Replicas,
            Property::ClockCondition | Property::ClockStrictlyIncreases => Need::Messages,
            Property::ElectionTerminates
            | Property::OneCoordinatorPerComponent
            | Property::HighestLiveIdWins
            | Property::OneCoordinator
            | Property::ReignsGoForward => Need::Elections,
            Property::LiveHigherPrevails => Need::OnlyElections,
            Property::SkewBound | Property::ClockNeverBackwards | Property::OneLiarMovesNobody => {
                Need::Clocks
            }
            Property::RanksUniqueAndStable => Need::Ranks,
            Property::DeathNoticedInTime => Need::Lists,
            Property::PerPublisherOrder
            | Property::DeliveredAtMostOnce
            | Property::NoSilentGap
            | Property::AnswersMatchDeliveries => Need::BoardClients,
            Property::StoredExactlyOnce
            | Property::AckImpliesDurable
            | Property::BatchAllOrNothing
            | Property::DrawOnceAfterAll
            | Property::WinnersOnlyToTheirAgency => Need::Agencies,
        }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Property {
    type Err = UnknownProperty;

    fn from_str(name: &str) -> Result<Property, UnknownProperty> {
        Property::ALL.into_iter().find(|property| property.name() == name).ok_or(UnknownProperty)
    }
}

/// A name that no property has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownProperty;

impl fmt::Display for UnknownProperty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Property::ALL.map(Property::name).join(", ");
        write!(f, "no such property; there are {names}")
    }
}

impl std::error::Error for UnknownProperty {}

/// Whether a property held.
///
/// It held only where something in the history could have broken it: each checker says what counts as
/// its **evidence**.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It held in this history, which has evidence of it.
    Held,
    /// It did not.
    Violated(Violation),
    /// The history has no evidence of it: never to be read as success, though another history of
    /// the same kind may have some.
    Unknown {
        /// What it lacks, in one line.
        why: String,
    },
    /// The checker gave up, or the history is none of a run: never to be read as success.
    Undecided {
        /// Why, in one line.
        why: String,
    },
}

impl Verdict {
    /// What broke a property, or that it held if there was evidence of it.
    fn of(broken: Option<Violation>, has_evidence: bool, lacks: &str) -> Verdict {
        match broken {
            Some(violation) => Verdict::Violated(violation),
            None if has_evidence => Verdict::Held,
            None => Verdict::Unknown { why: lacks.into() },
        }
    }
}

/// What broke a property.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The broken property.
    pub property: Property,
    /// One line: clients, keys, timestamps, times.
    pub why: String,
    /// The operations that it rests on, as indexes into [`History::ops`], or [`Lottery::asks`] for
    /// what concerns the lottery, or [`Board::posts`] for what concerns the board, the one that broke it first; empty for what the timeline shows.
    pub ops: Vec<usize>,
    /// When it first showed, in nanoseconds as in [`History::timeline`]; none where operations say
    /// it.
    pub at: Option<u64>,
}

/// Says whether `property` held in `history`.
pub fn check(property: Property, history: &History) -> Verdict {
    match property {
        Property::MonotonicReads => sessions::monotonic_reads(&history.ops),
        Property::ReadYourWrites => sessions::read_your_writes(&history.ops),
        Property::RegularRegister => regular::regular_register(&history.ops),
        Property::UniqueTimestamps => regular::unique_timestamps(&history.ops),
        Property::LinearizableWrites => writes::linearizable_writes(&history.ops),
        Property::ReplicasEqual => replicas::replicas_equal(&history.replicas),
        Property::Linearizable => linearizable::linearizable(&history.ops),
        Property::ClockCondition => clocks::clock_condition(&history.timeline),
        Property::ClockStrictlyIncreases => clocks::clock_strictly_increases(&history.timeline),
        Property::ElectionTerminates => election::election_terminates(history),
        Property::OneCoordinatorPerComponent => election::one_coordinator_per_component(history),
        Property::HighestLiveIdWins => election::highest_live_id_wins(history),
        Property::OneCoordinator => election::one_coordinator(history),
        Property::ReignsGoForward => election::reigns_go_forward(history),
        Property::LiveHigherPrevails => election::live_higher_prevails(history),
        Property::SkewBound => skew::skew_bound(history),
        Property::ClockNeverBackwards => skew::clock_never_backwards(history),
        Property::OneLiarMovesNobody => skew::one_liar_moves_nobody(history),
        Property::RanksUniqueAndStable => members::ranks_unique_and_stable(history),
        Property::DeathNoticedInTime => members::death_noticed_in_time(history),
        Property::PerPublisherOrder => board::per_publisher_order(history),
        Property::DeliveredAtMostOnce => board::delivered_at_most_once(history),
        Property::NoSilentGap => board::no_silent_gap(history),
        Property::AnswersMatchDeliveries => board::answers_match_deliveries(history),
        Property::StoredExactlyOnce => lottery::stored_exactly_once(history),
        Property::AckImpliesDurable => lottery::ack_implies_durable(history),
        Property::BatchAllOrNothing => lottery::batch_all_or_nothing(history),
        Property::DrawOnceAfterAll => lottery::draw_once_after_all(history),
        Property::WinnersOnlyToTheirAgency => lottery::winners_only_to_their_agency(history),
    }
}

impl Op {
    /// A PUT that was answered with PUT_OK.
    fn is_acknowledged_put(&self) -> bool {
        self.op == Kind::Put && self.outcome == Outcome::Ok
    }

    /// The timestamp that a GET saw, NULL counting as 0; none for a PUT, and for a GET that was
    /// refused or not answered, which is no read.
    fn seen_timestamp(&self) -> Option<u64> {
        match (self.op, self.outcome) {
            (Kind::Get, Outcome::Ok) => Some(self.timestamp),
            (Kind::Get, Outcome::Null) => Some(0),
            (
                Kind::Get,
                Outcome::TryOther | Outcome::NotApplied | Outcome::MayStillApply | Outcome::Unknown,
            )
            | (Kind::Put, _) => None,
        }
    }

    /// The end of the operation, in nanoseconds; no time is later than that of one that never
    /// ended.
    fn end_ns(&self) -> u64 {
        self.return_ns.unwrap_or(u64::MAX)
    }
}

/// The indexes of `ops` client by client, each client's in the order in which it issued them.
fn by_client(ops: &[Op]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..ops.len()).collect();
    order.sort_by_key(|&i| (ops[i].client, ops[i].invoke_ns, ops[i].end_ns(), i));
    order
}

/// The indexes of `ops` in the order in which they were sent.
fn by_invocation(ops: &[Op]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..ops.len()).collect();
    order.sort_by_key(|&i| (ops[i].invoke_ns, ops[i].end_ns(), i));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_property_is_found_by_its_name() {
        for property in Property::ALL {
            assert_eq!(property.name().parse(), Ok(property));
        }
        assert_eq!("Linearizable".parse::<Property>(), Err(UnknownProperty));
        assert!(
            UnknownProperty.to_string().ends_with(
                "batch_all_or_nothing, draw_once_after_all, winners_only_to_their_agency"
            )
        );
    }

    /// What nothing could have broken is not held.
    #[test]
    fn an_empty_history_shows_nothing_of_any_property() {
        for property in Property::ALL {
            let verdict = check(property, &History::default());
            assert!(matches!(verdict, Verdict::Unknown { .. }), "{property}: {verdict:?}");
        }
    }
}
