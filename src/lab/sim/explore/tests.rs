//! The search against small systems whose orders are counted by hand: by a closed formula, or by
//! going through all of them in the plainest way.

use super::search::{Left, Ran, Runs, Search};
use crate::sim::moves::{Move, Touched, Way};
use crate::sim::world::chooser::{End, Taken};
use node_core::Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Messages between nodes: what a node does when it gets one is in a table, and what it got in
/// which order is all that it becomes.
#[derive(Clone, Default, Debug)]
struct Toy {
    /// By node, the ways (from, to) of messages that it sends when it gets its first, second, ….
    sends: BTreeMap<u32, Vec<Vec<(u32, u32)>>>,
    /// What is under way at the beginning.
    first: Vec<(u32, u32)>,
    drops: u32,
}

/// The numbers of messages under way, and the step that each was sent in.
type Queue = VecDeque<(u32, Option<u32>)>;

#[derive(Clone, Default)]
struct State {
    under_way: BTreeMap<(u32, u32), Queue>,
    counts: BTreeMap<(u32, u32), u32>,
    logs: BTreeMap<u32, Vec<Way>>,
    drops: u32,
}

impl State {
    fn send(&mut self, way: (u32, u32), born: Option<u32>) {
        let nth = self.counts.entry(way).or_default();
        *nth += 1;
        self.under_way.entry(way).or_default().push_back((*nth, born));
    }

    fn ready(&self) -> Vec<(Way, Option<u32>)> {
        let heads = self.under_way.iter().filter_map(|((from, to), queue)| {
            let (nth, born) = queue.front()?;
            Some((Way { from: *from, to: *to, nth: *nth }, *born))
        });
        heads.collect()
    }

    fn pop(&mut self, way: Way) {
        let queue = self.under_way.get_mut(&(way.from, way.to)).expect("it is there");
        queue.pop_front().expect("it is there");
    }

    fn deliver(&mut self, toy: &Toy, way: Way, step: u32) {
        self.pop(way);
        let log = self.logs.entry(way.to).or_default();
        log.push(way);
        let sends = toy.sends.get(&way.to).and_then(|sends| sends.get(log.len() - 1));
        for way in sends.into_iter().flatten() {
            self.send(*way, Some(step));
        }
    }
}

impl Toy {
    fn begin(&self) -> State {
        let mut state = State { drops: self.drops, ..State::default() };
        self.first.iter().for_each(|way| state.send(*way, None));
        state
    }

    /// All orders in the plainest way: how many, and what nodes become in them.
    fn all(&self, state: &State, ends: &mut BTreeSet<Vec<Vec<Way>>>) -> u64 {
        let ready = state.ready();
        if ready.is_empty() {
            ends.insert(state.logs.values().cloned().collect());
            return 1;
        }
        let mut count = 0;
        for (way, _) in ready {
            let mut next = state.clone();
            next.deliver(self, way, 0);
            count += self.all(&next, ends);
            if state.drops > 0 {
                let mut next = state.clone();
                next.pop(way);
                next.drops -= 1;
                count += self.all(&next, ends);
            }
        }
        count
    }

    /// The orders that a search tries, and what nodes become in them.
    fn searched(&self, reduces: bool) -> (u64, BTreeSet<Vec<Vec<Way>>>) {
        let mut tries = Tries { toy: self, count: 0, ends: BTreeSet::new() };
        let mut search = Search::new(reduces);
        while search.step(&mut tries) == Left::More {}
        (tries.count, tries.ends)
    }
}

struct Tries<'a> {
    toy: &'a Toy,
    count: u64,
    ends: BTreeSet<Vec<Vec<Way>>>,
}

