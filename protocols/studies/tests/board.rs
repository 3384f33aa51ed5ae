//! The board on real Hosts: posts through broker, servers and proxy; order, losses that are told,
//! and what a client is told of its post whatever breaks.

use node_lab::sim::cluster::{Cluster, MS, SECOND};
use node_protocols::berkeley::{self, Berkeley};
use node_protocols::board::{
    Board, Config, Maybe, Member, Message, Outcome, Post, Refusal, Reply, Request, Role,
};
use node_protocols::bully::{self, Bully};
use node_protocols::core::{Bytes, DynProtocol, Env, LamportTime, NodeId, erase};
use node_protocols::membership::{self, Membership};

const SERVERS: [u32; 3] = [1, 2, 3];
const BROKER: u32 = 4;
const PROXY: u32 = 5;
const BOT: u32 = 6;
const REFERENCE: u32 = 7;

fn config(id: u32) -> Config {
    let (role, name) = match id {
        BROKER => (Role::Broker, String::new()),
        PROXY => (Role::Proxy, String::new()),
        BOT => (Role::Bot, "bot".into()),
        id => (Role::Server, format!("server{id}")),
    };
    Config {
        role,
        name,
        servers: if id == BROKER { SERVERS.into() } else { Vec::new() },
        broker: (id == BOT).then_some(BROKER),
        proxy: (id == BOT || SERVERS.contains(&id)).then_some(PROXY),
        timeout_ms: 2_000,
        topics: vec!["general".into()],
        topic: "general".into(),
        texts: Vec::new(),
        interval_ms: 1_000,
    }
}

fn membership(id: u32) -> membership::Config {
    let is_reference = id == REFERENCE;
    membership::Config {
        role: if is_reference { membership::Role::Reference } else { membership::Role::Member },
        name: if is_reference { String::new() } else { format!("server{id}") },
        reference: if is_reference { 0 } else { REFERENCE },
        heartbeat_ms: 5_000,
        timeout_ms: 30_000,
    }
}

/// The whole system: a reference server, servers with all four protocols, broker, proxy, and a bot
/// if it is started.
fn board(seed: u64, bot: bool) -> Cluster {
    let build = |env: &Env| -> Vec<Box<dyn DynProtocol>> {
        let id = env.id.0;
        let membership = || erase::<Membership>(membership(id), env).expect("it is right");
        let board = || erase::<Board>(config(id), env).expect("it is right");
        let bully = bully::Config { by: bully::By::Rank, ..bully::Config::default() };
        let berkeley = berkeley::Config { servers: SERVERS.into(), ..berkeley::Config::default() };
        match id {
            REFERENCE => vec![membership()],
            id if SERVERS.contains(&id) => vec![
                membership(),
                erase::<Bully>(bully, env).expect("it is right"),
                erase::<Berkeley>(berkeley, env).expect("it is right"),
                board(),
            ],
            _ => vec![board()],
        }
    };
    let ids: Vec<u32> =
        [REFERENCE].into_iter().chain(SERVERS).chain([BROKER, PROXY, BOT]).collect();
    let mut group = Cluster::with_disks(seed, &ids, build);
    for id in ids.into_iter().filter(|id| *id != BOT || bot) {
        group.start(id);
    }
    group
}

fn send(group: &mut Cluster, client: u32, user: &str, text: &str) -> u32 {
    let (timestamp, clock) = (0, LamportTime(0));
    let request = Request::Send {
        user: user.into(),
        topic: "general".into(),
        text: text.into(),
        timestamp,
        clock,
    };
    group.request::<Board>(BROKER, client, &request)
}

fn to_subscribe(topic: &str) -> Request<'_> {
    Request::Subscribe { topic: topic.into(), member: None }
}

fn to_publish<'a>(topic: &'a str, text: &'a str) -> Request<'a> {
    Request::Publish {
        topic: topic.into(),
        text: text.into(),
        quiet: false,
        reply: None,
        headers: None,
        no_echo: false,
        no_responders: false,
    }
}

fn subscribe(group: &mut Cluster, client: u32, topic: &str) {
    let asked = group.request::<Board>(PROXY, client, &to_subscribe(topic));
    let reply = group.reply::<Board>(asked);
    assert!(matches!(&reply, Some(Reply::Subscribed { topic: one, .. }) if one == topic));
}

