//! How the replicated store comes back: nodes that restart empty or with their disk, followers
//! that were cut off, copies of tables.

mod store;

use node_lab::sim::world::Folder;
use node_protocols::core::{
    Caller, ClientId, Effect, Env, Epoch, Host, LamportRule, NodeId, Now, RequestId, Time,
    WallTime, erase, protocol_tag,
};
use node_protocols::kv_replication::{
    Config, Durability, Hash, History, KvReplication, Message, Reply, Request, Standing, Timestamp,
};
use std::collections::BTreeMap;
use std::time::Duration;
use store::{LEADER, Store, config, ms};

const TWO: u32 = 2;
const THREE: u32 = 3;

fn with(change: impl FnOnce(&mut Config)) -> Store {
    let mut config = config();
    change(&mut config);
    Store::ready(config)
}

fn with_disks() -> Store {
    with(|config| config.durability = Durability::Disk)
}

fn refuses(cluster: &mut Store, node: u32, key: &str) -> bool {
    let get = cluster.get(node, key, Timestamp(0));
    matches!(cluster.answer(get), Some(Reply::TryOtherServerOrLater { .. }))
}

fn reads(cluster: &mut Store, node: u32, key: &str) -> u64 {
    let get = cluster.get(node, key, Timestamp(0));
    match cluster.answer(get) {
        Some(Reply::Value { timestamp, .. }) => timestamp.0,
        other => panic!("GET {key} at {node} got {other:?}"),
    }
}

fn restart(cluster: &mut Store, node: u32) {
    cluster.crash(node);
    cluster.start(node);
}

/// How many parts of tables were sent.
fn chunks(cluster: &Store) -> usize {
    let sent = cluster.sent::<KvReplication>();
    sent.filter(|(_, _, message)| matches!(message, Message::Chunk { .. })).count()
}

#[test]
fn a_follower_restarted_empty_catches_up_and_answers_no_get_before() {
    for max_log_bytes in [1, 1 << 20] {
        let mut cluster = with(|config| config.max_log_bytes = max_log_bytes);
        for i in 0..20 {
            cluster.put_ok(LEADER, &format!("k{}", i % 7), "v");
        }
        cluster.crash(TWO);
        cluster.run(ms(100));
        cluster.start(TWO);
        assert!(refuses(&mut cluster, TWO, "k0") && refuses(&mut cluster, TWO, "absent"));
        cluster.run(ms(100));
        assert!(cluster.has_converged());
        assert_eq!(reads(&mut cluster, TWO, "k0"), 15);
        assert_eq!(cluster.put_ok(TWO, "k0", "w"), Timestamp(21));
    }
}

#[test]
fn a_follower_cut_off_answers_and_catches_up_from_the_log() {
    let mut cluster = with(|_| {});
    cluster.put_ok(LEADER, "k", "v");
    cluster.cut(LEADER, THREE);
    for _ in 0..10 {
        cluster.put(LEADER, "k", "w");
    }
    cluster.run(ms(1_000));
    assert_eq!(reads(&mut cluster, THREE, "k"), 1, "no later PUT_OK was given");
    cluster.heal(LEADER, THREE);
    cluster.run(ms(100));
    assert!(cluster.has_converged());
    assert_eq!(chunks(&cluster), 0);
}

#[test]
fn a_follower_the_log_does_not_reach_back_to_copies_the_table() {
    let mut cluster = with(|config| config.max_log_bytes = 500);
    cluster.cut(LEADER, THREE);
    for i in 0..50 {
        cluster.put(LEADER, &format!("k{}", i % 20), "w");
    }
    cluster.run(ms(1_000));
    cluster.heal(LEADER, THREE);
    cluster.run(ms(100));
    assert!(cluster.has_converged());
    assert_eq!(chunks(&cluster), 1);
}

/// 2 MiB: eight parts or more.
fn fill(cluster: &mut Store) {
    let value = "x".repeat(64 << 10);
    for i in 0..32 {
        cluster.put_ok(LEADER, &format!("big{i}"), &value);
    }
}

