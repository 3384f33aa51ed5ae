//! What can be next in a run whose order is chosen, as data: moves, what each of them touches, how
//! many of each kind of fault there may be. Knows no world.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// What happens next. Nodes go by their ids; the number at the end tells it from the others of its
/// kind there, and is the same in whatever order all else happens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Move {
    /// A message arrives, or the news that its link is gone: of one way the oldest under way.
    Deliver(Way),
    /// It is lost instead.
    Drop(Way),
    /// A copy of it is held back beside.
    Copy(Way),
    /// It is held back, so that later ones overtake it.
    Hold(Way),
    /// A message that was held back arrives.
    Late(Way),
    /// Two nodes make a link.
    Link(Way),
    /// A node's disk has what its last turn wrote.
    Sync(Of),
    /// A node's timers fire, being due.
    Timer(Of),
    /// They fire before that, while messages are under way: its clock runs ahead.
    Early(Of),
    /// A node stops.
    Crash(Of),
    /// Likewise, and its disk has what was being written.
    CrashKept(Of),
    /// It comes back, being due.
    Start(Of),
    /// It comes back before that, while messages are under way.
    Back(Of),
    /// A client does what it does next.
    Client(Of),
    /// Time passes until something is due.
    Time,
}

/// From one node to another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Way {
    /// From.
    pub from: u32,
    /// To.
    pub to: u32,
    /// The how manieth of this way.
    pub nth: u32,
}

/// Of one node or client.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Of {
    /// Which.
    pub of: u32,
    /// The how manieth of it.
    pub nth: u32,
}

impl Move {
    /// Whether it breaks something: those are few by their [`Budget`].
    pub fn is_fault(self) -> bool {
        Budget::default().of(self).is_some()
    }
}

/// Form of moves in plans: `deliver 1>3 #4`, `crash 2 #1`, `time`.
impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = |f: &mut fmt::Formatter<'_>, what: &str, way: &Way| {
            write!(f, "{what} {}>{} #{}", way.from, way.to, way.nth)
        };
        let of = |f: &mut fmt::Formatter<'_>, what: &str, of: &Of| {
            write!(f, "{what} {} #{}", of.of, of.nth)
        };
        match self {
            Move::Deliver(it) => way(f, "deliver", it),
            Move::Drop(it) => way(f, "drop", it),
            Move::Copy(it) => way(f, "copy", it),
            Move::Hold(it) => way(f, "hold", it),
            Move::Late(it) => way(f, "late", it),
            Move::Link(it) => way(f, "link", it),
            Move::Sync(it) => of(f, "sync", it),
            Move::Timer(it) => of(f, "timer", it),
            Move::Early(it) => of(f, "early", it),
            Move::Crash(it) => of(f, "crash", it),
            Move::CrashKept(it) => of(f, "crash-kept", it),
            Move::Start(it) => of(f, "start", it),
            Move::Back(it) => of(f, "back", it),
            Move::Client(it) => of(f, "client", it),
            Move::Time => f.write_str("time"),
        }
    }
}

impl FromStr for Move {
    type Err = String;

    fn from_str(text: &str) -> Result<Move, String> {
        let wrong =
            || format!("{text:?} is no choice: write one as \"drop 1>3 #4\" or \"crash 2 #1\"");
        let mut words = text.split(' ');
        let kind = words.next().ok_or_else(wrong)?;
        if text == "time" {
            return Ok(Move::Time);
        }
        let (Some(whose), Some(nth), None) = (words.next(), words.next(), words.next()) else {
            return Err(wrong());
        };
        let number = |text: &str| text.parse::<u32>().map_err(|_| wrong());
        let nth = number(nth.strip_prefix('#').ok_or_else(wrong)?)?;
        let way = || {
            let (from, to) = whose.split_once('>').ok_or_else(wrong)?;
            Ok::<Way, String>(Way { from: number(from)?, to: number(to)?, nth })
        };
        let of = || Ok::<Of, String>(Of { of: number(whose)?, nth });
        Ok(match kind {
            "deliver" => Move::Deliver(way()?),
            "drop" => Move::Drop(way()?),
            "copy" => Move::Copy(way()?),
            "hold" => Move::Hold(way()?),
            "late" => Move::Late(way()?),
            "link" => Move::Link(way()?),
            "sync" => Move::Sync(of()?),
            "timer" => Move::Timer(of()?),
            "early" => Move::Early(of()?),
            "crash" => Move::Crash(of()?),
            "crash-kept" => Move::CrashKept(of()?),
            "start" => Move::Start(of()?),
            "back" => Move::Back(of()?),
            "client" => Move::Client(of()?),
            _ => return Err(wrong()),
        })
    }
}

impl Serialize for Move {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Move {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Move, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A choice of a plan: at that step something else than what would be next by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// Which step, counted from 0 where choosing begins.
    pub step: u32,
    /// What.
    pub does: Move,
}

/// How many faults of each kind there may be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Messages lost.
    pub drops: u32,
    /// Messages that arrive twice.
    pub duplicates: u32,
    /// Messages overtaken by later ones.
    pub delays: u32,
    /// Timers that fire, or nodes that come back, before messages under way arrive.
    pub timeouts: u32,
    /// Nodes that stop, and come back.
    pub crashes: u32,
}