/// Whom a client heard say what, in order.
fn heard(group: &Cluster, client: u32) -> Vec<(String, String)> {
    let pushed = group.pushed::<Board>(client).into_iter();
    let messages = pushed.filter_map(|reply| match reply {
        Reply::Message { user, text, .. } => {
            Some((user.into_owned(), String::from_utf8_lossy(&text).into_owned()))
        }
        _ => None,
    });
    messages.collect()
}

fn missed(group: &Cluster, client: u32) -> u64 {
    let pushed = group.pushed::<Board>(client).into_iter();
    let some = pushed.filter_map(|reply| match reply {
        Reply::Missed { messages, .. } => Some(messages),
        _ => None,
    });
    some.sum()
}

fn texts(group: &Cluster, client: u32) -> Vec<String> {
    heard(group, client).into_iter().map(|(_, text)| text).collect()
}

/// What the bot printed that it heard or missed.
fn bot_said(group: &Cluster, what: &str) -> Vec<String> {
    let its = group.printed().filter(|(id, line)| *id == BOT && line.contains(what));
    its.map(|(_, line)| line.to_string()).collect()
}

#[test]
fn a_post_reaches_all_who_subscribe_and_its_client_knows() {
    let mut group = board(1, true);
    group.run(SECOND);
    subscribe(&mut group, 10, "general");
    subscribe(&mut group, 11, "general");
    subscribe(&mut group, 12, "other");
    let sent = send(&mut group, 1, "ana", "hola");
    group.run(100 * MS);
    let Some(Reply::Sent { server, timestamp, clock }) = group.reply::<Board>(sent) else {
        panic!("it was published");
    };
    assert!(SERVERS.contains(&server.0));
    assert!(timestamp > 1_735_689_600_000 && clock > LamportTime(3));
    for client in [10, 11] {
        assert_eq!(heard(&group, client), [("ana".to_string(), "hola".to_string())]);
    }
    assert_eq!(heard(&group, 12), []);
    assert_eq!(bot_said(&group, &format!("ana via {server}: hola")).len(), 1);
    // The clock that a subscriber sees is after that of the client's request.
    let pushed = group.pushed::<Board>(10);
    let [Reply::Message { clock: shown, server: by, .. }] = &pushed[..] else { panic!("one") };
    assert!(shown.0 > 3 && *by == Some(server));
}