#[test]
fn a_table_of_many_parts_is_copied_while_puts_go_on() {
    for (loss_percent, reorder) in [(0, false), (10, true)] {
        for max_log_bytes in [1_000, 100_000] {
            let mut cluster = with(|config| config.max_log_bytes = max_log_bytes);
            fill(&mut cluster);
            cluster.crash(TWO);
            cluster.run(ms(10));
            cluster.set_weather(loss_percent, 0);
            cluster.network().ordered = !reorder;
            cluster.network().delay = ms(1) / 2..=ms(3);
            cluster.start(TWO);
            for i in 0..100 {
                // Keys of the first part, of the last, and new ones.
                cluster.put(LEADER, ["big0", "big31", &format!("new{i}")][i % 3], "y");
                cluster.run(ms(1));
            }
            cluster.set_weather(0, 0);
            // A follower keeps nothing that comes out of order, so each gap costs a Resend.
            cluster.run(ms(10_000));
            assert!(cluster.has_converged(), "{}", cluster.summary());
            assert!(chunks(&cluster) >= 8, "it was a copy");
            cluster.put_ok(TWO, "k", "v");
        }
    }
}

#[test]
fn a_link_that_breaks_during_a_copy_begins_another() {
    let mut cluster = with(|config| config.max_log_bytes = 1);
    fill(&mut cluster);
    restart(&mut cluster, TWO);
    for _ in 0..3 {
        cluster.run(ms(7));
        assert!(refuses(&mut cluster, TWO, "big0"), "the copy is under way");
        cluster.cut(LEADER, TWO);
        cluster.run(ms(30));
        cluster.heal(LEADER, TWO);
    }
    cluster.run(ms(100));
    assert!(cluster.has_converged());
}

#[test]
fn a_leader_restarted_empty_copies_the_furthest_follower_and_reuses_no_timestamp() {
    let mut cluster = with(|_| {});
    fill(&mut cluster);
    cluster.cut(LEADER, THREE);
    cluster.put(LEADER, "k", "only node 2 has it");
    cluster.run(ms(300));
    cluster.crash(LEADER);
    assert_eq!([TWO, THREE].map(|node| cluster.info(node).applied.0), [33, 32]);
    cluster.start(LEADER);
    cluster.run(ms(100));
    // One follower alone could be the one that lacks what the other has acknowledged.
    let put = cluster.put(LEADER, "k", "v");
    assert!(matches!(cluster.wait(put), Reply::NotApplied { .. }));
    assert!(refuses(&mut cluster, LEADER, "big0"));
    assert_eq!(reads(&mut cluster, TWO, "k"), 33, "followers go on answering");
    cluster.heal(LEADER, THREE);
    cluster.run(ms(200));
    assert!(cluster.has_converged());
    assert_eq!(reads(&mut cluster, THREE, "k"), 33);
    assert_eq!(cluster.put_ok(TWO, "k", "w"), Timestamp(34));
}

#[test]
fn a_leader_whose_source_restarts_copies_again() {
    let mut cluster = with(|_| {});
    fill(&mut cluster);
    restart(&mut cluster, LEADER);
    cluster.run(ms(8));
    assert!(!cluster.is_complete(LEADER), "the copy is under way");
    // The last of the furthest is the source: it loses its data, and node 2 still has it.
    restart(&mut cluster, THREE);
    cluster.run(ms(200));
    assert!(cluster.has_converged(), "{}", cluster.summary());
    assert_eq!(cluster.info(LEADER).applied, Timestamp(32));
}

#[test]
fn with_disks_every_put_ok_survives_the_crash_of_all_nodes_at_any_moment() {
    for moment in 0..40 {
        for in_a_sync in [false, true, true] {
            survives(moment, in_a_sync);
        }
    }
}

