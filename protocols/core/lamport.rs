//! Lamport's logical clock (Lamport, "Time, Clocks, and the Ordering of Events in a Distributed
//! System", CACM 1978). One per node; the Host moves it with every frame, whatever the protocol.

use super::{Time, WallTime};
use ::core::fmt;
use serde::{Deserialize, Serialize};

/// A value of the logical clock.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct LamportTime(pub u64);

/// What a receive does to the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LamportRule {
    /// `max(local, received) + 1`: the textbook's, which keeps the clock condition.
    #[default]
    MaxPlusOne,
    /// `max(local, received)`: a receive may then equal its send. For showing what breaks.
    Max,
    /// `received + 1`, a planted bug: a clock that is ahead is set back.
    #[cfg(feature = "mutants")]
    Received,
    /// `local + 1`, a planted bug: nothing is learnt from what is received.
    #[cfg(feature = "mutants")]
    Local,
    /// The textbook's, with a planted bug: a restart begins anew, whatever bound was kept.
    #[cfg(feature = "mutants")]
    Forgets,
}

/// How far above the local value a received one may be. A node gains one for each event, so an
/// honest peer needs centuries to get this far ahead; a forged value would otherwise push every
/// clock of the cluster to the end of its range.
const MAX_JUMP: u64 = 1 << 32;

/// How far all clients together may move the clock ahead each second: no faster than events happen
/// elsewhere, so that a client that has heard of those is believed. Clients are not known, and make
/// requests as fast as they can: without a bound they would take the clock out of its peers' reach.
const CLIENT_LEAD_PER_SECOND: u64 = 1 << 20;

/// How far they may at once, after a while: half of what a peer takes.
const MAX_CLIENT_LEAD: u64 = MAX_JUMP / 2;

/// Where no clock can honestly stand: events since [`BEGINNING`], were there [`EVENTS_PER_SECOND`]
/// in each second, above what older versions let a forged greeting do, and what restarts added to
/// that. A node that starts anew, or missed what others were told, may be further behind than a
/// frame may be ahead, and catches up when a link is made: with anything up to here.
///
/// It rises faster than clocks do, so one that a lie took as far as this is within it again a
/// moment later, and everywhere. And it leaves room: 2^64 is 2,000 years away.
const CEILING: u64 = (1 << 63) + (1 << 48);
const EVENTS_PER_SECOND: u64 = 1 << 27;

/// 1 January 2025. A wall clock that shows less is not set.
const BEGINNING: WallTime = WallTime::from_millis(1_735_689_600_000);

/// How far ahead of its value a durable clock is reserved: one record for a million events, and a
/// restart skips at most so many values.
const RESERVED_AHEAD: u64 = 1 << 20;

/// A received value that was refused, and so changed nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Jump {
    /// The local value, as it was and is.
    pub local: LamportTime,
    /// The value that the frame carried.
    pub received: LamportTime,
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Jump { local, received } = self;
        write!(f, "its Lamport value {} is too far above the local {}", received.0, local.0)
    }
}

/// The clock of one node.
///
/// A durable one never goes back across a restart: before it passes a bound, a higher bound is
/// written to the log, and a restart begins at the last one written.
#[derive(Clone, Debug)]
pub struct LamportClock {
    value: u64,
    rule: LamportRule,
    /// The highest value that a restart would not repeat; none when nothing is written.
    reserved: Option<u64>,
    /// How far ahead clients might still move it, and when that was.
    client_lead: (u64, Time),
    /// Nobody is believed who says more.
    ceiling: u64,
}

impl Default for LamportClock {
    fn default() -> Self {
        LamportClock::new(LamportRule::default(), false)
    }
}

impl LamportClock {
    /// A clock at zero.
    pub fn new(rule: LamportRule, durable: bool) -> LamportClock {
        let reserved = durable.then_some(0);
        LamportClock {
            value: 0,
            rule,
            reserved,
            client_lead: (CLIENT_LEAD_PER_SECOND, Time::default()),
            ceiling: CEILING,
        }
    }

    /// The wall clock shows this: so many events may have happened somewhere. Never goes back.
    pub fn set_wall(&mut self, wall: WallTime) {
        let seconds = wall.0.saturating_sub(BEGINNING.0) / 1_000_000_000;
        let events = seconds.saturating_mul(EVENTS_PER_SECOND);
        self.ceiling = self.ceiling.max(CEILING.saturating_add(events));
    }

    /// Whether it stands where no other clock would follow it: its bound was made by lies, and by
    /// an older version, or the machine's wall clock is not set.
    ///
    /// # Errors
    /// It is too far ahead.
    pub fn check(&self) -> Result<(), Jump> {
        self.believe(self.value())
    }

    fn believe(&self, received: LamportTime) -> Result<(), Jump> {
        if received.0 > self.ceiling {
            return Err(Jump { local: self.value(), received });
        }
        Ok(())
    }

