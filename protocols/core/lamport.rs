//! Lamport's logical clock (Lamport, "Time, Clocks, and the Ordering of Events in a Distributed
//! System", CACM 1978). One per node; the Host moves it with every frame, whatever the protocol.

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
}

/// How far above the local value a received one may be. A node gains one for each event, so an
/// honest peer needs centuries to get this far ahead; a forged value would otherwise push every
/// clock of the cluster to the end of its range.
const MAX_JUMP: u64 = 1 << 32;

/// A received value that was refused, and so changed nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Jump {
    /// The local value, as it was and is.
    pub local: LamportTime,
    /// The value that the frame carried.
    pub received: LamportTime,
}

/// The clock of one node.
#[derive(Clone, Debug, Default)]
pub struct LamportClock {
    value: u64,
    rule: LamportRule,
}

impl LamportClock {
    /// A clock at zero.
    pub fn new(rule: LamportRule) -> LamportClock {
        LamportClock { value: 0, rule }
    }

    /// The value now.
    pub fn value(&self) -> LamportTime {
        LamportTime(self.value)
    }

    /// A local event or a send: one step, and the value that the event has.
    pub fn tick(&mut self) -> LamportTime {
        // 2^64 events do not happen, and `observe` bounds what a peer can add.
        self.value = self.value.saturating_add(1);
        self.value()
    }

    /// A receive of a frame that was sent at `received`.
    pub fn observe(&mut self, received: LamportTime) -> Result<LamportTime, Jump> {
        if received.0 > self.value.saturating_add(MAX_JUMP) {
            return Err(Jump { local: self.value(), received });
        }
        self.value = self.value.max(received.0);
        match self.rule {
            LamportRule::MaxPlusOne => Ok(self.tick()),
            LamportRule::Max => Ok(self.value()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receive_is_later_than_its_send_and_than_the_local_past() {
        let mut clock = LamportClock::default();
        assert_eq!(clock.tick(), LamportTime(1));
        assert_eq!(clock.observe(LamportTime(7)), Ok(LamportTime(8)));
        assert_eq!(clock.observe(LamportTime(2)), Ok(LamportTime(9)));
    }

    #[test]
    fn rule_max_lets_a_receive_equal_its_send() {
        let mut clock = LamportClock::new(LamportRule::Max);
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
}