/// All nodes stop at that moment, or each in a sync after it: what it writes is then on its disk or
/// not, and nobody was told.
fn survives(moment: u64, in_a_sync: bool) {
    let config = Config { durability: Durability::Disk, ..config() };
    let mut cluster = Store::new(2 * moment + u64::from(in_a_sync), 3, config);
    cluster.network().delay = ms(1) / 10..=ms(2);
    cluster.run(ms(50));
    cluster.network().sync = ms(1) / 10..=ms(1) / 5;
    let tickets: Vec<u32> =
        (0..10).map(|i| cluster.put([LEADER, TWO][i % 2], &format!("k{i}"), "v")).collect();
    cluster.run(ms(moment) / 4);
    let until = cluster.now() + ms(50);
    for node in cluster.ids() {
        while in_a_sync && !cluster.is_syncing(node) && cluster.step(until) {}
        cluster.crash(node);
    }
    cluster.network().sync = 0..=0;
    let put_ok =
        tickets.iter().enumerate().filter_map(|(i, ticket)| match cluster.answer(*ticket) {
            Some(Reply::PutOk { timestamp }) => Some((i, timestamp)),
            _ => None,
        });
    let put_ok: Vec<(usize, Timestamp)> = put_ok.collect();
    for node in cluster.ids() {
        cluster.start(node);
        assert!(refuses(&mut cluster, node, "k0"), "it has not heard from the others");
    }
    cluster.run(ms(50));
    for node in cluster.ids() {
        for (i, timestamp) in &put_ok {
            assert_eq!(reads(&mut cluster, node, &format!("k{i}")), timestamp.0);
        }
    }
    cluster.run(ms(300));
    assert!(cluster.has_converged(), "{}", cluster.summary());
    let last = cluster.info(LEADER).applied;
    assert_eq!(cluster.put_ok(TWO, "k", "v"), last.next());
}

/// Its disk may hold an older copy: only the others can tell.
#[test]
fn with_disks_no_node_answers_before_the_leader_has_heard_from_all() {
    let mut cluster = with_disks();
    cluster.put_ok(LEADER, "k", "v");
    for node in cluster.ids() {
        cluster.crash(node);
    }
    for node in [LEADER, TWO] {
        cluster.start(node);
        cluster.run(ms(500));
        assert!(refuses(&mut cluster, LEADER, "k"));
    }
    assert!(refuses(&mut cluster, TWO, "k"));
    let put = cluster.put(TWO, "k", "w");
    let Reply::NotApplied { reason } = cluster.wait(put) else { panic!("it is not applied") };
    assert!(reason.ends_with("has not heard from nodes [3] what they hold"), "{reason}");
    assert!(cluster.info(TWO).reason.contains("node 1, has not said yet"));
    cluster.start(THREE);
    cluster.run(ms(50));
    for node in cluster.ids() {
        assert_eq!(reads(&mut cluster, node, "k"), 1);
    }
    assert_eq!(cluster.put_ok(THREE, "k", "w"), Timestamp(2));
}

#[test]
fn a_copy_is_on_the_disk_before_it_is_acknowledged() {
    for lost in [LEADER, TWO] {
        let mut cluster = with(|config| {
            config.durability = Durability::Disk;
            config.max_log_bytes = 1;
        });
        fill(&mut cluster);
        cluster.set_disk(lost, Folder::default());
        cluster.start(lost);
        cluster.run(ms(300));
        assert!(cluster.has_converged());
        // The checkpoint is what it restarts from, alone.
        for node in cluster.ids() {
            cluster.crash(node);
        }
        let before = chunks(&cluster);
        for node in cluster.ids() {
            cluster.start(node);
        }
        cluster.run(ms(50));
        assert_eq!(reads(&mut cluster, lost, "big31"), 32);
        assert_eq!(chunks(&cluster), before, "nothing was copied");
    }
}

/// A store with disks and twenty PUTs, and what the disks had after ten.
fn twenty_puts() -> (Store, BTreeMap<u32, Folder>) {
    let mut cluster = with_disks();
    let mut older = BTreeMap::new();
    for i in 0..20 {
        if i == 10 {
            cluster.run(ms(10));
            older.extend(cluster.ids().into_iter().map(|id| (id, cluster.disk(id))));
        }
        cluster.put_ok(LEADER, &format!("k{}", i % 7), &format!("v{i}"));
    }
    (cluster, older)
}

/// The disk of that node of another store, with more PUTs.
fn foreign(node: u32) -> Folder {
    let mut other = Store::new(77, 3, Config { durability: Durability::Disk, ..config() });
    other.run(ms(50));
    for i in 0..30 {
        other.put_ok(LEADER, &format!("k{}", i % 7), "foreign");
    }
    other.disk(node)
}