    /// Begins where the bound of an earlier start allows.
    pub fn recover(&mut self, bound: LamportTime) {
        #[cfg(feature = "mutants")]
        if self.rule == LamportRule::Forgets {
            return;
        }
        self.value = self.value.max(bound.0);
        if let Some(reserved) = &mut self.reserved {
            *reserved = bound.0.max(*reserved);
        }
    }

    /// The bound that must be durable before the present value leaves the node, if it is a new
    /// one.
    pub fn reserve(&mut self) -> Option<LamportTime> {
        let reserved = self.reserved.as_mut().filter(|reserved| self.value > **reserved)?;
        *reserved = self.value.saturating_add(RESERVED_AHEAD);
        Some(LamportTime(*reserved))
    }

    /// The bound in force, for a snapshot; none when nothing is written.
    pub fn reserved(&self) -> Option<LamportTime> {
        self.reserved.map(LamportTime)
    }

    /// The value now.
    pub fn value(&self) -> LamportTime {
        LamportTime(self.value)
    }

    /// A local event or a send: one step, and the value that the event has.
    pub fn tick(&mut self) -> LamportTime {
        // 2^64 events do not happen, and the ceiling bounds what others can add.
        self.value = self.value.saturating_add(1);
        self.value()
    }

    /// A receive of a frame that was sent at `received`.
    ///
    /// # Errors
    /// The value is too far ahead; the clock stays where it is.
    pub fn observe(&mut self, received: LamportTime) -> Result<LamportTime, Jump> {
        if received.0 > self.value.saturating_add(MAX_JUMP) {
            return Err(Jump { local: self.value(), received });
        }
        self.believe(received)?;
        Ok(self.receive(received))
    }

    /// A receive, at `now`, of a request that a client sent at `received` on its own clock.
    ///
    /// # Errors
    /// The value is too far ahead; the clock stays where it is.
    pub fn observe_client(
        &mut self,
        received: LamportTime,
        now: Time,
    ) -> Result<LamportTime, Jump> {
        let (left, since) = self.client_lead;
        let earned = (now - since).as_nanos() * u128::from(CLIENT_LEAD_PER_SECOND) / 1_000_000_000;
        let earned = u64::try_from(earned).unwrap_or(MAX_CLIENT_LEAD);
        let left = left.saturating_add(earned).min(MAX_CLIENT_LEAD);
        let lead = received.0.saturating_sub(self.value);
        if lead > left {
            return Err(Jump { local: self.value(), received });
        }
        self.believe(received)?;
        self.client_lead = (left - lead, now);
        Ok(self.receive(received))
    }

    fn receive(&mut self, received: LamportTime) -> LamportTime {
        match self.rule {
            #[cfg(feature = "mutants")]
            LamportRule::Received => self.value = received.0,
            #[cfg(feature = "mutants")]
            LamportRule::Local => {}
            _ => self.value = self.value.max(received.0),
        }
        match self.rule {
            LamportRule::MaxPlusOne => self.tick(),
            LamportRule::Max => self.value(),
            #[cfg(feature = "mutants")]
            LamportRule::Received | LamportRule::Local | LamportRule::Forgets => self.tick(),
        }
    }

