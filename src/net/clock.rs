//! The real clocks, read once a turn.

use node_protocols::core::{Now, Time, WallTime};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub(super) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(super) fn new() -> Clock {
        Clock { origin: Instant::now() }
    }

    /// Nanoseconds since the Unix epoch at the origin of this clock's time.
    pub(super) fn origin_since_epoch(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since = since.saturating_sub(self.origin.elapsed());
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn now(&self) -> Now {
        let nanos = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Now { time: Time(nanos), wall: WallTime(wall_millis()) }
    }
}

/// Milliseconds since the Unix epoch; 0 on a clock that is set before it.
pub(super) fn wall_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