/// What may happen to one disk.
const DAMAGES: [&str; 4] = ["older copy", "emptied", "log lost", "foreign"];

fn damage(cluster: &mut Store, older: &BTreeMap<u32, Folder>, node: u32, what: &str) {
    match what {
        "older copy" => cluster.set_disk(node, older[&node].clone()),
        "emptied" => cluster.set_disk(node, Folder::default()),
        "log lost" => cluster.lose_log(node),
        _ => cluster.set_disk(node, foreign(node)),
    }
}

fn stop_all(cluster: &mut Store) {
    cluster.ids().into_iter().for_each(|node| cluster.crash(node));
}

#[test]
fn one_bad_disk_is_found_out_and_mended_in_any_order_of_starts() {
    for victim in [LEADER, TWO, THREE] {
        for what in DAMAGES {
            for order in [[LEADER, TWO, THREE], [THREE, TWO, LEADER], [TWO, LEADER, THREE]] {
                let (mut cluster, older) = twenty_puts();
                stop_all(&mut cluster);
                damage(&mut cluster, &older, victim, what);
                for (place, node) in order.into_iter().enumerate() {
                    cluster.start(node);
                    cluster.run(ms(30));
                    // Never an older value, or another's.
                    for up in order[..=place].iter().copied() {
                        let get = cluster.get(up, "k5", Timestamp(0));
                        match cluster.answer(get) {
                            Some(Reply::Value { timestamp, .. }) => assert_eq!(timestamp.0, 20),
                            Some(Reply::TryOtherServerOrLater { .. }) => {}
                            other => panic!("{what} at {victim}: {other:?}"),
                        }
                    }
                }
                cluster.run(ms(300));
                assert!(cluster.has_converged(), "{what} at {victim}: {}", cluster.summary());
                assert_eq!(cluster.put_ok(TWO, "k", "w"), Timestamp(21));
            }
        }
    }
}

#[test]
fn a_bad_disk_that_comes_back_to_a_running_store_is_replaced_while_puts_go_on() {
    for what in DAMAGES {
        let (mut cluster, older) = twenty_puts();
        damage(&mut cluster, &older, THREE, what);
        let put = cluster.put(LEADER, "k5", "new");
        cluster.start(THREE);
        assert!(refuses(&mut cluster, THREE, "k5"), "{what}");
        assert!(matches!(cluster.wait(put), Reply::PutOk { .. }), "{what}");
        assert_eq!(reads(&mut cluster, THREE, "k5"), 21);
        cluster.run(ms(100));
        assert!(cluster.has_converged(), "{what}: {}", cluster.summary());
    }
}

#[test]
fn two_bad_disks_are_refused_in_words_or_mended_but_never_wrong() {
    let nodes = [LEADER, TWO, THREE];
    for good in nodes {
        for one in DAMAGES {
            for other in DAMAGES {
                let (mut cluster, older) = twenty_puts();
                stop_all(&mut cluster);
                let bad = nodes.into_iter().filter(|node| *node != good);
                for (node, what) in bad.zip([one, other]) {
                    damage(&mut cluster, &older, node, what);
                }
                nodes.into_iter().for_each(|node| cluster.start(node));
                cluster.run(ms(500));
                let mended = cluster.has_converged();
                for node in nodes {
                    // Two of the same other store are the majority, and cannot be told from this
                    // one.
                    if mended && (one, other) != ("foreign", "foreign") {
                        assert_eq!(reads(&mut cluster, node, "k5"), 20, "{one}, {other}, {good}");
                    } else if !mended {
                        assert!(refuses(&mut cluster, node, "k5"), "{one}, {other}, {good}");
                    }
                }
                if !mended {
                    let reason = cluster.info(LEADER).reason.into_owned();
                    assert!(reason.contains("no majority agrees (node 2: "), "{reason}");
                }
            }
        }
    }
}

