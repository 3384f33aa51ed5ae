//! A client's side of a connection: its session, and whether its requests are taken, wait, or come
//! to an end. Knows no socket.

use node_lab::wire::{Session, Step};

/// A client that is served.
pub(super) struct Served {
    pub(super) session: Session,
    pub(super) phase: Phase,
    pub(super) pushed: Pushed,
    /// About how many bytes its unanswered requests have.
    unanswered_bytes: usize,
}

/// How far a client is.
///
/// ```text
///   Silent ──► Reading ◄──► Held
///      └──────────┴──────────┴──► Draining ──► Lingering
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Has said nothing yet, or nothing behind its greeting.
    Silent,
    /// Its requests are taken as they come.
    Reading,
    /// Its next request waits, and no more of them are read.
    Held(Hold),
    /// None is taken any more: it ends when all are answered and all is sent. If it lingers, what
    /// it was told at the end must reach it, though it may still be sending: to close with bytes
    /// unread resets a connection, and takes what was sent along.
    Draining { lingers: bool },
    /// Everything is sent, and the sending side shut. So many bytes more are read and forgotten.
    Lingering { left: usize },
}

/// What a client's next request waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hold {
    /// That the client reads: too much is on its way to it.
    Unread,
    /// That most of its requests are answered.
    Unanswered,
    /// That all before it are answered.
    Earlier,
    /// The next turn.
    Turn,
}

/// Whether a client gets what it has not asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pushed {
    Never,
    /// It was pushed to.
    Flowing,
    /// The protocol was told that it does not read.
    BackedUp,
}

/// How much there is besides when a client's next request is due.
#[derive(Clone, Copy)]
pub(super) struct Load {
    /// The bound on a client's unread replies, and on its unanswered requests.
    pub(super) high_water: usize,
    /// The requests of all clients together are many.
    pub(super) is_much_unanswered: bool,
    /// The turn has made enough work for disk and sockets.
    pub(super) is_turn_full: bool,
}

/// What a client may still send that has been told why its connection ends.
const LINGER_BYTES: usize = 8 << 20;

impl Served {
    pub(super) fn new(session: Session) -> Served {
        Served { session, phase: Phase::Silent, pushed: Pushed::Never, unanswered_bytes: 0 }
    }

    /// Whether there is something that it is still to get, or of it that is still to be taken.
    pub(super) fn is_busy(&self) -> bool {
        self.session.outstanding > 0 || matches!(self.phase, Phase::Held(_))
    }

    /// Whether what it sends is read.
    pub(super) fn reads(&self) -> bool {
        matches!(self.phase, Phase::Silent | Phase::Reading)
    }

    /// Whether it is asked to take no request, and if so, why; decided anew before each. `unread`
    /// bytes are on their way to it, `rest` is at hand.
    pub(super) fn is_held(&mut self, unread: usize, rest: &[u8], load: Load) -> bool {
        let Load { high_water, is_much_unanswered, is_turn_full } = load;
        let is_much = self.unanswered_bytes > high_water || is_much_unanswered;
        let hold = if unread > high_water {
            Some(Hold::Unread)
        } else if rest.is_empty() {
            None
        } else if is_much && self.session.outstanding > 0 {
            Some(Hold::Unanswered)
        } else if is_turn_full {
            Some(Hold::Turn)
        } else {
            None
        };
        match (self.phase, hold) {
            (Phase::Draining { .. } | Phase::Lingering { .. }, _) => return true,
            (_, Some(hold)) => self.phase = Phase::Held(hold),
            (Phase::Silent, None) if rest.is_empty() => {}
            (Phase::Silent | Phase::Reading | Phase::Held(_), None) => self.phase = Phase::Reading,
        }
        hold.is_some()
    }

