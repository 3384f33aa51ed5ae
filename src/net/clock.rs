//! The real clocks, read once a turn, and what the config does to them.

use crate::epoch::since_epoch;
use node_lab::config::ClockError;
use node_protocols::core::{Now, Time, WallTime};
use std::time::Instant;

pub(super) struct Clock {
    origin: Instant,
    error: ClockError,
}

impl Clock {
    pub(super) fn new(error: ClockError) -> Clock {
        Clock { origin: Instant::now(), error }
    }

    /// Nanoseconds since the Unix epoch at the origin of this clock's time, by the machine's clock.
    pub(super) fn origin_since_epoch(&self) -> u64 {
        since_epoch().saturating_sub(self.now().time.0)
    }

    /// The monotonic clock is the machine's, the wall clock is off as the config says.
    pub(super) fn now(&self) -> Now {
        let nanos = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let off = self.error.nanos(nanos);
        Now { time: Time(nanos), wall: WallTime(since_epoch()).plus(off) }
    }
}