#[test]
fn of_two_nodes_that_contradict_each_other_none_is_believed() {
    let mut cluster = Store::new(1, 2, Config { durability: Durability::Disk, ..config() });
    cluster.run(ms(50));
    cluster.put_ok(LEADER, "k5", "v");
    cluster.crash(LEADER);
    cluster.set_disk(TWO, foreign(TWO));
    let _ = [LEADER, TWO].map(|node| cluster.start(node));
    cluster.run(ms(500));
    for node in [LEADER, TWO] {
        assert!(refuses(&mut cluster, node, "k5"));
    }
    let put = cluster.put(TWO, "k", "w");
    let Reply::NotApplied { reason } = cluster.wait(put) else { panic!("it is not applied") };
    assert!(reason.contains("contradicts each other"), "{reason}");
    cluster.set_disk(TWO, Folder::default());
    cluster.start(TWO);
    cluster.run(ms(100));
    assert!(cluster.has_converged(), "one was emptied, as the words say");
    assert_eq!(reads(&mut cluster, TWO, "k5"), 1);
}

#[test]
fn memories_lost_one_after_the_other_are_noticed() {
    // At once, nobody has heard that there is something; after 3 ms nobody has copied all; after 10
    // ms node 2 has.
    for (pause, applied) in [(0, Some(0)), (3, None), (10, Some(32))] {
        let mut cluster = with(|config| config.max_log_bytes = 1);
        fill(&mut cluster);
        for node in [TWO, THREE, LEADER] {
            restart(&mut cluster, node);
            cluster.run(ms(pause));
        }
        cluster.run(ms(1_000));
        if let Some(applied) = applied {
            assert!(cluster.has_converged(), "{pause}: {}", cluster.summary());
            assert_eq!(cluster.info(TWO).applied, Timestamp(applied));
            continue;
        }
        for node in cluster.ids() {
            assert!(!cluster.is_complete(node) && refuses(&mut cluster, node, "big0"));
        }
        let put = cluster.put(TWO, "k", "w");
        let Reply::NotApplied { reason } = cluster.wait(put) else { panic!("it is not applied") };
        assert!(reason.contains("no node is left that has every PUT"), "{reason}");
        // As the words say.
        let _ = [LEADER, TWO, THREE].map(|node| cluster.crash(node));
        let _ = [LEADER, TWO, THREE].map(|node| cluster.start(node));
        cluster.run(ms(100));
        assert!(cluster.has_converged());
        assert_eq!(cluster.put_ok(TWO, "k", "w"), Timestamp(1));
    }
}

#[test]
fn a_copy_that_is_done_keeps_what_the_others_lose() {
    let mut cluster = with(|config| config.max_log_bytes = 1);
    fill(&mut cluster);
    for node in [TWO, THREE, LEADER, TWO] {
        restart(&mut cluster, node);
        cluster.run(ms(300));
        assert!(cluster.has_converged(), "{node}");
        assert_eq!(reads(&mut cluster, node, "big31"), 32);
    }
}

#[test]
fn a_full_disk_is_refused_and_all_goes_on_when_there_is_room() {
    for full in [LEADER, TWO] {
        let mut cluster = with_disks();
        cluster.put_ok(LEADER, "k", "v");
        cluster.set_room(full, 10);
        let put = cluster.put(THREE, "k", "w");
        match (full, cluster.wait(put)) {
            (LEADER, Reply::NotApplied { reason }) => assert!(reason.contains("disk is full")),
            (TWO, Reply::MayStillApply { .. }) => {}
            (_, other) => panic!("{full} is full: {other:?}"),
        }
        let put = cluster.put(THREE, "k", "x");
        let Reply::NotApplied { reason } = cluster.wait(put) else { panic!("it is not applied") };
        assert!(reason.contains("full: make room, then try again"), "{reason}");
        assert!(reads(&mut cluster, full, "k") >= 1, "reads go on");
        cluster.set_room(full, u64::MAX);
        cluster.run(ms(100));
        assert!(cluster.has_converged(), "{}", cluster.summary());
        cluster.put_ok(THREE, "k", "y");
    }
}

// What only certain losses and delays bring about, message by message at one node.

/// One node with one peer, which the test plays.
struct Alone {
    host: Host,
    peer: NodeId,
    now: Time,
}

