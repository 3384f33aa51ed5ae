//! The order of posts: which of a user's was published last, by the stamps of the clock that gave
//! them.

use super::super::{Mutant, Planted};
use crate::core::LamportTime;
use ::core::cmp::Ordering;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// The stamps of one clock.
#[derive(Default)]
pub(super) struct Stamps {
    /// Of each user's last post.
    last: BTreeMap<String, LamportTime>,
    /// Users who were forgotten had no later stamp.
    forgotten: LamportTime,
}

/// How a post stands to what its user has published.
pub(super) enum Order {
    /// After all of it.
    Next,
    /// It is the last of it.
    Again,
    /// A later one was published.
    Late,
}

/// Whose last stamps are known. Of the others only the latest of all is.
const MAX_USERS: usize = 100_000;

impl Stamps {
    /// How a post stands to those of its user that were published; notes one that comes next.
    pub(super) fn order(&mut self, user: &str, stamp: LamportTime, planted: &Planted) -> Order {
        let Stamps { last, forgotten } = self;
        if let Some(last) = last.get_mut(user) {
            let order = match stamp.cmp(last) {
                Ordering::Greater => Order::Next,
                Ordering::Equal if planted.has(Mutant::TwiceDelivered) => Order::Next,
                Ordering::Equal if planted.has(Mutant::AgainSaidLate) => Order::Late,
                Ordering::Equal => Order::Again,
                Ordering::Less if planted.has(Mutant::LateNotDropped) => Order::Next,
                Ordering::Less => Order::Late,
            };
            *last = stamp.max(*last);
            return order;
        }
        if stamp <= *forgotten {
            return Order::Late;
        }
        if last.len() >= MAX_USERS {
            // Half of them at once, so that it costs nothing per user.
            let mut stamps: Vec<LamportTime> = last.values().copied().collect();
            let (_, median, _) = stamps.select_nth_unstable(MAX_USERS / 2);
            *forgotten = (*forgotten).max(*median);
            last.retain(|_, stamp| *stamp > *forgotten);
        }
        last.insert(user.into(), stamp);
        Order::Next
    }
}