    /// A link to a peer whose clock stands at `theirs` is made: this one is not behind any more. No
    /// event, and so no step.
    ///
    /// # Errors
    /// The value is too far ahead; the clock stays where it is.
    pub fn catch_up(&mut self, theirs: LamportTime) -> Result<(), Jump> {
        self.believe(theirs)?;
        self.value = self.value.max(theirs.0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_durable_clock_reserves_ahead_and_starts_again_above_everything_it_said() {
        let mut clock = LamportClock::new(LamportRule::MaxPlusOne, true);
        assert_eq!(clock.reserve(), None);
        assert_eq!(clock.tick(), LamportTime(1));
        let bound = clock.reserve().unwrap();
        assert_eq!(bound, LamportTime(1 + RESERVED_AHEAD));
        for _ in 1..bound.0 {
            clock.tick();
            assert_eq!(clock.reserve(), None);
        }
        assert!(clock.tick() > bound);
        assert!(clock.reserve() > Some(bound));

        let mut again = LamportClock::new(LamportRule::MaxPlusOne, true);
        again.recover(bound);
        assert!(again.tick() > bound);
        assert!(again.reserve().is_some());
    }

    #[test]
    fn a_clock_without_a_log_reserves_nothing() {
        let mut clock = LamportClock::default();
        clock.tick();
        assert_eq!(clock.reserve(), None);
    }

    #[test]
    fn a_newcomer_catches_up_when_a_link_is_made_but_not_beyond_reason() {
        let mut clock = LamportClock::default();
        assert_eq!(clock.catch_up(LamportTime(MAX_JUMP * 16)), Ok(()));
        assert_eq!(clock.value(), LamportTime(MAX_JUMP * 16));
        assert_eq!(clock.catch_up(LamportTime(3)), Ok(()));
        assert_eq!(clock.value(), LamportTime(MAX_JUMP * 16));
        assert!(clock.catch_up(LamportTime(u64::MAX)).is_err());
        assert_eq!(clock.value(), LamportTime(MAX_JUMP * 16));
    }

    /// Whatever a liar says, by whichever way: a moment later all honest clocks believe each other.
    #[test]
    fn no_lie_takes_a_clock_to_where_others_refuse_it() {
        let now = |seconds: u64| WallTime(BEGINNING.0 + seconds * 1_000_000_000);
        let year = 365 * 86_400;
        for at in [0, year, 100 * year, 500 * year] {
            let (mut lied_to, mut honest) = (LamportClock::default(), LamportClock::default());
            lied_to.set_wall(now(at));
            // The highest that it believes.
            let (mut low, mut high) = (0, u64::MAX);
            while low < high {
                let middle = low + (high - low).div_ceil(2);
                match lied_to.clone().catch_up(LamportTime(middle)) {
                    Ok(()) => low = middle,
                    Err(_) => high = middle - 1,
                }
            }
            lied_to.catch_up(LamportTime(low)).unwrap();
            // What it believes is checked against the present ceiling alone, in frames as well.
            assert!(lied_to.observe(LamportTime(low + 1)).is_err());
            assert!(lied_to.observe_client(LamportTime(low + 1), Time(u64::MAX)).is_err());
            // A second in which as much happens as one can imagine.
            for _ in 0..1_000_000 {
                lied_to.tick();
            }
            honest.set_wall(now(at + 1));
            assert_eq!(honest.catch_up(lied_to.value()), Ok(()));
            assert!(honest.tick() > lied_to.value());
            assert_eq!(
                lied_to.observe(honest.value()),
                Err(Jump { local: lied_to.value(), received: honest.value() }),
                "its wall clock stands still"
            );
            lied_to.set_wall(now(at + 1));
            assert!(lied_to.observe(honest.value()).is_ok());
        }
    }

    #[test]
    fn what_an_older_version_was_made_to_store_is_gone_on_from() {
        let bound = LamportTime((1 << 63) + 40 * RESERVED_AHEAD);
        let mut clock = LamportClock::new(LamportRule::MaxPlusOne, true);
        clock.recover(bound);
        assert_eq!(clock.check(), Ok(()));
        assert!(clock.tick() > bound);
        assert!(clock.reserve().is_some());
        // Others take it, with a wall clock that was never set as well.
        let mut other = LamportClock::default();
        other.set_wall(WallTime(0));
        assert_eq!(other.catch_up(clock.value()), Ok(()));
        // Where no clock can be it is told.
        clock.recover(LamportTime(u64::MAX - 1));
        assert!(clock.check().is_err());
        assert_eq!((clock.tick(), clock.tick()), (LamportTime(u64::MAX), LamportTime(u64::MAX)));
    }

    #[test]
    fn a_receive_is_later_than_its_send_and_than_the_local_past() {
        let mut clock = LamportClock::default();
        assert_eq!(clock.tick(), LamportTime(1));
        assert_eq!(clock.observe(LamportTime(7)), Ok(LamportTime(8)));
        assert_eq!(clock.observe(LamportTime(2)), Ok(LamportTime(9)));
    }

    #[test]
    fn rule_max_lets_a_receive_equal_its_send() {
        let mut clock = LamportClock::new(LamportRule::Max, false);
        assert_eq!(clock.observe(LamportTime(7)), Ok(LamportTime(7)));
    }

    #[test]
    fn a_forged_value_changes_nothing() {
        let mut clock = LamportClock::default();
        clock.tick();
        for forged in [u64::MAX, MAX_JUMP + 2] {
            assert!(clock.observe(LamportTime(forged)).is_err());
            assert_eq!(clock.value(), LamportTime(1));
        }
        assert!(clock.observe(LamportTime(MAX_JUMP + 1)).is_ok());
    }

    #[test]
    fn clients_move_the_clock_no_faster_than_events_happen() {
        let mut clock = LamportClock::default();
        let at = |millis: u64| Time(millis * 1_000_000);
        let second = CLIENT_LEAD_PER_SECOND;
        assert!(clock.observe_client(LamportTime(second + 1), at(0)).is_err());
        assert_eq!(clock.value(), LamportTime(0), "what is refused changes nothing");
        assert!(clock.observe_client(LamportTime(second), at(0)).is_ok());
        // However many they are: that receive was one step.
        let value = clock.value().0;
        assert!(clock.observe_client(LamportTime(value + 1), at(0)).is_err());
        // One that is behind moves nothing, and is always heard.
        assert!(clock.observe_client(LamportTime(0), at(0)).is_ok());
        let value = clock.value().0;
        assert!(clock.observe_client(LamportTime(value + second / 2 + 1), at(500)).is_err());
        assert!(clock.observe_client(LamportTime(value + second / 2), at(500)).is_ok());
        // A day later there is still a bound, within what a peer takes.
        let value = clock.value().0;
        let day = at(86_400_000);
        assert!(clock.observe_client(LamportTime(value + MAX_CLIENT_LEAD + 1), day).is_err());
        assert!(clock.observe_client(LamportTime(value + MAX_CLIENT_LEAD), day).is_ok());
    }
}
