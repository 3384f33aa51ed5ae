//! Clocks that are off come together and stay so, as far as the papers allow; nobody's clock runs
//! backwards, and one that is wrong moves nobody.

use node_lab::sim::cluster::{Cluster, MS, SECOND};
use node_protocols::berkeley::{Berkeley, Config, Message, Reply, Request};
use node_protocols::bully::{self, Bully};
use node_protocols::core::{
    ClockOffset, Correction, DynProtocol, Env, Epoch, NodeId, WallTime, erase,
};
use std::collections::BTreeMap;

const SLEW_PPM: i64 = 100_000;

fn config() -> Config {
    Config { slew_ppm: SLEW_PPM as u32, ..Config::default() }
}

/// So many servers with coordinators by Bully, down.
fn servers(seed: u64, n: u32, config: Config) -> Cluster {
    let ids: Vec<u32> = (1..=n).collect();
    let build = move |env: &Env| -> Vec<Box<dyn DynProtocol>> {
        vec![
            erase::<Bully>(bully::Config::default(), env).expect("the config is right"),
            erase::<Berkeley>(config.clone(), env).expect("the config is right"),
        ]
    };
    Cluster::new(seed, &ids, build)
}

/// What a node's corrected clock shows.
fn clock(group: &Cluster, id: u32) -> WallTime {
    correction(group, id).read(group.wall(id))
}

fn correction(group: &Cluster, id: u32) -> Correction {
    let last = group.facts(id).rev().find_map(|fact| fact.read());
    last.map_or_else(Correction::default, |ClockOffset { correction }| correction)
}

/// The largest difference between two of these clocks.
fn skew(group: &Cluster, ids: impl IntoIterator<Item = u32>) -> i64 {
    let clocks: Vec<WallTime> = ids.into_iter().map(|id| clock(group, id)).collect();
    let (least, most) = (clocks.iter().min(), clocks.iter().max());
    most.expect("a clock").since(*least.expect("a clock"))
}

/// Runs to `until`, and looks at every millisecond that no clock goes back.
fn run_watched(group: &mut Cluster, ids: &[u32], until: u64) {
    let mut last: BTreeMap<u32, WallTime> = BTreeMap::new();
    while group.now() < until {
        group.run(MS);
        for id in ids {
            let now = clock(group, *id);
            let before = last.insert(*id, now);
            assert!(
                before.is_none_or(|before| before <= now),
                "node {id} went back at {}",
                group.now()
            );
        }
    }
}

#[test]
fn clocks_that_are_off_come_together() {
    let mut group = servers(1, 3, config());
    group.set_clock(1, -2_000, 200);
    group.set_clock(3, 2_000, -200);
    group.start_all();
    assert_eq!(skew(&group, 1..=3), 4_000 * MS as i64);
    // None agrees with another: all go to the coordinator's, the farthest by 4 s, at a tenth of a
    // second a second.
    run_watched(&mut group, &[1, 2, 3], 50 * SECOND);
    // The way takes 1 ms each time, so half the round trip is right; 2 x 200 ppm for a second is
    // left.
    assert!(skew(&group, 1..=3) < MS as i64, "{} ns", skew(&group, 1..=3));
    let rounds = |line: &(u32, &str)| line.1.contains("] round ");
    assert!(group.printed().filter(rounds).count() >= 45);
}

