//! Which connections have a place when there are more than the process can open: clients up to
//! their cap; whoever has not greeted yet in the places that clients leave, and in some of its own,
//! so that clients never keep a peer out; and peers always. Whoever has said nothing makes room for
//! the next.

use super::connection::{Connection, State};
use super::served::Phase;
use super::table::{Key, Table};
use node_lab::config::Config;
use node_protocols::core::Time;
use std::collections::VecDeque;
use std::time::Duration;

/// Whose places a connection takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// It may be a peer.
    Stranger,
    Client,
    /// A link, or dialled by this node: there are few for each peer.
    Own,
}

/// How many of each there may be, and how many there are.
pub(super) struct Places {
    pub(super) max_clients: usize,
    pub(super) max_strangers: usize,
    pub(super) clients: usize,
    pub(super) strangers: usize,
    silent_clients: Silent,
    silent_strangers: Silent,
}

/// Connections that had said nothing when last looked at, in the order in which they came.
#[derive(Default)]
struct Silent {
    keys: VecDeque<Key>,
    /// How long the queue may become before those that have spoken or gone are taken out.
    clean_at: usize,
}

/// Descriptors kept for the log, standard streams, the poll, signals and a checkpoint.
const RESERVED_DESCRIPTORS: usize = 16;

/// Descriptors for each peer: its link, the one that replaces it, and the one over which it is
/// asked whether it greets.
const DESCRIPTORS_PER_PEER: usize = 3;

/// Places of those that have not greeted yet, beside two for each peer, which greets and asks. An
/// honest one greets within a moment; of the others the longest silent makes room.
const STRANGERS: usize = 64;
const STRANGERS_PER_PEER: usize = 2;

const MIN_CLEAN: usize = 64;

/// How many connections one listener may take in a turn, however many places there are.
const ACCEPTS_PER_TURN: usize = 256;

impl Class {
    pub(super) fn of(state: &State) -> Class {
        match state {
            State::Greeting | State::Claiming(_) | State::Parting(_) => Class::Stranger,
            State::Client(_) => Class::Client,
            State::Dialing(_) | State::Greeted(_) | State::Link(..) => Class::Own,
        }
    }
}

impl Places {
    /// What this config wants of so many descriptors.
    pub(super) fn of(config: &Config, descriptors: usize) -> Places {
        let (listeners, peers) = (config.listeners.len(), config.peers.len());
        Places::new(descriptors, listeners, peers, config.limits.max_clients as usize)
    }

    /// Shares out so many descriptors.
    fn new(descriptors: usize, listeners: usize, peers: usize, max_clients: usize) -> Places {
        let own = RESERVED_DESCRIPTORS + listeners + DESCRIPTORS_PER_PEER * peers;
        let left = descriptors.saturating_sub(own);
        let max_strangers = (STRANGERS + STRANGERS_PER_PEER * peers).min(left / 2).max(1);
        Places {
            max_clients: max_clients.min(left.saturating_sub(max_strangers)).max(1),
            max_strangers,
            clients: 0,
            strangers: 0,
            silent_clients: Silent::default(),
            silent_strangers: Silent::default(),
        }
    }

    /// How many connections a listener may take in a turn: few of the places, so that whoever gets
    /// one is read from before it goes to another.
    pub(super) fn accepts_per_turn(&self) -> usize {
        (self.max_clients / 4).clamp(1, ACCEPTS_PER_TURN)
    }

    /// Of whom there are too many for one more of this class.
    pub(super) fn too_many(&self, class: Class) -> Option<Class> {
        let is_full = self.clients + self.strangers >= self.max_clients + self.max_strangers;
        match class {
            Class::Client if self.clients >= self.max_clients => Some(Class::Client),
            Class::Client | Class::Stranger if is_full => Some(Class::Stranger),
            Class::Client | Class::Stranger | Class::Own => None,
        }
    }

    /// The same for one that has a place, and turns out to be a client.
    pub(super) fn too_many_clients(&self) -> Option<Class> {
        (self.clients >= self.max_clients).then_some(Class::Client)
    }