impl Runs for Tries<'_> {
    fn run(&mut self, first: &[Move], asleep: &[(Move, Touched)]) -> Ran {
        let mut state = self.toy.begin();
        let mut asleep = asleep.to_vec();
        let mut taken: Vec<Taken> = Vec::new();
        let about = |way: Way| Touched::way(way.from as usize, way.to as usize);
        for step in 0.. {
            let ready = state.ready();
            let sleeps =
                |does: Move| step >= first.len() && asleep.iter().any(|(one, _)| *one == does);
            let mut awake = ready.iter().map(|(way, _)| Move::Deliver(*way));
            let can_drop = state.drops > 0;
            let mut lost = ready.iter().filter(|_| can_drop).map(|(way, _)| Move::Drop(*way));
            let awake =
                || awake.find(|one| !sleeps(*one)).or_else(|| lost.find(|one| !sleeps(*one)));
            let does = first.get(step).copied().or_else(awake);
            let Some(does) = does else {
                let end = if ready.is_empty() { End::Whole } else { End::Asleep };
                if end == End::Whole {
                    self.count += 1;
                    self.ends.insert(state.logs.values().cloned().collect());
                }
                return Ran { taken, end };
            };
            let (touched, way) = match does {
                Move::Deliver(way) => {
                    state.deliver(self.toy, way, step as u32);
                    let mut touched = about(way);
                    touched.add(Touched::node(way.to as usize));
                    (touched, way)
                }
                Move::Drop(way) => {
                    state.pop(way);
                    state.drops -= 1;
                    (about(way), way)
                }
                other => panic!("{other} is not there"),
            };
            if step + 1 >= first.len() {
                let drops = ready.iter().map(|(way, _)| (Move::Drop(*way), about(*way)));
                taken.push(Taken {
                    does,
                    by_itself: does,
                    message: None,
                    touched,
                    born: ready.iter().find(|one| one.0 == way).and_then(|one| one.1),
                    ready: ready.iter().map(|one| Move::Deliver(one.0)).collect(),
                    faults: drops.filter(|_| can_drop).collect(),
                    asleep: asleep.clone(),
                });
                asleep.retain(|(_, one)| !one.meets(touched));
            }
        }
        unreachable!("every order ends")
    }
}

fn choose(n: u64, k: u64) -> u64 {
    (1..=k).fold(1, |product, i| product * (n - k + i) / i)
}

/// Two clients with k messages each to a node of their own have C(2k, k) orders, which differ in
/// nothing; to one node, all of them differ.
#[test]
fn orders_of_two_clients_are_as_many_as_the_formula_says() {
    for k in 1..6 {
        let messages = |to: [u32; 2]| Toy {
            first: (0..k).flat_map(|_| [(0, to[0]), (1, to[1])]).collect(),
            ..Toy::default()
        };
        let orders = choose(2 * k, k);
        assert_eq!(messages([2, 3]).searched(false).0, orders);
        assert_eq!(messages([2, 3]).searched(true).0, 1);
        assert_eq!(messages([2, 2]).searched(false).0, orders);
        let (count, ends) = messages([2, 2]).searched(true);
        assert_eq!((count, ends.len() as u64), (orders, orders));
    }
}

/// One of k messages lost on each of two ways to nodes of their own, or none: with reduction what
/// counts is which.
#[test]
fn what_is_lost_is_tried_once_for_each_message() {
    for k in 1..5_u64 {
        let first = (0..k).flat_map(|_| [(0, 2), (1, 3)]).collect();
        let toy = Toy { first, drops: 1, ..Toy::default() };
        let (count, ends) = toy.searched(true);
        assert_eq!((count, ends.len() as u64), (1 + 2 * k, 1 + 2 * k));
    }
}

/// Systems that are drawn: without reduction the search goes through every order once, and with it
/// nodes become in some tried order all that they become in any.
#[test]
fn no_order_that_differs_is_left_out() {
    let (mut orders, mut tried) = (0, 0);
    for seed in 0..300 {
        let mut rng = Rng::stream(seed, "toy");
        let nodes = 2 + rng.below(3) as u32;
        let draw = |rng: &mut Rng, from: Option<u32>| {
            let from = from.unwrap_or_else(|| rng.below(nodes.into()) as u32);
            (from, (from + 1 + rng.below(u64::from(nodes) - 1) as u32) % nodes)
        };
        let first: Vec<_> = (0..2 + rng.below(2)).map(|_| draw(&mut rng, None)).collect();
        let mut sends = BTreeMap::new();
        for node in 0..nodes {
            let of_one = |rng: &mut Rng| rng.below(2);
            let mut lists = Vec::new();
            for _ in 0..2 {
                let many = of_one(&mut rng);
                lists.push((0..many).map(|_| draw(&mut rng, Some(node))).collect());
            }
            sends.insert(node, lists);
        }
        let toy = Toy { sends, first, drops: (rng.below(3) == 0).into() };
        let mut ends = BTreeSet::new();
        let count = toy.all(&toy.begin(), &mut ends);
        if count > 3_000 {
            continue;
        }
        assert_eq!(toy.searched(false), (count, ends.clone()), "seed {seed}: {toy:?}");
        let (fewer, same) = toy.searched(true);
        assert_eq!(same, ends, "seed {seed}: {toy:?}");
        assert!(fewer <= count, "seed {seed}");
        (orders, tried) = (orders + count, tried + fewer);
    }
    assert!(orders > 10_000 && tried * 4 < orders, "{tried} of {orders}");
}
