//! A quick proof that a register's operations have no linearization. It never proves that they
//! have one; [`super::search`] decides.
//!
//! Gibbons, Korach: Testing Shared Memories, SIAM Journal on Computing 26(4), 1997: when a value
//! is written once, its write and its reads are a block that nothing else comes between. Times
//! limit where the block can be: some of it comes before its first answer, some of it after its
//! last request. Two blocks are in conflict when each has an answer before the other's last
//! request: neither can go first.

use super::search::{Step, UNWRITTEN};

/// Where a block of operations on one value can be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Zone {
    /// The first answer; none is before all times.
    first_end: Option<u64>,
    /// The last request.
    last_start: u64,
}

impl Zone {
    /// Whether the register must hold the value for the whole time in between.
    fn is_forward(&self) -> bool {
        self.first_end < Some(self.last_start)
    }
}

/// Whether two blocks of `steps` are in conflict, or a read was answered before the only write of
/// its value was sent. Values below `values` that several steps write are left alone.
pub fn are_in_conflict(steps: &[Step], values: usize) -> bool {
    let mut writers: Vec<Option<usize>> = vec![None; values];
    let mut is_rewritten = vec![false; values];
    let mut zones: Vec<Option<Zone>> = vec![None; values];
    for (i, step) in steps.iter().enumerate() {
        let value = step.value as usize;
        if step.is_write {
            is_rewritten[value] |= writers[value].replace(i).is_some();
        }
        // An unwritten register was so before all times.
        let end = (step.value != UNWRITTEN).then_some(step.return_ns);
        let zone = zones[value].get_or_insert(Zone { first_end: end, last_start: step.invoke_ns });
        zone.first_end = zone.first_end.min(end);
        zone.last_start = zone.last_start.max(step.invoke_ns);
    }
    let is_too_early = |step: &Step| {
        let value = step.value as usize;
        let write = writers[value].filter(|_| !is_rewritten[value]);
        write.is_some_and(|write| step.return_ns < steps[write].invoke_ns)
    };
    if steps.iter().any(is_too_early) {
        return true;
    }
    let once = zones.into_iter().zip(is_rewritten).filter(|(_, is_rewritten)| !is_rewritten);
    let (mut forward, others): (Vec<Zone>, Vec<Zone>) =
        once.filter_map(|(zone, _)| zone).partition(Zone::is_forward);
    forward.sort_unstable();
    if forward.windows(2).any(|pair| pair[1].first_end < Some(pair[0].last_start)) {
        return true;
    }
    // The forward zones are apart from each other: of those that begin before a given time, only
    // the last can reach beyond it.
    others.iter().any(|zone| {
        let after = forward.partition_point(|other| other.first_end < Some(zone.last_start));
        let before = after.checked_sub(1).map(|at| forward[at]);
        before.is_some_and(|other| zone.first_end < Some(other.last_start))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(is_write: bool, value: u32, invoke_ns: u64, return_ns: u64) -> Step {
        Step { is_write, value, invoke_ns, return_ns, is_optional: false, after: None }
    }

    fn write(value: u32, invoke_ns: u64, return_ns: u64) -> Step {
        step(true, value, invoke_ns, return_ns)
    }

    fn read(value: u32, invoke_ns: u64, return_ns: u64) -> Step {
        step(false, value, invoke_ns, return_ns)
    }

    #[test]
    fn blocks_that_can_follow_each_other_are_not_in_conflict() {
        let steps = [
            read(0, 0, 3),
            write(1, 1, 4),
            read(1, 5, 6),
            write(2, 5, 9),
            write(3, 6, 10),
            read(3, 9, 12),
        ];
        assert!(!are_in_conflict(&steps, 4));
        // Equal times overlap.
        assert!(!are_in_conflict(&[write(1, 0, 5), read(0, 5, 6)], 2));
        assert!(!are_in_conflict(&[], 1));
    }

    #[test]
    fn blocks_of_which_neither_can_go_first_are() {
        let stale = [write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)];
        assert!(are_in_conflict(&stale, 3));
        let both = [write(1, 0, 1), write(2, 0, 1), read(1, 4, 5), read(2, 4, 5)];
        assert!(are_in_conflict(&both, 3));
        assert!(are_in_conflict(&[write(1, 0, 1), read(0, 2, 3)], 2));
        assert!(are_in_conflict(&[read(1, 0, 1), write(1, 2, 3)], 2));
    }

    #[test]
    fn a_value_that_is_written_twice_is_left_alone() {
        let steps = [write(1, 0, 1), write(2, 2, 3), write(1, 2, 3), read(1, 4, 5)];
        assert!(!are_in_conflict(&steps, 3));
    }
}