#[test]
fn skew_stays_within_the_bound_and_its_median_near_the_best_that_is_possible() {
    const SERVERS: u32 = 5;
    let (low, high) = (MS / 10, 10 * MS);
    let mut medians = Vec::new();
    for seed in 0..200 {
        let mut group = servers(seed, SERVERS, config());
        group.network().delay = low..=high;
        for id in 1..=SERVERS {
            let off = (seed * 31 + u64::from(id) * 17) % 50;
            let drift = (seed * 7 + u64::from(id) * 311) % 1_001;
            group.set_clock(id, off as i64 - 25, drift as i64 - 500);
        }
        group.start_all();
        // At a tenth of a second a second, 50 ms are gone after half of one; the second round
        // follows.
        run_watched(&mut group, &[1, 2, 3, 4, 5], 4 * SECOND);
        let mut skews = Vec::new();
        for _ in 0..200 {
            group.run(10 * MS);
            let owed: i64 = (1..=SERVERS)
                .map(|id| correction(&group, id).owed(group.wall(id)).abs())
                .max()
                .unwrap();
            // The largest round trip, what drifts apart in an interval, and what slewing still
            // owes.
            let interval = SECOND + 2 * high;
            let bound = 2 * high as i64 + 2 * interval as i64 / 2_000 + 2 * owed;
            let skew = skew(&group, 1..=SERVERS);
            assert!(skew <= bound, "seed {seed}: {skew} ns, above {bound}");
            skews.push(skew);
        }
        skews.sort_unstable();
        medians.push(skews[skews.len() / 2]);
    }
    medians.sort_unstable();
    let (median, u) = (medians[medians.len() / 2], (high - low) as i64);
    let best = u - u / i64::from(SERVERS);
    assert!(median <= best * 3 / 2, "median {median} ns; Lundelius and Lynch: {best} ns");
}

#[test]
fn one_clock_that_is_an_hour_off_is_corrected_and_moves_nobody() {
    let hour = 3_600 * SECOND as i64;
    for (seed, off) in [(1, hour), (2, -hour)] {
        let mut group = servers(seed, 5, config());
        group.set_clock(2, off / MS as i64, 0);
        group.start_all();
        group.run_until(10 * SECOND);
        for id in [1, 3, 4, 5] {
            let moved = clock(&group, id).since(group.wall(id));
            assert!(moved.abs() < MS as i64, "node {id} moved by {moved} ns");
        }
        let target =
            correction(&group, 2).nanos(group.wall(2)) + correction(&group, 2).owed(group.wall(2));
        assert!((target + off).abs() < MS as i64, "node 2 is on its way to {target} ns");
        // At its rate, and not faster.
        let gone = correction(&group, 2).nanos(group.wall(2));
        assert!(gone.abs() <= 10 * SECOND as i64 / 10 && gone.abs() > 5 * SECOND as i64 / 10);
    }
}

#[test]
fn a_clock_that_steps_is_slewed_back() {
    let mut group = servers(1, 4, config());
    group.start_all();
    group.run_until(5 * SECOND);
    let before = clock(&group, 2);
    group.set_clock(2, 1_000, 0);
    run_watched(&mut group, &[1, 3, 4], 30 * SECOND);
    assert!(skew(&group, 1..=4) < MS as i64);
    assert!(clock(&group, 2) > before);
    for id in [1, 3, 4] {
        assert!(clock(&group, id).since(group.wall(id)).abs() < MS as i64);
    }
    // A step back is not followed: the clock goes on at its own pace.
    let shown = |group: &mut Cluster| {
        let Reply::Status { clock, .. } = group.ask::<Berkeley>(2, &Request::Status {});
        clock
    };
    let before = shown(&mut group);
    group.set_clock(2, -5_000, 0);
    group.run(SECOND);
    let passed = shown(&mut group).since(before);
    assert!((passed - SECOND as i64).abs() < 200 * MS as i64, "{passed}");
}

#[test]
fn late_lost_and_doubled_messages_are_borne_and_a_new_coordinator_goes_on() {
    for seed in 0..20 {
        let mut group = servers(seed, 4, config());
        group.network().delay = MS / 10..=10 * MS;
        group.set_weather(20, 20);
        for id in 1..=4 {
            group.set_clock(id, i64::from(id) * 20, i64::from(id) * 50);
        }
        group.start_all();
        run_watched(&mut group, &[1, 2, 3, 4], 15 * SECOND);
        assert!(skew(&group, 1..=4) <= 25 * MS as i64, "seed {seed}: {}", skew(&group, 1..=4));
        // In the middle of a round, as a round begins every second.
        group.crash(4);
        group.set_weather(0, 20);
        run_watched(&mut group, &[1, 2, 3], 35 * SECOND);
        assert!(skew(&group, 1..=3) <= 22 * MS as i64, "seed {seed}: {}", skew(&group, 1..=3));
        let last = group.printed().rfind(|(_, line)| line.contains("] round "));
        assert_eq!(last.map(|(id, _)| id), Some(3), "the next highest holds the rounds");
    }
}

