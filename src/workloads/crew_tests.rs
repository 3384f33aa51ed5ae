//! Tests of the clients: their pace, their patience, and how a run begins and ends.

use super::*;
use crate::testing::{MS, Nodes};
use node_lab::study::Operation;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default)]
struct Sums {
    has_setup: bool,
    told: Vec<(u32, bool)>,
}

impl Asks for Sums {
    fn setup(&self, node: usize, nodes: usize) -> Option<Body<'static>> {
        self.has_setup.then(|| Body::of(&json!({"type": "topology", "me": node, "of": nodes})))
    }
    fn next(&mut self, client: u32, rng: &mut Rng) -> Option<Body<'static>> {
        Some(Body::of(&json!({"type": "add", "client": client, "n": rng.below(1_000_000)})))
    }
    fn told(&mut self, client: u32, _: &Body<'_>, told: &Told) {
        self.told.push((client, told.is_done()));
    }
}

fn crew(asks: Sums, pace: Pace, clients: u32, nodes: usize) -> Crew<Sums> {
    let (nodes, millis) = ((0..nodes).collect(), OnceLock::new());
    Crew { name: "sums", asks, pace, clients, nodes, millis }
}

fn load(crew: &Crew<Sums>) -> Load {
    let (clients, operations) = crew.counts();
    Load { seed: 1, clients, operations }
}

fn done(body: &Body<'_>) -> Option<(Nanos, Value)> {
    Some((MS, json!({"type": format!("{}_ok", body.kind())})))
}

fn of_workers(nodes: &Nodes<'_>) -> Vec<Operation> {
    let works = |one: &&Operation| !is_final(one.client) && !is_setup(one.client);
    nodes.run.operations.iter().filter(works).cloned().collect()
}

#[test]
fn together_they_make_the_rate_each_at_its_node() {
    let crew = crew(Sums::default(), Pace { rate: 100, ..Pace::default() }, 5, 3);
    crew.check(21_000, 20_000).unwrap();
    assert_eq!(crew.counts(), (5, 400));
    let mut nodes = Nodes::new(3, |_, body, _| done(body));
    nodes.go(&crew, &load(&crew), 21_000, 20_000).unwrap();
    let operations = of_workers(&nodes);
    assert_eq!(operations.len(), 2_000);
    assert!(operations.iter().all(|one| one.node == Some(one.client as u32 % 3 + 1)));
    for second in 1..21 {
        let within = operations.iter().filter(|one| one.invoke_ns / BEGIN == second).count();
        assert!((80..120).contains(&within), "{within} in second {second}");
    }
    let finals: Vec<_> = nodes.run.operations.iter().filter(|one| is_final(one.client)).collect();
    assert_eq!(finals.iter().filter_map(|one| one.node).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(finals.iter().all(|one| one.invoke_ns >= 31_000 * MS));
}

#[test]
fn leaving_one_out_shifts_no_other() {
    let crew = crew(Sums::default(), Pace::default(), 5, 5);
    crew.check(11_000, 20_000).unwrap();
    let asked = |clients, operations| {
        let mut nodes = Nodes::new(5, |_, body, _| done(body));
        nodes.go(&crew, &Load { seed: 7, clients, operations }, 11_000, 20_000).unwrap();
        let mut asked: BTreeMap<u64, Vec<(Nanos, String)>> = BTreeMap::new();
        for one in of_workers(&nodes) {
            let text = nodes.run.request::<Body<'_>>(&one).unwrap().text().to_string();
            asked.entry(one.client).or_default().push((one.invoke_ns, text));
        }
        asked
    };
    let (all, fewer) = (asked(5, 10), asked(2, 4));
    assert_eq!((all.len(), fewer.len()), (5, 2));
    for (client, told) in fewer {
        assert_eq!(told, all[&client][..4]);
    }
}

#[test]
fn nodes_are_set_up_first_until_all_have_acknowledged_it() {
    let crew = crew(Sums { has_setup: true, ..Sums::default() }, Pace::default(), 2, 2);
    crew.check(11_000, 20_000).unwrap();
    let mut nodes = Nodes::new(2, |node, body, at| match (node, &*body.kind()) {
        (1, "topology") if at < 1_200 * MS => Some((0, json!({"type": "error", "code": 11}))),
        (1, "topology") if at < 1_700 * MS => None,
        _ => done(body),
    });
    nodes.go(&crew, &load(&crew), 20_000, 20_000).unwrap();
    let setups: Vec<_> = nodes.run.operations.iter().filter(|one| is_setup(one.client)).collect();
    // Refused, silent, and half a second after its time was over, done.
    let times = [1_000, 1_000, 1_500, 7_000].map(|at| at * MS);
    assert_eq!(setups.iter().map(|one| one.invoke_ns).collect::<Vec<_>>(), times);
    assert!(of_workers(&nodes).iter().all(|one| one.invoke_ns >= 7_001 * MS));
    assert!(!of_workers(&nodes).is_empty());

    let mut deaf = Nodes::new(2, |node, body, _| (node == 0).then(|| done(body))?);
    let why = deaf.go(&crew, &load(&crew), 11_000, 20_000).unwrap_err();
    assert_eq!(why, "n1 has not answered topology with topology_ok");
}

#[test]
fn who_does_not_know_what_became_of_a_write_goes_on_as_another() {
    let pace = Pace { rate: 1, timeout_ms: 500, ..Pace::default() };
    let crew = crew(Sums::default(), pace, 1, 1);
    crew.check(6_000, 20_000).unwrap();
    let mut count = 0;
    let mut nodes = Nodes::new(1, |_, body, _| {
        count += 1;
        match count {
            1 => Some((MS, json!({"type": "error", "code": 22}))),
            // A late answer reaches nobody.
            2 => Some((900 * MS, json!({"type": "add_ok"}))),
            3 => Some((MS, json!({"type": "error", "code": 13}))),
            _ => done(body),
        }
    });
    nodes.go(&crew, &load(&crew), 6_000, 20_000).unwrap();
    let clients: Vec<u64> = of_workers(&nodes).iter().map(|one| one.client).collect();
    assert_eq!(clients, [0, 0, 10_000, 20_000, 20_000]);
    assert_eq!(of_workers(&nodes)[1].return_ns, None);
}

#[test]
fn the_last_operation_is_asked_until_it_is_answered() {
    let crew = crew(Sums::default(), Pace::default(), 1, 2);
    crew.check(3_000, 20_000).unwrap();
    let mut tries = 0;
    let mut nodes = Nodes::new(2, |node, body, _| {
        tries += u32::from(node == 1);
        if node == 1 && tries < 3 { None } else { done(body) }
    });
    nodes.go(&crew, &load(&crew), 3_000, 60_000).unwrap();
    drop(nodes);
    assert_eq!(tries, 3);
    let mut silent = Nodes::new(2, |node, body, _| (node == 0).then(|| done(body))?);
    let why = silent.go(&crew, &load(&crew), 3_000, 20_000).unwrap_err();
    assert_eq!(why, "n1 has not answered read with read_ok");
}

#[test]
fn what_does_not_fit_is_refused() {
    let crew = crew(Sums::default(), Pace::default(), 1, 1);
    assert!(crew.check(1_000, 20_000).unwrap_err().contains("at least 2"));
    let why = crew.check(10_000, 15_000).unwrap_err();
    assert!(why.contains("need 15000 ms") && why.contains("settle_seconds"), "{why}");
}