impl Alone {
    fn new(me: u32, peer: u32, max_log_bytes: usize) -> Alone {
        let peer = NodeId(peer);
        let env = Env {
            id: NodeId(me),
            peers: vec![peer],
            incarnation: 1,
            identity: 1,
            seed: 1,
            durable: false,
        };
        let config = Config { max_log_bytes, ..config() };
        let protocol = erase::<KvReplication>(config, &env).expect("the config is right");
        let host = Host::new(&env, vec![protocol], LamportRule::MaxPlusOne);
        let mut alone = Alone { host, peer, now: Time(0) };
        let now = alone.clock();
        alone.host.handle_start(now);
        alone.host.handle_link(peer, true, now);
        alone.sent();
        alone
    }

    fn clock(&self) -> Now {
        Now { time: self.now, wall: WallTime(0) }
    }

    /// What the node sent since it was last asked.
    fn sent(&mut self) -> Vec<String> {
        let effects = self.host.outbox().effects().iter();
        let sent = effects.filter_map(|effect| match *effect {
            Effect::Send { payload, .. } => {
                let (_, body) = Host::message_of(self.host.outbox().bytes(payload))?;
                let message: Message<'_> = postcard::from_bytes(body).expect("it decodes");
                Some(format!("{message:?}"))
            }
            Effect::Reply { .. }
            | Effect::Over { .. }
            | Effect::Push { .. }
            | Effect::Print { .. }
            | Effect::Note { .. }
            | Effect::Timer { .. }
            | Effect::Fact { .. }
            | Effect::Stop { .. } => None,
        });
        let sent = sent.collect();
        self.host.outbox_mut().clear_effects();
        sent
    }

    fn receive(&mut self, message: &Message<'_>) -> Vec<String> {
        let envelope = (protocol_tag("kv_replication"), 0_u64);
        let frame = postcard::to_allocvec(&(envelope, message)).expect("it has a postcard form");
        let now = self.clock();
        self.host.handle_frame(self.peer, &frame, now).expect("it is well formed");
        self.host.handle_turn_end();
        self.host.check_invariants();
        self.sent()
    }

    fn put(&mut self, sequence: u32) -> Vec<String> {
        let client = ClientId { slot: 1, generation: 0 };
        let caller =
            Caller { request: RequestId { client, sequence }, addr: ([127, 0, 0, 1], 9).into() };
        let put = Request::Put { key: "k".into(), value: "v".into() };
        let request = postcard::to_allocvec(&put).expect("it has a postcard form");
        let now = self.clock();
        self.host.handle_request(0, caller, &request, now).expect("it is well formed");
        self.host.handle_turn_end();
        self.host.check_invariants();
        self.sent()
    }

    /// Lets time pass without a message.
    fn silence(&mut self, millis: u64) -> Vec<String> {
        let until = self.now + Duration::from_millis(millis);
        while let Some(deadline) = self.host.deadline().filter(|deadline| *deadline <= until) {
            self.now = deadline;
            let now = self.clock();
            self.host.handle_timers(now);
        }
        self.now = until;
        self.sent()
    }
}

const EPOCH: Epoch = Epoch(1);

fn replication(timestamp: u64) -> Message<'static> {
    let (key, value) = ("k".into(), "v".into());
    let timestamp = Timestamp(timestamp);
    Message::Replication { epoch: EPOCH, reign: EPOCH, timestamp, key, value }
}

fn history(applied: u64) -> History {
    let genesis = Hash(7);
    History { genesis, applied: Timestamp(applied), hash: genesis, standing: Standing::Whole }
}

fn chunk(transfer: u32, base: u64) -> Message<'static> {
    let (next, base) = (None, history(base));
    let (head, entries) = (base.applied, Vec::new());
    Message::Chunk { epoch: EPOCH, transfer, cursor: 0, next, base, head, entries }
}

/// Whether an acknowledgement, alone, was sent; its hash is another matter.
fn is_ok(sent: &[String], applied: u64) -> bool {
    let ok = format!("ReplicationOk {{ epoch: {EPOCH:?}, applied: {applied}, ");
    sent.len() == 1 && sent[0].starts_with(&ok)
}

fn probe(epoch: Epoch) -> Message<'static> {
    Message::Probe { epoch, at: vec![], known: false }
}

