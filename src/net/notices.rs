//! Log lines about what others do wrong: one line a second for each cause, however often it
//! happens; the counters have the whole number.

use node_protocols::core::{Counter, Time};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

const QUIET: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Notices {
    /// When a cause was last told, and how often it has been kept quiet since.
    told: BTreeMap<Counter, (Time, u64)>,
}

impl Notices {
    /// Says it, unless the same cause was told within the last second; answers whether it did.
    pub(super) fn tell(&mut self, cause: Counter, now: Time, line: fmt::Arguments<'_>) -> bool {
        if let Some((last, kept)) = self.told.get_mut(&cause)
            && now - *last < QUIET
        {
            *kept += 1;
            return false;
        }
        let kept = self.told.insert(cause, (now, 0)).map_or(0, |(_, kept)| kept);
        let name = cause.name();
        match kept {
            0 => log::warn!(target: "net", "{name}: {line}"),
            _ => log::warn!(target: "net", "{name}: {line} ({kept} more since the last such line)"),
        }
        true
    }
}