#[test]
fn what_a_coordinator_of_before_says_is_ignored() {
    let mut group = servers(1, 3, config());
    group.start_all();
    group.run_until(5 * SECOND);
    let was = correction(&group, 1);
    let old = Epoch(0);
    // Of a reign that is over, for a round that nobody asked, and twice.
    group.forge::<Berkeley>(2, 1, &Message::Ask { epoch: old, round: 9 });
    group.forge::<Berkeley>(2, 1, &Message::Adjust { epoch: old, round: 9, nanos: 1 << 40 });
    group.forge::<Berkeley>(3, 1, &Message::Adjust { epoch: old, round: 0, nanos: 1 << 40 });
    group.forge::<Berkeley>(3, 1, &Message::Time { epoch: old, round: 1, clock: WallTime(0) });
    group.forge::<Berkeley>(2, 3, &Message::Time { epoch: old, round: 1, clock: WallTime(0) });
    assert_eq!(correction(&group, 1), was);
    let Reply::Status { coordinator, .. } = group.ask::<Berkeley>(1, &Request::Status {});
    assert_eq!(coordinator, Some(NodeId(3)));
    // Numbers at the ends of their types overflow nothing.
    let bully::Reply::Status { epoch, .. } = group.ask::<Bully>(3, &bully::Request::Status {});
    group.forge::<Berkeley>(3, 1, &Message::Ask { epoch, round: u64::MAX });
    group.forge::<Berkeley>(3, 1, &Message::Adjust { epoch, round: u64::MAX, nanos: i64::MIN });
    group.run(SECOND);
    let Reply::Status { owed, .. } = group.ask::<Berkeley>(1, &Request::Status {});
    assert!(owed < 0, "{owed}");
}

#[test]
fn a_reign_to_come_shuts_no_coordinator_out_and_moves_no_clock() {
    let mut group = servers(1, 3, config());
    group.start_all();
    group.run(10 * SECOND);
    // Node 1 never coordinates here, and speaks of an epoch that no clock has reached.
    let epoch = Epoch(u64::MAX);
    group.forge::<Berkeley>(1, 2, &Message::Ask { epoch, round: 1 });
    group.forge::<Berkeley>(
        1,
        2,
        &Message::Adjust { epoch, round: 1, nanos: 3_600 * SECOND as i64 },
    );
    let Reply::Status { adjustments, .. } = group.ask::<Berkeley>(2, &Request::Status {});
    group.run(60 * SECOND);
    let Reply::Status { adjustments: now, correction, .. } =
        group.ask::<Berkeley>(2, &Request::Status {});
    assert!(
        correction.abs() < SECOND as i64 && now > adjustments + 50,
        "moved by {correction} ns, {} adjustments since",
        now - adjustments
    );
}

#[test]
fn a_server_that_names_itself_coordinator_moves_no_clock() {
    let mut group = servers(1, 3, config());
    group.start_all();
    group.run(10 * SECOND);
    let bully::Reply::Status { epoch, clock, .. } =
        group.ask::<Bully>(2, &bully::Request::Status {});
    // As late as a reign can be, and of the coordinator's own epoch.
    for epoch in [Epoch(clock.0 - 1), epoch] {
        group.forge::<Berkeley>(1, 2, &Message::Ask { epoch, round: u64::MAX });
        let nanos = 3_600 * SECOND as i64;
        group.forge::<Berkeley>(1, 2, &Message::Adjust { epoch, round: u64::MAX, nanos });
        let Reply::Status { adjustments, owed, .. } = group.ask::<Berkeley>(2, &Request::Status {});
        assert!(owed.abs() < SECOND as i64, "it owes {owed} ns");
        group.run(10 * SECOND);
        let Reply::Status { adjustments: now, .. } = group.ask::<Berkeley>(2, &Request::Status {});
        assert!(now >= adjustments + 9, "{} adjustments since", now - adjustments);
    }
}

