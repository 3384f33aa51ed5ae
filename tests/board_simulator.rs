//! The servers of the bulletin system in the simulator: that clocks come as close as they can, that
//! scenarios reach what they are there for, and the seeds of what the simulator has found. Their
//! verdicts are in `simulator.rs`, and the bugs that they find in `mutants.rs`.

use node_lab::check::timeline::What;
use node_lab::explain::{Source, merge};
use node_lab::registry::Registry;
use node_lab::sim::run::{Outcome, run};
use node_lab::sim::scenario::Scenario;
use node_lab::sim::tracer::Tracer;
use node_lab::study::{Run, Verdict};
use node_lab::trace::history;
use node_protocols::facts::Listed;
use node_studies::board::history::{Known, Posted};
use node_studies::bully::elections::count;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

struct Simulator {
    scenario: Arc<Scenario>,
    registry: Arc<Registry>,
}

impl Simulator {
    fn new(name: &str) -> Simulator {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/sim").join(name);
        let registry = Arc::new(node_studies::registry());
        let scenario = Arc::new(Scenario::load(&path, &registry).expect("it loads"));
        Simulator { scenario, registry }
    }

    /// A run in which everything holds.
    fn run(&self, seed: u64) -> Outcome {
        self.run_with(seed, Tracer::new())
    }

    fn run_with(&self, seed: u64, tracer: Tracer) -> Outcome {
        let plan = self.scenario.plan(seed);
        let outcome = run(&self.scenario, &self.registry, &plan, tracer);
        assert_eq!((&outcome.failure, &outcome.unknown[..]), (&None, &[][..]), "seed {seed}");
        outcome
    }
}

/// u(1 − 1/n) for n clocks and messages that take u more or less long is the least that any
/// algorithm can promise in the worst case (Lundelius and Lynch 1984). Berkeley's skew at a time,
/// with what slewing owes, is within one and a half times that, half of the time at least.
#[test]
fn the_median_skew_is_near_the_lower_bound() {
    let simulator = Simulator::new("berkeley.toml");
    let (u, n) = (9_900_u64, 5);
    let bound_us = u * (n - 1) / n;
    for seed in 1..=20 {
        let mut skews = Vec::new();
        let mut clocks = BTreeMap::new();
        for happening in &simulator.run(seed).run.timeline {
            if let What::Clock { node, ahead, own: false, .. } = happening.what {
                let (first, last) = clocks.entry(happening.at).or_insert((ahead, ahead));
                (*first, *last) = (ahead.min(*first), ahead.max(*last));
                assert!((1..=5).contains(&node));
            }
        }
        skews.extend(clocks.values().map(|(first, last)| last.abs_diff(*first) / 1_000));
        assert!(skews.len() > 300, "all clocks are read ten times a second");
        skews.sort_unstable();
        let median_us = skews[skews.len() / 2];
        println!("seed {seed}: median skew {median_us} µs, u(1 − 1/n) = {bound_us} µs");
        assert!(2 * median_us <= 3 * bound_us, "seed {seed}: {median_us} µs");
    }
}

/// The coordinator's wall clock stepped between its question and the answers, which were held
/// against the wall clock: servers whose answers came later were told to move as far.
#[test]
fn a_coordinator_whose_clock_steps_in_a_round_moves_nobody() {
    let simulator = Simulator::new("berkeley-step.toml");
    for seed in [1_635, 2_694] {
        simulator.run(seed);
    }
}

/// A list of members was lost on a link that stayed up, and was sent again only when it changed: a
/// server did not know another's rank, and took no notice of its announcements.
#[test]
fn servers_agree_though_a_list_of_them_was_lost() {
    let simulator = Simulator::new("board-election.toml");
    for seed in [8_894, 12_845, 13_365, 13_829, 13_999] {
        simulator.run(seed);
    }
}

/// A post that was doubled on its way had two answers, and the second said that it was not
/// published.
#[test]
fn what_was_published_is_not_denied() {
    let simulator = Simulator::new("board.toml");
    for seed in [71, 75, 84, 115, 131] {
        simulator.run(seed);
    }
}

/// A post that was doubled on its way to the server was refused there, as the proxy could not be
/// reached, and its copy was published.
#[test]
fn what_was_refused_is_not_published() {
    let simulator = Simulator::new("board.toml");
    for seed in [4_629, 8_492] {
        simulator.run(seed);
    }
}

/// A server took the answer to its announcement for the answer to a post with the same stamp, and
/// said that the post was published, which then was lost.
#[test]
fn an_answer_is_to_what_was_asked() {
    Simulator::new("board.toml").run(665);
}

/// Two servers were coordinators of the same epoch, the one of higher rank with the lower id: each
/// held its own reign to be the later, and told the other so for ever.
#[test]
fn two_coordinators_of_one_epoch_come_to_an_end() {
    let simulator = Simulator::new("board.toml");
    let outcome = simulator.run(281);
    assert!(outcome.deliveries < 100_000, "{} messages", outcome.deliveries);
}