impl Budget {
    /// What is left of that kind of fault; none where it is no fault.
    pub fn of(&mut self, what: Move) -> Option<&mut u32> {
        match what {
            Move::Drop(_) => Some(&mut self.drops),
            Move::Copy(_) => Some(&mut self.duplicates),
            Move::Hold(_) => Some(&mut self.delays),
            Move::Early(_) | Move::Back(_) => Some(&mut self.timeouts),
            Move::Crash(_) | Move::CrashKept(_) => Some(&mut self.crashes),
            Move::Deliver(_)
            | Move::Late(_)
            | Move::Link(_)
            | Move::Sync(_)
            | Move::Timer(_)
            | Move::Start(_)
            | Move::Client(_)
            | Move::Time => None,
        }
    }

    /// The five numbers, by the names of their keys.
    pub fn named(&self) -> [(&'static str, u32); 5] {
        let Budget { drops, duplicates, delays, timeouts, crashes } = *self;
        [
            ("drops", drops),
            ("duplicates", duplicates),
            ("delays", delays),
            ("timeouts", timeouts),
            ("crashes", crashes),
        ]
    }

    /// How many faults in all.
    pub fn total(&self) -> u32 {
        self.named().iter().map(|(_, count)| count).sum()
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some: Vec<String> = self
            .named()
            .iter()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        f.write_str(if some.is_empty() { "no fault" } else { "" })?;
        f.write_str(&some.join(", "))
    }
}

/// What a move touched: two that touch nothing in common can change places, and nobody could tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Touched(u128);

/// The most nodes of a run whose order is chosen: each way between two is something to touch.
pub const MAX_NODES: usize = 8;

impl Touched {
    /// Everything: what waits until nothing else is under way.
    pub const ALL: Touched = Touched(u128::MAX);
    /// The clients, all together: what they ask and are told has one order, by which they are
    /// judged.
    pub const CLIENTS: Touched = Touched(1 << 100);
    /// What is kept of nodes in the order of time, because some property looks at it.
    pub const SEEN: Touched = Touched(1 << 101);

    /// A node, by its place.
    pub fn node(place: usize) -> Touched {
        Touched(1 << (place % MAX_NODES))
    }

    /// What is next on the way from one place to another.
    pub fn way(from: usize, to: usize) -> Touched {
        Touched(1 << (16 + from % MAX_NODES * MAX_NODES + to % MAX_NODES))
    }

    /// Also touches that.
    pub fn add(&mut self, more: Touched) {
        self.0 |= more.0;
    }

    /// Whether it touches a node.
    pub fn has_node(self) -> bool {
        self.0 & ((1 << MAX_NODES) - 1) != 0
    }

    /// Whether both touch something.
    pub fn meets(self, other: Touched) -> bool {
        self.0 & other.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_are_what_they_are_written_as() {
        let way = Way { from: 1, to: 3, nth: 4 };
        let of = Of { of: 2, nth: 1 };
        for (one, text) in [
            (Move::Deliver(way), "deliver 1>3 #4"),
            (Move::Drop(way), "drop 1>3 #4"),
            (Move::Copy(way), "copy 1>3 #4"),
            (Move::Hold(way), "hold 1>3 #4"),
            (Move::Late(way), "late 1>3 #4"),
            (Move::Link(way), "link 1>3 #4"),
            (Move::Sync(of), "sync 2 #1"),
            (Move::Timer(of), "timer 2 #1"),
            (Move::Early(of), "early 2 #1"),
            (Move::Crash(of), "crash 2 #1"),
            (Move::CrashKept(of), "crash-kept 2 #1"),
            (Move::Start(of), "start 2 #1"),
            (Move::Back(of), "back 2 #1"),
            (Move::Client(of), "client 2 #1"),
            (Move::Time, "time"),
        ] {
            assert_eq!((one.to_string().as_str(), text.parse()), (text, Ok(one)));
        }
        for wrong in
            ["", "x", "drop", "drop 1", "drop 1>3 4", "drop 1>x #4", "time 1", "crash 2 #1 #1"]
        {
            let why = wrong.parse::<Move>().expect_err(wrong);
            assert!(why.contains("is no choice: write one as"), "{why}");
        }
    }

    #[test]
    fn what_touches_nothing_in_common_commutes() {
        let (one, other) = (Touched::node(1), Touched::node(2));
        assert!(one.meets(one) && !one.meets(other) && one.meets(Touched::ALL));
        assert!(!Touched::way(1, 2).meets(Touched::way(2, 1)));
        let mut both = one;
        both.add(Touched::CLIENTS);
        assert!(both.meets(Touched::CLIENTS) && !both.meets(Touched::SEEN));
        for from in 0..MAX_NODES {
            for to in 0..MAX_NODES {
                let way = Touched::way(from, to);
                assert!((0..MAX_NODES).all(|node| !way.meets(Touched::node(node))));
                assert!(!way.meets(Touched::CLIENTS) && !way.meets(Touched::SEEN));
            }
        }
    }
}