/// The hash in a message's text.
fn hash_in(message: &str, label: &str) -> Hash {
    let (_, hash) = message.split_once(label).expect("the message has one");
    Hash(u64::from_str_radix(&hash[..16], 16).expect("it is in hexadecimal"))
}

/// A follower that has nothing.
fn empty(epoch: Epoch) -> Message<'static> {
    Message::State { epoch, history: History::default(), marks: vec![] }
}

fn resync(transfer: u32) -> Message<'static> {
    Message::Resync { epoch: EPOCH, transfer, contradicts: false }
}

/// Else the acknowledgement would hide that the Resume, and with it how far a whole replica is,
/// was lost, and the follower would never answer a GET.
#[test]
fn a_follower_acknowledges_no_replication_before_its_resume() {
    let mut follower = Alone::new(TWO, LEADER, 1_000);
    follower.receive(&probe(EPOCH));
    assert_eq!(follower.receive(&replication(1)), [""; 0]);
    let resume = Message::Resume { epoch: EPOCH, history: history(1) };
    assert!(is_ok(&follower.receive(&resume), 0));
    assert!(is_ok(&follower.receive(&replication(1)), 1));
}

#[test]
fn a_resync_behind_its_copys_end_is_answered_and_copies_nothing() {
    let mut follower = Alone::new(TWO, LEADER, 1_000);
    follower.receive(&probe(EPOCH));
    let resync = resync(1);
    assert_eq!(follower.receive(&resync).len(), 1, "a Pull");
    assert!(is_ok(&follower.receive(&chunk(1, 9)), 9));
    assert!(is_ok(&follower.receive(&replication(10)), 10));
    assert!(is_ok(&follower.receive(&resync), 10), "the leader had not heard");
    assert!(is_ok(&follower.receive(&replication(11)), 11));
}

/// It takes nothing else as long as it waits for the copy, and no PUT is done without it.
#[test]
fn a_follower_that_pulls_what_nobody_copies_is_told_to_begin_anew() {
    for loss_percent in [0, 20] {
        let mut cluster = with(|_| {});
        cluster.set_weather(loss_percent, 0);
        // The second is one that was copied before, the fourth comes after the highest.
        for transfer in [1, 2, 1_000, u32::MAX, 1, 1 << 31, 5] {
            if transfer == 5 {
                // One that has forgotten what it copied takes any.
                restart(&mut cluster, TWO);
                cluster.run(ms(1_000));
            }
            cluster.put(LEADER, "k", "v");
            cluster.run(ms(1_000));
            assert!(cluster.has_converged(), "before {transfer}");
            cluster.forge::<KvReplication>(LEADER, TWO, &resync(transfer));
            cluster.run(ms(1_000));
            cluster.put(THREE, "k", "w");
            cluster.run(ms(3_000));
            assert!(cluster.has_converged(), "{transfer}");
        }
    }
}

#[test]
fn a_pull_that_comes_late_begins_no_copy_and_one_that_insists_begins_one() {
    let mut leader = Alone::new(LEADER, TWO, 1_000);
    let resume = leader.receive(&empty(EPOCH));
    let hash = hash_in(&resume[0], "hash: ");
    let ok = || Message::ReplicationOk { epoch: EPOCH, applied: Timestamp(0), hash };
    let pull = |transfer| Message::Pull { epoch: EPOCH, transfer, cursor: 0 };
    leader.receive(&ok());
    for _ in 0..3 {
        assert_eq!(leader.receive(&pull(9)), [""; 0]);
        assert_eq!(leader.receive(&ok()), [""; 0]);
    }
    assert_eq!(leader.receive(&pull(9)), [""; 0]);
    let begun = format!("{:?}", resync(10));
    assert_eq!(leader.receive(&pull(9)), [begun.as_str()]);
    assert_eq!(leader.receive(&pull(9)), [""; 0], "it has been told");
    assert!(leader.silence(100).contains(&begun), "and is again until it hears");
    assert!(leader.receive(&pull(10))[0].starts_with("Chunk"));
    // A number far ahead is followed by one after it; to one behind the present Resync will do.
    assert_eq!(leader.receive(&pull(1 << 31)), [format!("{:?}", resync((1 << 31) + 1))]);
    assert_eq!(leader.receive(&pull(u32::MAX)), [format!("{:?}", resync(0))]);
    assert_eq!(leader.receive(&pull(u32::MAX - 1)), [""; 0]);
}