/// A coordinator that waits longer for an answer than until the next round went without rounds from
/// then on.
#[test]
fn rounds_go_on_when_one_takes_longer_than_until_the_next() {
    let mut group = servers(1, 3, Config { interval_ms: 200, timeout_ms: 500, ..config() });
    group.start_all();
    group.run(5 * SECOND);
    // One answer does not come.
    group.set_weather(100, 0);
    group.run(250 * MS);
    group.set_weather(0, 0);
    group.run(2 * SECOND);
    let rounds = |group: &mut Cluster| match group.ask::<Berkeley>(3, &Request::Status {}) {
        Reply::Status { rounds, .. } => rounds,
    };
    let before = rounds(&mut group);
    group.run(10 * SECOND);
    assert!(rounds(&mut group) >= before + 49, "{} rounds", rounds(&mut group) - before);
}

#[test]
fn a_difference_counts_from_where_the_clock_was_when_it_was_asked_for() {
    let mut group = servers(1, 2, Config { interval_ms: 0, ..config() });
    group.start_all();
    group.run_until(5 * SECOND);
    let bully::Reply::Status { epoch, .. } = group.ask::<Bully>(2, &bully::Request::Status {});
    let ask = |round| Message::Ask { epoch, round };
    let adjust = |round| Message::Adjust { epoch, round, nanos: SECOND as i64 };
    group.forge::<Berkeley>(2, 1, &ask(100));
    group.forge::<Berkeley>(2, 1, &adjust(100));
    group.run(SECOND);
    let was = correction(&group, 1).nanos(group.wall(1));
    assert_eq!(was, SECOND as i64 / 10, "it is on its way");
    // Meanwhile it goes on, and the question comes twice.
    group.forge::<Berkeley>(2, 1, &ask(101));
    group.run(SECOND);
    group.forge::<Berkeley>(2, 1, &ask(101));
    for _ in 0..2 {
        group.forge::<Berkeley>(2, 1, &adjust(101));
        let now = correction(&group, 1);
        let target = now.nanos(group.wall(1)) + now.owed(group.wall(1));
        assert_eq!(target, was + SECOND as i64);
    }
}

#[test]
fn a_round_is_due_after_enough_messages() {
    let config = Config { interval_ms: 0, every_messages: 10, ..config() };
    let ids = [1, 2];
    let build = move |env: &Env| -> Vec<Box<dyn DynProtocol>> {
        vec![
            erase::<Bully>(bully::Config::default(), env).expect("the config is right"),
            erase::<Berkeley>(config.clone(), env).expect("the config is right"),
            erase::<board::Board>((), env).expect("it has none"),
        ]
    };
    let mut group = Cluster::new(1, &ids, build);
    group.start_all();
    group.run_until(5 * SECOND);
    let rounds = |group: &mut Cluster| match group.ask::<Berkeley>(2, &Request::Status {}) {
        Reply::Status { rounds, .. } => rounds,
    };
    let before = rounds(&mut group);
    for (node, expected) in [(1, 1), (2, 2), (1, 3)] {
        for message in 0..10 {
            group.run(SECOND);
            assert_eq!(rounds(&mut group), before + expected - 1, "after {message} at {node}");
            group.ask::<board::Board>(node, &());
        }
        group.run(SECOND);
        assert_eq!(rounds(&mut group), before + expected);
    }
}

/// Processes a message for each request.
mod board {
    use node_protocols::core::{
        Caller, ConfigError, Context, Env, FactKind, Never, NodeId, Protocol,
    };
    use node_protocols::facts::Processed;

    pub struct Board;

    impl Protocol for Board {
        const NAME: &'static str = "test-board";
        const PUBLISHES: &'static [FactKind] = &[FactKind::of::<Processed>()];
        type Config = ();
        type Message<'a> = Never;
        type Record<'a> = Never;
        type Timer = Never;
        type Request<'a> = ();
        type Reply<'a> = ();

        fn new((): (), _: &Env) -> Result<Board, ConfigError> {
            Ok(Board)
        }
        fn on_message(&mut self, _: NodeId, message: Never, _: &mut Context<'_, Self>) {
            match message {}
        }
        fn on_timer(&mut self, timer: Never, _: &mut Context<'_, Self>) {
            match timer {}
        }
        fn on_request(&mut self, caller: Caller, (): (), cx: &mut Context<'_, Self>) {
            cx.publish(Processed);
            cx.reply(caller.request, &());
        }
    }
}