    /// Where one more finds room when there are too many of these.
    pub(super) fn room(
        &mut self,
        too_many: Option<Class>,
        table: &mut Table<Connection>,
        now: Time,
    ) -> Room {
        let Some(class) = too_many else { return Room::Free };
        if let Some((key, wait)) = self.longest_silent(class, table, now) {
            return Room::Of(key, wait);
        }
        let Places { clients, strangers, .. } = self;
        Room::None(match class {
            Class::Client => format!("{clients} clients are connected"),
            Class::Stranger | Class::Own => {
                format!("{strangers} connections that say they are peers are not done")
            }
        })
    }

    fn longest_silent(
        &mut self,
        class: Class,
        table: &mut Table<Connection>,
        now: Time,
    ) -> Option<(Key, Duration)> {
        let silent = self.silent(class)?;
        while let Some(key) = silent.keys.pop_front() {
            let connection = table.get_mut(key);
            let Some(connection) = connection.filter(|one| is_silent(Some(one), class)) else {
                continue;
            };
            // Its first request may lie in the socket, and this turn has not come to that yet.
            let asks =
                class == Class::Client && matches!(connection.stream.peek(&mut [0]), Ok(1..));
            match &mut connection.state {
                State::Client(client) if asks => client.spoke(),
                _ => return Some((key, now - connection.last_heard)),
            }
        }
        None
    }

    /// A connection in the table takes a place.
    pub(super) fn take(&mut self, key: Key, class: Class, table: &Table<Connection>) {
        if let Some(count) = self.count(class) {
            *count += 1;
        }
        if let Some(silent) = self.silent(class) {
            silent.push(key, class, table);
        }
    }

    fn count(&mut self, class: Class) -> Option<&mut usize> {
        match class {
            Class::Stranger => Some(&mut self.strangers),
            Class::Client => Some(&mut self.clients),
            Class::Own => None,
        }
    }

    fn silent(&mut self, class: Class) -> Option<&mut Silent> {
        match class {
            Class::Stranger => Some(&mut self.silent_strangers),
            Class::Client => Some(&mut self.silent_clients),
            Class::Own => None,
        }
    }

    /// A connection of this class ends, or becomes another.
    pub(super) fn leave(&mut self, class: Class) {
        if let Some(count) = self.count(class) {
            *count -= 1;
        }
    }
}

impl Silent {
    fn push(&mut self, key: Key, class: Class, table: &Table<Connection>) {
        self.keys.push_back(key);
        if self.keys.len() >= self.clean_at.max(MIN_CLEAN) {
            self.keys.retain(|key| is_silent(table.get(*key), class));
            self.clean_at = 2 * self.keys.len();
        }
    }
}

/// Whether it is still one of this class that has said nothing; of strangers, no whole greeting.
fn is_silent(connection: Option<&Connection>, class: Class) -> bool {
    connection.is_some_and(|connection| match &connection.state {
        State::Greeting => class == Class::Stranger,
        State::Client(client) => class == Class::Client && client.phase == Phase::Silent,
        State::Claiming(_)
        | State::Dialing(_)
        | State::Greeted(_)
        | State::Link(..)
        | State::Parting(_) => false,
    })
}

/// What there is for one more connection.
pub(super) enum Room {
    /// A place.
    Free,
    /// The place of this one, which has said nothing in so long.
    Of(Key, Duration),
    /// None: there is too much of what it says.
    None(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_shared_out_and_peers_have_theirs() {
        for descriptors in [0, 16, 30, 64, 256, 1_024, 1 << 20] {
            for peers in [0, 2, 99] {
                let places = Places::new(descriptors, 3, peers, 16_384);
                let Places { max_clients, max_strangers, .. } = places;
                assert!(max_clients >= 1 && max_strangers >= 1);
                let own = RESERVED_DESCRIPTORS + 3 + DESCRIPTORS_PER_PEER * peers;
                let all = own + max_clients + max_strangers;
                assert!(all <= descriptors.max(own + 2), "{all} of {descriptors}");
                assert!(max_clients <= 16_384);
            }
        }
    }
}