#[test]
fn the_board_reaches_what_it_is_there_for() {
    let simulator = Simulator::new("board.toml");
    let (mut published, mut not, mut unknown, mut silent) = (0, 0, 0, 0);
    let (mut ended, mut gaps, mut heard, mut told) = (0, 0, 0, 0);
    for seed in 1..=60 {
        let known = Known::of(&simulator.run(seed).run);
        let board = known.board.as_ref().expect("a board");
        for post in &board.posts {
            match post.answer {
                Some(Posted::Published) => published += 1,
                Some(Posted::Not) => not += 1,
                Some(Posted::Unknown) => unknown += 1,
                None => silent += 1,
            }
        }
        ended += board.connections.iter().filter(|one| one.until_ns.is_some()).count();
        let mut texts = BTreeSet::new();
        for connection in &board.connections {
            heard += connection.heard.len();
            told += connection.missed.iter().map(|(_, messages)| messages).sum::<u64>();
            texts.extend(connection.heard.iter().map(|heard| &heard.text[..]));
        }
        let is_lost = |text: &str| !texts.contains(text);
        gaps += board.posts.iter().filter(|post| is_lost(&post.text)).count();
    }
    println!(
        "{published} published, {not} not, {unknown} unknown, {silent} without answer; \
         {heard} heard, {gaps} by nobody; {ended} connections ended, {told} told to be missed"
    );
    assert!(published > 3_000 && not > 50 && unknown > 50 && silent > 100);
    assert!(heard > 10_000 && gaps > 100 && ended > 20 && told > 500);
}

/// Who speaks in bytes posts, hears, and does not read, as others do. Over NATS nobody is told what
/// it missed: connections end instead.
#[test]
fn the_boards_foreign_clients_reach_what_they_are_there_for() {
    for (name, is_told) in [("board-json.toml", true), ("board-nats.toml", false)] {
        let simulator = Simulator::new(name);
        let (mut published, mut not, mut heard, mut ended, mut told) = (0, 0, 0, 0, 0);
        for seed in 1..=60 {
            let known = Known::of(&simulator.run(seed).run);
            let board = known.board.as_ref().expect("a board");
            let of = |answer| board.posts.iter().filter(|post| post.answer == Some(answer)).count();
            published += of(Posted::Published);
            not += of(Posted::Not) + of(Posted::Unknown);
            for connection in &board.connections {
                ended += usize::from(connection.until_ns.is_some());
                heard += connection.heard.len();
                told += connection.missed.len();
            }
        }
        println!(
            "{name}: {published} published, {not} not or unknown, {heard} heard, \
             {ended} connections ended, {told} told what they missed"
        );
        assert!(published > 3_000 && not > 30 && heard > 10_000 && ended > 20, "{name}");
        assert_eq!(told > 50, is_told, "{name}");
        assert!(is_told || told == 0, "{name}");
    }
}

/// What a run's own timeline shows and what its trace shows get the same verdicts; and a trace in
/// which other nodes elected, or by other rules, does not hold.
#[test]
fn elections_by_rank_are_judged_from_traces_as_in_runs() {
    let simulator = Simulator::new("board-election.toml");
    let calm = ["election_terminates", "one_coordinator_per_component", "highest_live_id_wins"];
    let registry = node_studies::registry();
    let calm = calm.map(|name| registry.property(name).expect("a property of this tree"));
    let (mut elections, mut not_the_highest_id) = (0, 0);
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("trace.jsonl");
    for seed in 1..=40 {
        let tracer = Tracer::to(Box::new(File::create(&path).expect("a file")));
        let outcome = simulator.run_with(seed, tracer);
        let trace = fs::read_to_string(&path).expect("a trace");
        let verdicts = |trace: &str| {
            let history = history::read(trace.as_bytes()).expect("it reads");
            let history = Run { bounds: outcome.run.bounds.clone(), ..history };
            calm.map(|property| (property.judge)(&history))
        };
        assert_eq!(verdicts(&trace), [Verdict::Held, Verdict::Held, Verdict::Held], "seed {seed}");
        let all =
            trace.replace(r#""runs":["#, r#""runs":[{"protocol":"","publishes":["Coordinator"]},"#);
        let [terminates, ..] = verdicts(&all);
        assert!(matches!(terminates, Verdict::Violated(_)), "seed {seed}: {terminates:?}");

        let source = Source { name: String::new(), text: trace.clone() };
        let found = count(&merge(&[source]).expect("it merges"));
        elections += found.len();
        let last = found.last().expect("an election");
        assert!(last.agreed.is_some(), "seed {seed}: {last:?}");
        if last.winner != Some(3) {
            not_the_highest_id += 1;
            let by_id = trace.replace(r#""needs":["Rank"]"#, r#""needs":[]"#);
            let [.., wins] = verdicts(&by_id);
            assert!(matches!(wins, Verdict::Violated(_)), "seed {seed}: {wins:?}");
        }
    }
    println!(
        "{elections} elections; in {not_the_highest_id} runs the last winner has not the highest id"
    );
    assert!(elections > 60 && not_the_highest_id > 20);
}

/// Who is on the list, who leaves it, and who comes back.
#[test]
fn membership_reaches_what_it_is_there_for() {
    let simulator = Simulator::new("membership.toml");
    let (mut on, mut off, mut starts) = (0, 0, 0);
    for seed in 1..=60 {
        for happening in &simulator.run(seed).run.timeline {
            match happening.what.read() {
                Some((_, Listed { on: true, .. })) => on += 1,
                Some((_, Listed { on: false, .. })) => off += 1,
                None => starts += u32::from(matches!(happening.what, What::Start { node: 9, .. })),
            }
        }
    }
    println!(
        "{on} times on the list, {off} times off it, the reference server started {starts} times"
    );
    assert!(on > 300 && off > 50 && starts > 70);
}