#[test]
fn a_resume_that_a_resync_overtook_does_not_drop_the_copy() {
    let mut follower = Alone::new(TWO, LEADER, 1_000);
    follower.receive(&probe(EPOCH));
    follower.receive(&resync(1));
    let resume = Message::Resume { epoch: EPOCH, history: history(0) };
    assert_eq!(follower.receive(&resume), [""; 0]);
    assert!(is_ok(&follower.receive(&chunk(1, 9)), 9));
}

/// The leader would take the follower for in step, with nothing to send and nothing to wait for,
/// while the end of the copy was lost.
#[test]
fn a_late_acknowledgement_of_the_old_table_does_not_end_a_copy() {
    let mut leader = Alone::new(LEADER, TWO, 1);
    let resume = leader.receive(&empty(EPOCH));
    let genesis = hash_in(&resume[0], "genesis: ");
    let resync = format!("{:?}", resync(1));
    assert_eq!(leader.put(0).len(), 1, "a Replication");
    // While a client waits for the oldest PUT in a full log, there is no room for another.
    leader.silence(210);
    assert_eq!(leader.put(1).len(), 1, "a Replication");
    assert!(leader.silence(210).contains(&resync), "the log no longer reaches back");
    let pull = Message::Pull { epoch: EPOCH, transfer: 1, cursor: 0 };
    assert!(leader.receive(&pull)[0].starts_with("Chunk"));
    leader.put(2);
    // What a follower says that was sent the first PUT.
    let mut follower = Alone::new(TWO, LEADER, 1);
    follower.receive(&probe(EPOCH));
    let history = History { genesis, hash: genesis, ..history(0) };
    follower.receive(&Message::Resume { epoch: EPOCH, history });
    let hash = hash_in(&follower.receive(&replication(1))[0], "hash: ");
    leader.receive(&Message::ReplicationOk { epoch: EPOCH, applied: Timestamp(1), hash });
    leader.receive(&Message::Staged { epoch: EPOCH, received: Timestamp(3) });
    assert!(leader.silence(100).contains(&resync), "it asks until it hears of the end");
}

#[test]
fn a_follower_tells_a_leader_whose_clock_was_set_back_of_the_later_reign() {
    let mut follower = Alone::new(TWO, LEADER, 1_000);
    follower.receive(&probe(Epoch(9)));
    assert_eq!(follower.receive(&probe(EPOCH)), [format!("{:?}", empty(Epoch(9)))]);
}

#[test]
fn a_leader_that_hears_of_a_later_reign_begins_one_after_it() {
    let mut leader = Alone::new(LEADER, TWO, 1_000);
    let probe = Message::Probe { epoch: Epoch(10), at: vec![Timestamp(0)], known: false };
    assert_eq!(leader.receive(&empty(Epoch(9))), [format!("{probe:?}")]);
    let sent = leader.receive(&empty(Epoch(10)));
    assert!(sent.len() == 1 && sent[0].starts_with("Resume { epoch: 10, "), "{sent:?}");
}

/// Else a flood of PUTs would push those out that clients wait for.
#[test]
fn a_full_log_takes_no_put_while_a_client_waits_for_its_oldest() {
    let mut cluster = with(|config| config.max_log_bytes = 500);
    cluster.cut(LEADER, THREE);
    let puts: Vec<_> = (0..20).map(|_| cluster.put(LEADER, "k", "v")).collect();
    let mut outcomes = String::new();
    for put in puts {
        outcomes.push(match cluster.wait(put) {
            Reply::NotApplied { .. } => 'n',
            Reply::MayStillApply { .. } => 'm',
            other => panic!("a PUT without node {THREE} got {other:?}"),
        });
    }
    let taken = outcomes.trim_end_matches('n');
    assert!(!taken.is_empty() && taken.chars().all(|outcome| outcome == 'm'), "{outcomes}");
    assert!(taken.len() < outcomes.len(), "{outcomes}");
}