    /// Takes the next of the requests at hand; see [`Session::next`].
    pub(super) fn next(
        &mut self,
        input: &[u8],
        limit: usize,
        request: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Step {
        let step = self.session.next(input, limit, request, out);
        if matches!(step, Step::Wait) {
            self.phase = Phase::Held(Hold::Earlier);
        }
        step
    }

    /// A request of so many bytes was handed over.
    pub(super) fn asked(&mut self, bytes: usize) {
        self.unanswered_bytes += bytes;
    }

    /// A reply is about to come: answers how many bytes are unanswered less, which is the average
    /// request's share. Replies may come in any order, and need not name their request's length.
    pub(super) fn release(&mut self) -> usize {
        let share = self.unanswered_bytes / self.session.outstanding.max(1);
        self.unanswered_bytes -= share;
        share
    }

    pub(super) fn unanswered_bytes(&self) -> usize {
        self.unanswered_bytes
    }

    /// Whether what waits of its requests may go on after a reply.
    pub(super) fn has_room(&self, high_water: usize) -> bool {
        let is_room = self.unanswered_bytes <= high_water / 2;
        self.session.outstanding == 0 || self.phase == Phase::Held(Hold::Unanswered) && is_room
    }

    /// So many bytes are still on their way to it. Whether it goes on, having read enough.
    pub(super) fn resumes(&mut self, unread: usize, high_water: usize) -> bool {
        let resumes = self.phase == Phase::Held(Hold::Unread) && unread <= high_water;
        if resumes {
            self.phase = Phase::Reading;
        }
        resumes
    }

    /// Whether its protocol is to hear that it does not read what is pushed to it, or does again.
    pub(super) fn backpressure(&mut self, unread: usize, high_water: usize) -> Option<bool> {
        match self.pushed {
            // Others cannot be told what they missed, and have a bound of their own.
            Pushed::Flowing
                if unread > high_water && self.session.max_pending_bytes().is_none() =>
            {
                self.pushed = Pushed::BackedUp;
                Some(true)
            }
            Pushed::BackedUp if unread <= high_water / 2 => {
                self.pushed = Pushed::Flowing;
                Some(false)
            }
            Pushed::Never | Pushed::Flowing | Pushed::BackedUp => None,
        }
    }

    /// Something is pushed to it.
    pub(super) fn pushed(&mut self) {
        if self.pushed == Pushed::Never {
            self.pushed = Pushed::Flowing;
        }
    }

    /// It is looked at without being read, and has sent something.
    pub(super) fn spoke(&mut self) {
        if self.phase == Phase::Silent {
            self.phase = Phase::Reading;
        }
    }

    /// No further request of it is taken.
    pub(super) fn drain(&mut self) {
        if !matches!(self.phase, Phase::Draining { .. } | Phase::Lingering { .. }) {
            self.phase = Phase::Draining { lingers: false };
        }
    }

    /// The same, and what it is told of it must reach it.
    pub(super) fn drain_and_linger(&mut self) {
        self.phase = Phase::Draining { lingers: true };
    }

    /// Whether everything that it is to get is answered and, as nothing is `unread`, sent.
    pub(super) fn is_done(&self, unread: usize) -> bool {
        let ends = matches!(self.phase, Phase::Draining { .. } | Phase::Lingering { .. });
        ends && self.session.outstanding == 0 && unread == 0
    }

    /// Its sending side is shut: what it still sends is forgotten.
    pub(super) fn linger(&mut self) {
        self.phase = Phase::Lingering { left: LINGER_BYTES };
    }

    /// So many bytes were forgotten. Whether that may go on.
    pub(super) fn forgets(&mut self, bytes: usize) -> bool {
        let Phase::Lingering { left } = &mut self.phase else { return false };
        let rest = left.checked_sub(bytes);
        *left = rest.unwrap_or(0);
        rest.is_some()
    }

    /// Whether it waits for the node, or is not asked for more: its own time stands still. `unread`
    /// bytes are on their way to it.
    pub(super) fn waits(&self, unread: usize, high_water: usize) -> bool {
        let is_unread = match self.phase {
            Phase::Held(hold) => hold == Hold::Unread,
            Phase::Draining { .. } => unread > high_water,
            Phase::Silent | Phase::Reading | Phase::Lingering { .. } => false,
        };
        is_unread || self.session.outstanding > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIGH_WATER: usize = 100;

    fn load(is_much_unanswered: bool, is_turn_full: bool) -> Load {
        Load { high_water: HIGH_WATER, is_much_unanswered, is_turn_full }
    }

    fn client() -> Served {
        Served::new(Session::native(0))
    }

    /// One with a request of so many bytes that is not answered.
    fn asking(bytes: usize) -> Served {
        let mut client = client();
        client.session.outstanding = 1;
        client.asked(bytes);
        client
    }

    #[test]
    fn a_request_waits_for_one_thing_and_goes_on_when_that_is_there() {
        let idle = load(false, false);
        let mut client = asking(HIGH_WATER + 1);
        assert!(client.is_held(HIGH_WATER + 1, b"x", idle));
        assert_eq!(client.phase, Phase::Held(Hold::Unread));
        assert!(!client.resumes(HIGH_WATER + 1, HIGH_WATER));
        assert!(client.resumes(HIGH_WATER, HIGH_WATER) && client.reads());
        assert!(client.is_held(0, b"x", idle));
        assert_eq!(client.phase, Phase::Held(Hold::Unanswered));
        assert!(!client.has_room(HIGH_WATER) && !client.resumes(0, HIGH_WATER));
        client.release();
        assert!(client.has_room(HIGH_WATER) && !client.is_held(0, b"x", idle));
        assert_eq!(client.phase, Phase::Reading);
        assert!(client.is_held(0, b"x", load(false, true)) && !client.is_held(0, b"", idle));
        assert_eq!(client.phase, Phase::Reading);
    }

    #[test]
    fn only_a_client_with_something_unanswered_waits_for_others_requests() {
        assert!(!client().is_held(0, b"x", load(true, false)));
        assert!(asking(1).is_held(0, b"x", load(true, false)));
    }

    #[test]
    fn who_was_looked_at_and_said_nothing_is_still_silent() {
        let mut client = client();
        assert!(!client.is_held(0, b"", load(false, false)));
        assert_eq!(client.phase, Phase::Silent);
        assert!(!client.is_held(0, b"x", load(false, false)));
        assert_eq!(client.phase, Phase::Reading);
    }

    #[test]
    fn who_is_told_why_it_ends_lingers_for_a_bounded_number_of_bytes() {
        let mut client = asking(1);
        client.drain_and_linger();
        client.drain();
        assert!(client.is_held(0, b"x", load(false, false)) && !client.is_done(0));
        client.session.outstanding = 0;
        assert!(!client.is_done(1) && client.is_done(0));
        assert_eq!(client.phase, Phase::Draining { lingers: true });
        client.linger();
        assert!(client.forgets(LINGER_BYTES - 1) && client.forgets(1) && !client.forgets(1));
    }

    #[test]
    fn that_a_client_does_not_read_is_told_once_and_that_it_does_again_when_half_is_gone() {
        let mut client = client();
        assert_eq!(client.backpressure(HIGH_WATER + 1, HIGH_WATER), None);
        client.pushed();
        assert_eq!(client.backpressure(HIGH_WATER, HIGH_WATER), None);
        assert_eq!(client.backpressure(HIGH_WATER + 1, HIGH_WATER), Some(true));
        client.pushed();
        assert_eq!(client.backpressure(HIGH_WATER + 1, HIGH_WATER), None);
        assert_eq!(client.backpressure(HIGH_WATER / 2 + 1, HIGH_WATER), None);
        assert_eq!(client.backpressure(HIGH_WATER / 2, HIGH_WATER), Some(false));
        assert_eq!(client.backpressure(0, HIGH_WATER), None);
    }
}