#[test]
fn all_servers_get_their_share() {
    let mut group = board(1, false);
    group.run(SECOND);
    let mut counts = [0; 3];
    for number in 0..300 {
        let sent = send(&mut group, 1, "ana", &number.to_string());
        group.run(10 * MS);
        match group.reply::<Board>(sent) {
            Some(Reply::Sent { server, .. }) => counts[server.0 as usize - 1] += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(counts.iter().all(|count| (70..=130).contains(count)), "{counts:?}");
}

#[test]
fn posts_of_a_user_keep_their_order_through_whichever_servers() {
    for seed in 0..50 {
        let mut group = board(seed, false);
        group.run(SECOND);
        group.network().delay = MS / 10..=20 * MS;
        subscribe(&mut group, 10, "general");
        for number in 0..40 {
            // Both at once, and one behind the other.
            for user in ["ana", "bea"] {
                send(&mut group, 1, user, &format!("{user}{number:02}"));
            }
        }
        group.run(10 * SECOND);
        for user in ["ana", "bea"] {
            let its = heard(&group, 10).into_iter().filter(|(who, _)| who == user);
            let its: Vec<String> = its.map(|(_, text)| text).collect();
            let expected: Vec<String> =
                (0..40).map(|number| format!("{user}{number:02}")).collect();
            assert_eq!(its, expected, "seed {seed}");
        }
    }
}

#[test]
fn whatever_breaks_each_client_is_told_and_nothing_comes_twice_or_late() {
    let (mut published, mut unknown, mut refused) = (0, 0, 0);
    for seed in 0..60 {
        let mut group = board(seed, false);
        group.run(SECOND);
        group.network().delay = MS / 10..=30 * MS;
        subscribe(&mut group, 10, "general");
        let mut asked = Vec::new();
        for number in 0..60_u64 {
            for user in ["ana", "bea"] {
                let text = format!("{user}{number:02}");
                asked.push((text.clone(), send(&mut group, 1, user, &text)));
            }
            group.run(40 * MS);
            let server = SERVERS[(seed + number / 10) as usize % 3];
            match number % 10 {
                3 => group.crash(server),
                6 => group.start(server),
                7 => group.cut(server, PROXY),
                9 => group.heal(server, PROXY),
                _ => {}
            }
            group.set_weather(if number % 20 == 12 { 30 } else { 0 }, 0);
        }
        group.set_weather(0, 0);
        // At most so long for each of a user's posts that wait behind one another.
        group.run(60 * SECOND);
        let all = texts(&group, 10);
        for user in ["ana", "bea"] {
            let its: Vec<&String> = all.iter().filter(|text| text.starts_with(user)).collect();
            assert!(its.is_sorted(), "seed {seed}: out of order: {its:?}");
            assert!(its.windows(2).all(|two| two[0] != two[1]), "seed {seed}: twice");
        }
        for (text, sequence) in asked {
            let came = all.contains(&text);
            match group.reply::<Board>(sequence) {
                Some(Reply::Sent { .. }) => {
                    published += 1;
                    assert!(came, "seed {seed}: {text} was not published");
                }
                Some(Reply::Error { published: Maybe::No, .. }) => {
                    refused += 1;
                    assert!(!came, "seed {seed}: {text} was published");
                }
                Some(Reply::Error { published: Maybe::Unknown, .. }) => unknown += 1,
                other => panic!("seed {seed}: {text}: {other:?}"),
            }
        }
    }
    assert!(published > 3_000 && unknown > 100 && refused > 100, "{published} {unknown} {refused}");
}

#[test]
fn a_post_that_comes_after_a_later_one_is_dropped() {
    let mut group = board(1, false);
    group.run(SECOND);
    subscribe(&mut group, 10, "general");
    let publish = |stamp, text: &'static str| Message::Publish {
        clock: NodeId(BROKER),
        stamp: LamportTime(stamp),
        timestamp: 1,
        post: Post { user: "ana".into(), topic: "general".into(), text: Bytes::from(text) },
    };
    for (stamp, text) in [(5, "a"), (9, "b"), (7, "late"), (9, "twice"), (10, "c")] {
        group.forge::<Board>(1, PROXY, &publish(stamp, text));
    }
    assert_eq!(texts(&group, 10), ["a", "b", "c"]);
}

#[test]
fn a_subscriber_that_does_not_read_costs_the_others_nothing_and_is_told() {
    let mut group = board(1, false);
    group.run(SECOND);
    for client in [10, 11] {
        subscribe(&mut group, client, "general");
    }
    let publish = |group: &mut Cluster, text: &str| {
        let request = to_publish("general", text);
        let asked = group.request::<Board>(PROXY, 1, &request);
        let reply = group.reply::<Board>(asked);
        assert!(matches!(reply, Some(Reply::Published { subscribers: 2, .. })), "{reply:?}");
    };
    publish(&mut group, "a");
    group.backpressure::<Board>(PROXY, 10, true);
    for text in ["b", "c", "d"] {
        publish(&mut group, text);
    }
    group.backpressure::<Board>(PROXY, 10, false);
    publish(&mut group, "e");
    assert_eq!(texts(&group, 11), ["a", "b", "c", "d", "e"]);
    assert_eq!(texts(&group, 10), ["a", "e"]);
    assert_eq!((missed(&group, 10), missed(&group, 11)), (3, 0));
    // Told before what comes next, and once.
    let place =
        group.pushed::<Board>(10).iter().position(|one| matches!(one, Reply::Missed { .. }));
    assert_eq!(place, Some(1));
    group.backpressure::<Board>(PROXY, 10, true);
    group.backpressure::<Board>(PROXY, 10, false);
    assert_eq!(missed(&group, 10), 3);
    group.disconnect::<Board>(PROXY, 10);
    let request = to_publish("general", "f");
    let asked = group.request::<Board>(PROXY, 1, &request);
    let reply = group.reply::<Board>(asked);
    assert!(matches!(reply, Some(Reply::Published { subscribers: 1, .. })), "{reply:?}");
    let status = group.ask::<Board>(PROXY, &Request::Status {});
    assert!(matches!(status, Reply::Status { subscribers: 1, missed: 3, done: 6, .. }));
}

#[test]
fn a_bot_that_was_cut_off_is_told_what_it_missed_and_a_late_one_hears_from_now_on() {
    let mut group = board(1, false);
    group.run(SECOND);
    let publish = |group: &mut Cluster, text: &str| {
        let request = to_publish("general", text);
        group.request::<Board>(PROXY, 1, &request);
        group.run(100 * MS);
    };
    publish(&mut group, "before");
    group.start(BOT);
    group.run(100 * MS);
    publish(&mut group, "a");
    group.cut(BOT, PROXY);
    publish(&mut group, "b");
    publish(&mut group, "c");
    group.heal(BOT, PROXY);
    group.run(100 * MS);
    publish(&mut group, "d");
    assert_eq!(bot_said(&group, ": before").len(), 0);
    assert_eq!([": a", ": b", ": c", ": d"].map(|text| bot_said(&group, text).len()), [1, 0, 0, 1]);
    assert_eq!(bot_said(&group, "missed 2 messages under general").len(), 1);
    // A proxy that starts anew knows of nothing before.
    group.crash(PROXY);
    group.start(PROXY);
    group.run(100 * MS);
    assert_eq!(bot_said(&group, "may have missed messages under general").len(), 1);
    publish(&mut group, "e");
    assert_eq!(bot_said(&group, ": e").len(), 1);
}

#[test]
fn a_bot_without_a_link_to_its_broker_says_so_and_waits_for_no_answer() {
    let build = |env: &Env| -> Vec<Box<dyn DynProtocol>> {
        let id = env.id.0;
        let texts = if id == BOT { vec!["hello".into()] } else { Vec::new() };
        vec![erase::<Board>(Config { texts, ..config(id) }, env).expect("it is right")]
    };
    let mut group = Cluster::with_disks(4, &[1, 2, 3, BROKER, PROXY, BOT], build);
    group.start_all();
    group.run(5 * SECOND);
    group.cut(BOT, BROKER);
    group.run(5 * SECOND);
    assert!(
        !bot_said(&group, "was not sent: no link to the broker").is_empty(),
        "{:?}",
        group.printed().collect::<Vec<_>>()
    );
    group.heal(BOT, BROKER);
    // Between two of its messages all are answered.
    group.run(5 * SECOND + 500 * MS);
    let Reply::Status { pending, .. } = group.ask::<Board>(BOT, &Request::Status {}) else {
        panic!("it is a status");
    };
    assert_eq!(pending, 0);
}

#[test]
fn the_coordinator_is_announced_under_the_servers_topic() {
    let mut group = board(1, false);
    subscribe(&mut group, 10, "servers");
    group.run(5 * SECOND);
    let first = texts(&group, 10);
    assert_eq!(first.len(), 1, "{first:?}");
    assert!(
        first[0].starts_with("{\"service\":\"election\",\"data\":{\"coordinator\":\"server3\",")
    );
    assert!(first[0].contains("\"timestamp\":1735689") && first[0].contains("\"clock\":"));
    group.crash(3);
    group.run(10 * SECOND);
    let now = texts(&group, 10);
    assert_eq!(now.len(), 2);
    assert!(now[1].contains("\"coordinator\":\"server2\""));
    // One that could not be told is told when the proxy is there again.
    group.cut(2, PROXY);
    group.cut(1, PROXY);
    group.crash(2);
    group.run(10 * SECOND);
    assert_eq!(texts(&group, 10).len(), 2);
    group.heal(1, PROXY);
    group.run(SECOND);
    assert!(texts(&group, 10)[2].contains("\"coordinator\":\"server1\""));
}

#[test]
fn what_cannot_be_is_refused_with_a_reason() {
    let mut group = board(1, false);
    group.run(SECOND);
    let reason = |group: &mut Cluster, asked| match group.reply::<Board>(asked) {
        Some(Reply::Error { reason, published: Maybe::No, .. }) => reason.into_owned(),
        other => panic!("{other:?}"),
    };
    for user in ["", "two words", "a\"b", "line\n", &"x".repeat(65)] {
        let asked = send(&mut group, 1, user, "text");
        assert!(reason(&mut group, asked).contains("words of 1 to 64 bytes"), "{user}");
    }
    let asked = send(&mut group, 1, "ana", &"x".repeat((1 << 20) + 1));
    assert!(reason(&mut group, asked).contains("1048576"));
    let asked = group.request::<Board>(BROKER, 1, &to_subscribe("a"));
    assert!(reason(&mut group, asked).contains("at the proxy"));
    let asked = group.request::<Board>(PROXY, 1, &to_subscribe("a b"));
    assert!(reason(&mut group, asked).contains("a word"));
    for id in SERVERS {
        group.crash(id);
    }
    let asked = send(&mut group, 1, "ana", "text");
    assert!(reason(&mut group, asked).contains("no server"));
    // A clock from the far future moves none here.
    let request = Request::Send {
        user: "ana".into(),
        topic: "general".into(),
        text: "text".into(),
        timestamp: 0,
        clock: LamportTime(u64::MAX),
    };
    let asked = group.request::<Board>(BROKER, 1, &request);
    assert!(reason(&mut group, asked).contains("too far ahead"));
    // Under their own topic the servers speak alone, whoever asks and wherever.
    let request = Request::Send {
        user: "server3".into(),
        topic: "servers".into(),
        text: "text".into(),
        timestamp: 0,
        clock: LamportTime(1),
    };
    let asked = group.request::<Board>(BROKER, 1, &request);
    assert!(reason(&mut group, asked).contains("the servers alone"));
    let request = to_publish("servers", "text");
    let asked = group.request::<Board>(PROXY, 1, &request);
    assert!(reason(&mut group, asked).contains("the servers alone"));
    // Nobody waits for these.
    let late = Message::Done { stamp: LamportTime(1), timestamp: 1, outcome: Outcome::Published };
    group.forge::<Board>(1, BROKER, &late);
    let odd = Message::Sent { number: 7, outcome: Outcome::Refused(Refusal::Busy) };
    group.forge::<Board>(1, BROKER, &odd);
    group.forge::<Board>(1, PROXY, &odd);
}

#[test]
fn a_connections_subscriptions_are_bounded_and_go_with_it() {
    let mut group = board(1, false);
    let ask = |group: &mut Cluster, topic: &str| {
        let request = to_subscribe(topic);
        let asked = group.request::<Board>(PROXY, 1, &request);
        matches!(group.reply::<Board>(asked), Some(Reply::Subscribed { .. }))
    };
    for topic in 0..1_000 {
        assert!(ask(&mut group, &format!("topic{topic}")));
    }
    assert!(!ask(&mut group, "one-more"));
    assert!(ask(&mut group, "topic7"), "it has that one");
    group.disconnect::<Board>(PROXY, 1);
    assert!(ask(&mut group, "one-more"));
}

/// What a client got, as topic and who it was for.
fn parts(group: &Cluster, client: u32) -> Vec<(String, Option<(String, String)>)> {
    let pushed = group.pushed::<Board>(client).into_iter();
    let messages = pushed.filter_map(|reply| match reply {
        Reply::Message { topic, member, .. } => {
            let member = member.map(|one| (one.group.into_owned(), one.name.into_owned()));
            Some((topic.into_owned(), member))
        }
        _ => None,
    });
    messages.collect()
}

fn published(group: &mut Cluster, client: u32, request: &Request<'_>) -> u64 {
    let asked = group.request::<Board>(PROXY, client, request);
    match group.reply::<Board>(asked) {
        Some(Reply::Published { subscribers, .. }) => subscribers,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_subscribes_to_what_stands_for_several_topics_hears_each_message_once() {
    let mut group = board(1, false);
    group.run(SECOND);
    for (client, topic) in
        [(10, "a.*"), (10, "a.>"), (10, "a.b"), (11, "*.b"), (12, ">"), (13, "a.b"), (14, "b.*")]
    {
        subscribe(&mut group, client, topic);
    }
    let say = |group: &mut Cluster, topic: &str| published(group, 1, &to_publish(topic, "text"));
    assert_eq!(say(&mut group, "a.b"), 4);
    assert_eq!(say(&mut group, "a.b.c"), 2);
    assert_eq!(say(&mut group, "c"), 1);
    let heard = |group: &Cluster, client| -> Vec<String> {
        parts(group, client).into_iter().map(|(topic, _)| topic).collect()
    };
    assert_eq!(heard(&group, 10), ["a.b", "a.b.c"]);
    assert_eq!(heard(&group, 11), ["a.b"]);
    assert_eq!(heard(&group, 12), ["a.b", "a.b.c", "c"]);
    assert_eq!(heard(&group, 13), ["a.b"]);
    assert_eq!(heard(&group, 14), [""; 0]);
    // One that does not read misses it once, too.
    group.backpressure::<Board>(PROXY, 10, true);
    say(&mut group, "a.b");
    group.backpressure::<Board>(PROXY, 10, false);
    assert_eq!(missed(&group, 10), 1);
    // What a server publishes reaches them like all else.
    send(&mut group, 2, "ana", "hola");
    group.run(100 * MS);
    assert_eq!(heard(&group, 12).last().map(String::as_str), Some("general"));
    // Each subscription ends by itself.
    let end = |topic: &'static str| {
        let (topic, member, after) = (topic.into(), None, None);
        Request::Unsubscribe { topic, member, after }
    };
    group.request::<Board>(PROXY, 10, &end("a.*"));
    assert_eq!(say(&mut group, "a.x"), 2);
    group.request::<Board>(PROXY, 10, &end("a.>"));
    group.disconnect::<Board>(PROXY, 12);
    assert_eq!(say(&mut group, "a.x"), 0);
    assert_eq!(say(&mut group, "a.b"), 3);
}

#[test]
fn of_a_group_one_gets_each_message_and_one_that_reads() {
    let mut group = board(1, false);
    group.run(SECOND);
    let member = |name: &'static str| Some(Member { group: "g".into(), name: name.into() });
    let join = |group: &mut Cluster, client, topic: &'static str, name| {
        let request = Request::Subscribe { topic: topic.into(), member: member(name) };
        let asked = group.request::<Board>(PROXY, client, &request);
        assert!(matches!(group.reply::<Board>(asked), Some(Reply::Subscribed { .. })));
    };
    // A group goes over all topics, and one client may be in it twice.
    join(&mut group, 10, "jobs.*", "1");
    join(&mut group, 10, "jobs.*", "2");
    join(&mut group, 11, "jobs.a", "1");
    subscribe(&mut group, 12, "jobs.a");
    let say = |group: &mut Cluster| published(group, 1, &to_publish("jobs.a", "text"));
    for _ in 0..60 {
        assert_eq!(say(&mut group), 2);
    }
    let count = |group: &Cluster, client, name: &str| {
        let own = Some((String::from("g"), String::from(name)));
        parts(group, client).into_iter().filter(|(_, member)| *member == own).count()
    };
    let counts = [count(&group, 10, "1"), count(&group, 10, "2"), count(&group, 11, "1")];
    assert_eq!(counts.iter().sum::<usize>(), 60);
    assert!(counts.iter().all(|count| *count > 5), "drawn evenly: {counts:?}");
    assert_eq!(texts(&group, 12).len(), 60);
    // While one does not read, the others do its work; while nobody does, it is missed, and told.
    group.backpressure::<Board>(PROXY, 10, true);
    (0..10).for_each(|_| assert_eq!(say(&mut group), 2));
    assert_eq!(count(&group, 11, "1"), counts[2] + 10);
    group.backpressure::<Board>(PROXY, 11, true);
    (0..10).for_each(|_| assert_eq!(say(&mut group), 2));
    group.backpressure::<Board>(PROXY, 10, false);
    group.backpressure::<Board>(PROXY, 11, false);
    assert_eq!(missed(&group, 10) + missed(&group, 11), 10);
    // Who wants no more than it has had, and who wants two more.
    let leave = |group: &mut Cluster, client, topic: &'static str, name, after| {
        let request = Request::Unsubscribe { topic: topic.into(), member: member(name), after };
        group.request::<Board>(PROXY, client, &request);
    };
    leave(&mut group, 10, "jobs.*", "1", Some(1));
    leave(&mut group, 10, "jobs.*", "2", None);
    let had = count(&group, 11, "1");
    leave(&mut group, 11, "jobs.a", "1", Some(had as u64 + 2));
    assert_eq!([say(&mut group), say(&mut group), say(&mut group)], [2, 2, 1]);
    assert_eq!(count(&group, 11, "1"), had + 2);
    let status = group.ask::<Board>(PROXY, &Request::Status {});
    assert!(matches!(status, Reply::Status { subscribers: 1, .. }), "{status:?}");
    // Those that are in it go with their connection.
    join(&mut group, 10, "jobs.*", "1");
    group.disconnect::<Board>(PROXY, 10);
    assert_eq!(say(&mut group), 1);
}

