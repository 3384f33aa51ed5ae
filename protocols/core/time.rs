//! Time as protocols see it: a monotonic instant for delays and deadlines, and the wall clock,
//! which may step and is only ever shown or sent.

use ::core::fmt;
use ::core::ops::{Add, Sub};
use ::core::time::Duration;
use serde::{Deserialize, Serialize};

/// Nanoseconds of a monotonic clock, from an origin that only the driver knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(pub u64);

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, delay: Duration) -> Time {
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        Time(self.0.saturating_add(nanos))
    }
}

impl Sub for Time {
    type Output = Duration;
    /// The time from `earlier` to `self`; zero when `earlier` is later.
    fn sub(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Nanoseconds since the Unix epoch by some clock, which can be wrong.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct WallTime(pub u64);

impl WallTime {
    /// This many milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> WallTime {
        WallTime(millis.saturating_mul(1_000_000))
    }

    /// Whole milliseconds since the epoch.
    pub const fn millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// This much later, or earlier if it is negative; within what the type can hold.
    pub const fn plus(self, nanos: i64) -> WallTime {
        WallTime(self.0.saturating_add_signed(nanos))
    }

    /// How much later this is than `other`, within what the type can hold.
    pub const fn since(self, other: WallTime) -> i64 {
        let later = self.0.abs_diff(other.0);
        let later = if later > i64::MAX as u64 { i64::MAX } else { later as i64 };
        if self.0 < other.0 { -later } else { later }
    }
}

/// UTC, as `2024-03-22 21:26:04`; with a precision of 3 (`{:.3}`) also its milliseconds.
impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.millis() / 1_000;
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": civil_from_days.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")?;
        match f.precision() {
            Some(3) => write!(f, ".{:03}", self.millis() % 1_000),
            _ => Ok(()),
        }
    }
}

/// What is added to a node's wall clock to have a better one. It moves from one value to another at
/// a bounded rate, so that the better clock neither jumps nor runs backwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Correction {
    since: WallTime,
    from: i64,
    to: i64,
    rate_ppm: u32,
}

/// The highest rate of a [`Correction`], in parts per million: a clock that is corrected still runs
/// at a tenth of its pace or more.
pub const MAX_SLEW_PPM: u32 = 900_000;

impl Correction {
    /// From now on, moves to `to` nanoseconds at this rate, at most [`MAX_SLEW_PPM`].
    pub fn slew(self, now: WallTime, to: i64, rate_ppm: u32) -> Correction {
        Correction { since: now, from: self.nanos(now), to, rate_ppm: rate_ppm.min(MAX_SLEW_PPM) }
    }

    /// What is added when the wall clock shows `at`, in nanoseconds.
    pub fn nanos(self, at: WallTime) -> i64 {
        let elapsed = u128::from(at.0.saturating_sub(self.since.0));
        let most = elapsed * u128::from(self.rate_ppm) / 1_000_000;
        let gap = self.to.saturating_sub(self.from);
        let step = u128::from(gap.unsigned_abs()).min(most) as i64;
        if gap < 0 { self.from - step } else { self.from + step }
    }

    /// What it moves to, in nanoseconds.
    pub fn target(self) -> i64 {
        self.to
    }

    /// What is still to be added, in nanoseconds.
    pub fn owed(self, at: WallTime) -> i64 {
        self.to.saturating_sub(self.nanos(at))
    }

    /// What the better clock shows when the wall clock shows `at`.
    pub fn read(self, at: WallTime) -> WallTime {
        at.plus(self.nanos(at))
    }
}

/// Both clocks, read once for each turn of the driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// The monotonic clock.
    pub time: Time,
    /// The wall clock.
    pub wall: WallTime,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn wall_times_are_days_of_the_calendar() {
        let shown = |seconds: u64| format!("{}", WallTime::from_millis(seconds * 1_000));
        assert_eq!(shown(0), "1970-01-01 00:00:00");
        assert_eq!(shown(951_782_399), "2000-02-28 23:59:59");
        assert_eq!(shown(951_782_400), "2000-02-29 00:00:00");
        assert_eq!(shown(1_711_142_764), "2024-03-22 21:26:04");
        assert_eq!(shown(1_735_689_600), "2025-01-01 00:00:00");
        let precise = WallTime::from_millis(1_735_689_600_007);
        assert_eq!(format!("{precise:.3}"), "2025-01-01 00:00:00.007");
    }

    #[test]
    fn a_correction_moves_at_its_rate_and_arrives() {
        let start = WallTime(1_000_000);
        for to in [250, -250] {
            let correction = Correction::default().slew(start, to, 100_000);
            assert_eq!(correction.nanos(start), 0);
            assert_eq!(correction.nanos(WallTime(start.0 + 1_000)), to.signum() * 100);
            assert_eq!(correction.owed(WallTime(start.0 + 1_000)), to.signum() * 150);
            assert_eq!(correction.nanos(WallTime(start.0 + 1_000_000)), to);
            // An hour before it began it has not moved.
            assert_eq!(correction.nanos(WallTime(0)), 0);
        }
    }

    #[test]
    fn a_corrected_clock_neither_jumps_nor_runs_backwards() {
        let mut correction = Correction::default();
        let mut last = WallTime(0);
        for at in 0..20_000 {
            let at = WallTime(at);
            if at.0.is_multiple_of(1_000) {
                let to = if at.0.is_multiple_of(2_000) { -5_000 } else { 3_000 };
                correction = correction.slew(at, to, u32::MAX);
            }
            let shown = correction.read(at);
            assert!(shown >= last && shown.since(last) <= 2, "{at:?}: {last:?}, then {shown:?}");
            last = shown;
        }
    }

    #[test]
    fn differences_of_wall_times_have_a_sign_and_bounds() {
        assert_eq!(WallTime(5).since(WallTime(7)), -2);
        assert_eq!(WallTime(7).since(WallTime(5)), 2);
        assert_eq!(WallTime(0).since(WallTime(u64::MAX)), -i64::MAX);
        assert_eq!(WallTime(3).plus(-5), WallTime(0));
        assert_eq!(WallTime::from_millis(1_234).millis(), 1_234);
    }
}
