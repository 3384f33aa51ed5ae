//! Connections over real sockets, without a node: what hangs on one ends with it.

use super::super::connection::Claim;
use super::super::served::Served;
use super::*;
use node_lab::wire::Session;
use node_protocols::core::LamportTime;
use std::net::TcpListener;
use std::path::Path;

const PEER: NodeId = NodeId(1);
const NOW: Time = Time(1);

/// Node 2's, which node 1 dials.
struct Fixture {
    connections: Connections,
    /// Where its sockets lead to.
    listener: TcpListener,
    /// Events are registered here.
    _poll: mio::Poll,
}

impl Fixture {
    fn new(limits: &str) -> Fixture {
        let text = format!(
            "[node]\nid = 2\ncluster = \"t\"\n[peers]\n1 = \"127.0.0.1:1\"\n\
             [[listeners]]\naddr = \"127.0.0.1:0\"\ngateway = \"native\"\n\
             [protocols.echo]\n[limits]\n{limits}\n"
        );
        let registry = node_studies::registry();
        let config = Config::parse(Path::new("t.toml"), text, &registry).unwrap();
        let poll = mio::Poll::new().unwrap();
        let events = poll.registry().try_clone().unwrap();
        let connections = Connections::bind(&config, events, Rng::stream(1, "links")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Fixture { connections, listener, _poll: poll }
    }

    fn add(&mut self, state: State) -> Key {
        let addr = self.listener.local_addr().unwrap();
        let stream = std::net::TcpStream::connect(addr).unwrap();
        stream.set_nonblocking(true).unwrap();
        let stream = TcpStream::from_std(stream);
        self.connections.add(stream, addr, state, NOW).unwrap()
    }

    fn client(&mut self) -> Key {
        self.add(State::Client(Served::new(Session::native(3))))
    }

    /// One that says it is the peer.
    fn claim(&mut self) -> Key {
        let key = self.add(State::Greeting);
        let (identity, incarnation, dial, lamport) = (1, 1, 1, LamportTime(0));
        let (peer, since, asked) = (PEER, NOW, true);
        let claim = Claim { peer, identity, incarnation, dial, lamport, since, asked };
        self.connections.turn_into(key, State::Claiming(claim), NOW);
        key
    }

    fn ended(&mut self) -> Vec<Ended> {
        std::iter::from_fn(|| self.connections.next_ended()).collect()
    }
}

#[test]
fn what_a_client_holds_ends_with_it_and_its_end_is_told_once() {
    let mut all = Fixture::new("max_client_memory_bytes = 1048576");
    let (one, other) = (all.client(), all.client());
    for key in [one, other] {
        all.connections.get_mut(key).unwrap().keep(&[0; 600_000]);
        all.connections.account(key);
        all.connections.asked(key, 1_000);
        all.connections.touch(key);
        all.connections.queue(key);
    }
    assert_eq!(all.connections.unanswered_bytes, 2_000);
    assert!(all.connections.largest_of_too_much().is_some());
    all.connections.close(one, NOW);
    all.connections.close(one, NOW);
    let ended = all.ended();
    let [Ended::Client { place: 3, key, .. }] = ended[..] else { panic!("one client") };
    assert_eq!(key, one);
    let Connections { unanswered_bytes, places, .. } = &all.connections;
    assert_eq!((*unanswered_bytes, places.clients), (1_000, 1));
    assert!(all.connections.largest_of_too_much().is_none());
    assert!(!all.connections.goes_on(one) && all.connections.goes_on(other));
    let written: Vec<Key> =
        std::iter::from_fn(|| all.connections.write_next()).map(|(key, _)| key).collect();
    assert_eq!(written, [other]);
    all.connections.close(other, NOW);
    assert_eq!((all.connections.client_memory, all.connections.unanswered_bytes), (0, 0));
}

/// Nobody waits any more for what the peer would have answered.
#[test]
fn the_last_that_says_it_is_a_peer_takes_the_question_along() {
    let mut all = Fixture::new("");
    let (one, other) = (all.claim(), all.claim());
    let dial = Dial { peer: PEER, purpose: Purpose::Verify };
    let check = all.add(State::Dialing(dial));
    all.connections.close(one, NOW);
    assert!(all.connections.get(check).is_some());
    // Refused is as good as gone.
    all.connections.turn_into(other, State::Parting(NOW), NOW);
    assert!(all.connections.get(check).is_none() && all.connections.claims(PEER).is_empty());
    assert!(all.ended().is_empty());
    let check = all.add(State::Dialing(dial));
    all.connections.close(check, NOW);
    assert!(matches!(all.ended()[..], [Ended::Check(PEER)]));
}

#[test]
fn only_the_end_of_the_present_link_is_the_links_end() {
    let mut all = Fixture::new("");
    let link = || State::Link(PEER, LinkNames::default());
    let (old, new) = (all.add(link()), all.add(link()));
    all.connections.link_up(old, PEER, (1, 1), NOW);
    all.connections.link_up(new, PEER, (1, 2), NOW);
    all.connections.close(old, NOW);
    assert!(all.ended().is_empty() && all.connections.send(PEER, b"x"));
    all.connections.close(new, NOW);
    assert!(matches!(all.ended()[..], [Ended::Link(PEER)]));
    assert!(!all.connections.send(PEER, b"x"));
}

#[test]
fn places_follow_what_a_connection_is() {
    let mut all = Fixture::new("max_clients = 1");
    let stranger = all.add(State::Greeting);
    assert_eq!((all.connections.places.strangers, all.connections.places.clients), (1, 0));
    assert!(matches!(all.connections.room_for_client(NOW), Room::Free));
    let client = State::Client(Served::new(Session::native(0)));
    all.connections.turn_into(stranger, client, NOW);
    assert_eq!((all.connections.places.strangers, all.connections.places.clients), (0, 1));
    // It has said nothing yet, so it makes room.
    let Room::Of(key, _) = all.connections.room_for(Class::Client, NOW) else { panic!("room") };
    assert_eq!(key, stranger);
    all.connections.close(key, NOW);
    assert!(matches!(all.connections.room_for(Class::Client, NOW), Room::Free));
}
