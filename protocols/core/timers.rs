//! The timer table of one protocol: few entries, keyed by the protocol's own timer type, so a
//! sorted vector beats a heap and a timer that is set again replaces itself.

use super::Time;
use alloc::vec::Vec;

pub(crate) struct Timers<T> {
    /// Sorted by timer.
    entries: Vec<(T, Time)>,
}

impl<T: Copy + Ord> Timers<T> {
    pub(crate) fn new() -> Self {
        Timers { entries: Vec::new() }
    }

    pub(crate) fn set(&mut self, timer: T, at: Time) {
        match self.entries.binary_search_by(|entry| entry.0.cmp(&timer)) {
            Ok(found) => self.entries[found].1 = at,
            Err(place) => self.entries.insert(place, (timer, at)),
        }
    }

    pub(crate) fn cancel(&mut self, timer: T) {
        if let Ok(found) = self.entries.binary_search_by(|entry| entry.0.cmp(&timer)) {
            self.entries.remove(found);
        }
    }

    pub(crate) fn earliest(&self) -> Option<Time> {
        self.entries.iter().map(|entry| entry.1).min()
    }

    /// Takes the timer that has been due longest, if one is due; ties go to the smaller timer.
    pub(crate) fn take_due(&mut self, now: Time) -> Option<T> {
        let due = self.entries.iter().enumerate().filter(|(_, entry)| entry.1 <= now);
        let (place, _) = due.min_by_key(|(_, entry)| (entry.1, entry.0))?;
        Some(self.entries.remove(place).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fires_in_order_of_time_then_key_and_once() {
        let mut timers = Timers::new();
        timers.set('b', Time(5));
        timers.set('a', Time(5));
        timers.set('c', Time(3));
        timers.set('d', Time(9));
        timers.cancel('x');
        assert_eq!(timers.earliest(), Some(Time(3)));
        let fired: Vec<char> = ::core::iter::from_fn(|| timers.take_due(Time(5))).collect();
        assert_eq!(fired, ['c', 'a', 'b']);
        timers.set('d', Time(20));
        assert_eq!(timers.take_due(Time(19)), None);
        timers.cancel('d');
        assert_eq!(timers.earliest(), None);
    }
}