#[test]
fn what_a_publication_asks_for_it_gets() {
    let mut group = board(1, false);
    group.run(SECOND);
    subscribe(&mut group, 10, "a");
    subscribe(&mut group, 11, "*");
    let header: &[u8] = b"NATS/1.0\r\nA: b\r\n\r\n";
    let full = |topic: &'static str, headers: &'static [u8]| Request::Publish {
        topic: topic.into(),
        text: "text".into(),
        quiet: false,
        reply: Some("in.1".into()),
        headers: Some(Bytes::new(headers)),
        no_echo: true,
        no_responders: true,
    };
    // Its own publisher does not hear it, and what it says beside the text passes.
    assert_eq!(published(&mut group, 10, &full("a", header)), 1);
    assert_eq!(texts(&group, 10).len(), 0);
    let pushed = group.pushed::<Board>(11);
    let [Reply::Message { reply, headers, .. }] = &pushed[..] else { panic!("{pushed:?}") };
    assert_eq!(reply.as_deref(), Some("in.1"));
    assert_eq!(headers.as_deref(), Some(header));
    // Where nobody is, it is told so.
    assert_eq!(published(&mut group, 10, &full("nobody.here", header)), 0);
    let pushed = group.pushed::<Board>(10);
    let [Reply::Message { topic, headers, text, .. }] = &pushed[..] else { panic!("{pushed:?}") };
    assert_eq!((&**topic, text.len()), ("in.1", 0));
    assert_eq!(headers.as_deref(), Some(&b"NATS/1.0 503\r\n\r\n"[..]));
    // What is no header, too much, or no topic is refused, with the length where that is it.
    let large: &'static [u8] = vec![b'x'; 1 << 20].leak();
    let large: &'static [u8] = [b"NATS/1.0\r\n", large, b"\r\n\r\n"].concat().leak();
    let long: &'static str = "y".repeat(300).leak();
    for (request, why) in [
        (full("a", b"NATS/1.0\r\nA: b\r\n"), "headers begin with"),
        (full("a", large), "at most 1048576 bytes"),
        (full(long, header), "at most 256 bytes, and this one has 300"),
        (to_subscribe(long), "at most 256 bytes, and this one has 300"),
        (
            Request::Unsubscribe { topic: "a".into(), member: None, after: Some(1) },
            "for members of a group",
        ),
        (
            Request::Subscribe {
                topic: "a".into(),
                member: Some(Member { group: "two words".into(), name: "".into() }),
            },
            "a group is a word",
        ),
    ] {
        let asked = group.request::<Board>(PROXY, 10, &request);
        match group.reply::<Board>(asked) {
            Some(Reply::Error { reason, .. }) => assert!(reason.contains(why), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_configs_mistakes_are_named() {
    let refused = |id: u32, change: &dyn Fn(&mut Config)| {
        let mut config = config(id);
        change(&mut config);
        let peers = (1..=6).filter(|peer| *peer != id).map(NodeId).collect();
        let env =
            Env { id: NodeId(id), peers, incarnation: 1, identity: 1, seed: 1, durable: false };
        erase::<Board>(config, &env).err().map(|error| error.key)
    };
    assert_eq!(refused(BROKER, &|_| {}), None);
    assert_eq!(refused(BROKER, &|config| config.servers.clear()), Some("servers"));
    assert_eq!(refused(BROKER, &|config| config.servers.push(9)), Some("servers"));
    assert_eq!(refused(BROKER, &|config| config.timeout_ms = 0), Some("timeout_ms"));
    assert_eq!(refused(1, &|config| config.proxy = None), Some("proxy"));
    assert_eq!(refused(1, &|config| config.name = "a b".into()), Some("name"));
    assert_eq!(refused(BOT, &|config| config.broker = Some(77)), Some("broker"));
    assert_eq!(refused(BOT, &|config| config.topics.push(String::new())), Some("topics"));
    assert_eq!(refused(BOT, &|config| config.topics.push("a.*".into())), Some("topics"));
    assert_eq!(refused(BOT, &|config| config.interval_ms = 0), Some("interval_ms"));
    assert_eq!(refused(BOT, &|config| config.topic = "a b".into()), Some("topic"));
    assert_eq!(refused(BOT, &|config| config.topic = "servers".into()), Some("topic"));
    let twice = |config: &mut Config| config.topics = vec!["a".into(), "a".into()];
    assert_eq!(refused(BOT, &twice), Some("topics"));
}
