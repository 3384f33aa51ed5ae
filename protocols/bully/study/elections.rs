//! The elections of a run as a table: when each began, who won it, how long it took and what it
//! cost in messages, beside the most that the textbook allows. Knows which nodes elect, and the
//! messages of the protocol `bully`, and nothing else of it.
//!
//! A node takes part from its start, or where elections go by rank, from when it has published its
//! own.
//!
//! Garcia-Molina: Elections in a Distributed Computing System, IEEE Transactions on Computers
//! C-31(1), 1982.

use super::Elects;
use node_lab::explain::{Merged, RunTable, title};
use node_lab::trace::{Event, Line};
use node_protocols::bully::{Bully, Message};
use node_protocols::core::{NodeId, Protocol};
use node_protocols::facts::{Coordinator, Rank};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

/// The table, for [`node_lab::registry::Registry::register_table`].
pub const TABLE: RunTable = RunTable {
    name: "elections",
    help: "when each election of bully began and by whom, who won, after how long all agreed, and \
           how many messages it took, beside n^2-n-1, the textbook's most",
    write,
};

/// One election: from its first message until all agreed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Election {
    /// When its first message was sent, in nanoseconds as in the lines.
    pub began: u64,
    /// Who sent it.
    pub by: u32,
    /// When all that took part and were up held one coordinator, which was one of them; none if
    /// that was never.
    pub agreed: Option<u64>,
    /// Whom they held.
    pub winner: Option<u32>,
    /// How many `Election` messages were sent, lost ones included; a multicast counts for each
    /// receiver.
    pub elections: u64,
    /// How many `Ok`.
    pub oks: u64,
    /// How many `Coordinator`.
    pub coordinators: u64,
}

impl Election {
    /// How many messages it took.
    pub fn messages(&self) -> u64 {
        self.elections + self.oks + self.coordinators
    }
}

/// The most messages that the bully election of `n` nodes takes when the highest has just died and
/// nothing else fails: the lowest notices, and everybody holds an election of its own.
pub fn textbook_most(n: usize) -> u64 {
    let n = n as u64;
    n.saturating_mul(n).saturating_sub(n).saturating_sub(1)
}

/// The elections in a trace, whose lines are in an order in which they can have happened.
///
/// One begins with an `Election` or `Coordinator` message while none is under way, unless it
/// repeats the announcement of the reign that all hold, and is over when all that take part and are
/// up hold the same coordinator in the same reign, it is one of them, and at least one node has
/// announced or published it. Then it is over at the end of that moment: what is sent at the same
/// time still belongs to it. An `Ok` while none is under way answers the last one.
pub fn count(run: &Merged) -> Vec<Election> {
    Tally::of(run).elections
}

/// Writes the table, with lines between for nodes that start and stop.
///
/// # Errors
/// Those of `out`.
pub fn write(run: &Merged, out: &mut dyn Write) -> io::Result<()> {
    let tally = Tally::of(run);
    writeln!(out, "# {}", title(run))?;
    writeln!(
        out,
        "#{:>11} {:>6} {:>6} {:>12} {:>9} {:>6} {:>12} {:>6} {:>8}",
        "began", "by", "winner", "agreed after", "Election", "Ok", "Coordinator", "sum", "n^2-n-1"
    )?;
    let most = textbook_most(tally.parties.len());
    let mut changes = tally.changes.iter().peekable();
    for election in &tally.elections {
        while let Some((t, change)) = changes.next_if(|(t, _)| *t <= election.began) {
            writeln!(out, "{:>12} {change}", seconds(*t))?;
        }
        let after = election.agreed.map(|agreed| agreed.saturating_sub(election.began));
        writeln!(
            out,
            "{:>12} {:>6} {:>6} {:>12} {:>9} {:>6} {:>12} {:>6} {most:>8}",
            seconds(election.began),
            election.by,
            election.winner.map_or("-".into(), |winner| winner.to_string()),
            after.map_or("never".into(), seconds),
            election.elections,
            election.oks,
            election.coordinators,
            election.messages(),
        )?;
    }
    for (t, change) in changes {
        writeln!(out, "{:>12} {change}", seconds(*t))?;
    }
    Ok(())
}

/// Nanoseconds as seconds with three decimals.
fn seconds(nanos: u64) -> String {
    format!("{}.{:03}", nanos / 1_000_000_000, nanos / 1_000_000 % 1_000)
}

/// What has been counted so far.
#[derive(Default)]
struct Tally {
    elections: Vec<Election>,
    /// When which node started or stopped, in words.
    changes: Vec<(u64, String)>,
    nodes: BTreeMap<u32, Node>,
    /// Who took part at any time.
    parties: BTreeSet<u32>,
    under_way: Option<UnderWay>,
    /// The reign that all last agreed on.
    agreed: Option<(u32, u64)>,
}

#[derive(Default)]
struct Node {
    up: bool,
    elects: Elects,
    /// Whether it has published its rank.
    has_rank: bool,
    /// The coordinator that it holds, and its reign.
    holds: Option<(u32, u64)>,
}

/// The last election, while it is.
#[derive(Default)]
struct UnderWay {
    /// Somebody announced or published a coordinator.
    announced: bool,
    /// When all came to hold `winner`, as long as they do.
    agreed: Option<u64>,
}

impl Node {
    fn takes_part(&self) -> bool {
        self.up
            && match self.elects {
                Elects::No => false,
                Elects::Id => true,
                Elects::Rank => self.has_rank,
            }
    }
}

impl Tally {
    fn of(run: &Merged) -> Tally {
        let lines = run.entries.iter().map(|entry| (entry.t, &entry.line));
        let mut tally = Tally::default();
        let mut now = 0;
        for (t, line) in lines {
            if t > now {
                tally.end_of_moment();
                now = t;
            }
            tally.line(now, line);
        }
        tally.end_of_moment();
        tally
    }

    fn line(&mut self, t: u64, line: &Line<'_>) {
        let Some(node) = line.node else {
            if let Event::Fault { label, .. } = &line.event {
                self.changes.push((t, label.to_string()));
            }
            return;
        };
        match &line.event {
            Event::Start { runs, .. } => {
                let again = if self.nodes.contains_key(&node) { " again" } else { "" };
                let fresh = Node { up: true, elects: Elects::of(runs), ..Node::default() };
                self.nodes.insert(node, fresh);
                self.changes.push((t, format!("node {node} starts{again}")));
            }
            Event::Crash => self.down(t, node, "is killed"),
            Event::Stop => self.down(t, node, "stops"),
            event @ Event::Fact { .. } => {
                let Some(fact) = event.to_fact() else { return };
                if let Some(Coordinator { id, epoch }) = fact.read() {
                    self.node(node).holds = Some((id.0, epoch.0));
                    if let Some(under_way) = &mut self.under_way {
                        under_way.announced = true;
                    }
                } else if fact.read().is_some_and(|Rank { id, .. }| id == NodeId(node)) {
                    self.node(node).has_rank = true;
                } else {
                    return;
                }
            }
            Event::Send { protocol, label, .. } if protocol == Bully::NAME => {
                self.sent(t, node, label);
            }
            _ => return,
        }
        self.compare(t);
    }

    /// A node that sends or publishes is up, though its start may be in no trace.
    fn node(&mut self, node: u32) -> &mut Node {
        self.nodes.entry(node).or_insert(Node { up: true, ..Node::default() })
    }

    fn down(&mut self, t: u64, node: u32, how: &str) {
        self.node(node).up = false;
        self.changes.push((t, format!("node {node} {how}")));
        self.compare(t);
    }

    fn sent(&mut self, t: u64, node: u32, label: &str) {
        self.node(node);
        let Ok(message) = serde_json::from_str::<Message>(label) else { return };
        if let Message::Coordinator { epoch } = message
            && self.under_way.is_none()
            && self.agreed == Some((node, epoch.0))
        {
            // A coordinator that meets a node anew says that it still is one.
            return;
        }
        let begins = matches!(message, Message::Election { .. } | Message::Coordinator { .. });
        if begins && self.under_way.is_none() {
            self.under_way = Some(UnderWay::default());
            self.elections.push(Election {
                began: t,
                by: node,
                agreed: None,
                winner: None,
                elections: 0,
                oks: 0,
                coordinators: 0,
            });
        }
        let Some(election) = self.elections.last_mut() else { return };
        match message {
            Message::Election { .. } => election.elections += 1,
            Message::Ok => election.oks += 1,
            Message::Coordinator { .. } => {
                election.coordinators += 1;
                if let Some(under_way) = &mut self.under_way {
                    under_way.announced = true;
                }
            }
            Message::Check { .. } | Message::Alive { .. } => {}
        }
    }

    /// Sees whether all agree since this line.
    fn compare(&mut self, t: u64) {
        let parties = self.nodes.iter().filter(|(_, node)| node.takes_part());
        self.parties.extend(parties.map(|(id, _)| *id));
        let Some(under_way) = self.under_way.as_mut().filter(|it| it.announced) else { return };
        let parties = self.nodes.values().filter(|node| node.takes_part());
        let mut held = parties.map(|node| node.holds);
        let first = held.next().flatten();
        let winner = first.filter(|first| held.all(|held| held == Some(*first)));
        let winner = winner.filter(|(id, _)| self.nodes.get(id).is_some_and(Node::takes_part));
        self.agreed = winner.or(self.agreed);
        let winner = winner.map(|(id, _)| id);
        match winner {
            None => under_way.agreed = None,
            Some(_) => {
                under_way.agreed.get_or_insert(t);
            }
        }
        if let Some(election) = self.elections.last_mut() {
            (election.winner, election.agreed) = (winner, under_way.agreed);
        }
    }

    fn end_of_moment(&mut self) {
        if self.under_way.as_ref().is_some_and(|under_way| under_way.agreed.is_some()) {
            self.under_way = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use node_lab::explain::{Source, merge};
    use node_protocols::core::Epoch;

    const RUN: &str =
        r#"{"at":0,"kind":"run","source":"sim","scenario":"x","seed":1,"nodes":[1,2,3]}"#;

    /// A message in few words: its name, and its epoch.
    fn label(short: &str) -> String {
        let (name, epoch) = short.split_once(' ').unwrap_or((short, "0"));
        let (epoch, coordinator) = (Epoch(epoch.parse().expect("a number")), NodeId(3));
        let message = match name {
            "Election" => Message::Election { epoch },
            "Ok" => Message::Ok,
            "Coordinator" => Message::Coordinator { epoch },
            "Check" => Message::Check { coordinator, epoch },
            "Alive" => Message::Alive { coordinates: true },
            other => return other.to_string(),
        };
        serde_json::to_string(&message).expect("JSON can carry it")
    }

    /// Lines in few words: `AT NODE WHAT`, with a `>` before a message, `= ID` for a coordinator
    /// in reign 1, `== ID` in reign 2, and `rank RANK` for the node's own.
    fn line(short: &str) -> String {
        let mut words = short.splitn(3, ' ');
        let [at, node, what] = [(); 3].map(|()| words.next().expect("three words"));
        let at = at.parse::<u64>().expect("milliseconds") * 1_000_000;
        let fact = |id: &str, epoch: u64| {
            format!(
                r#""fact","protocol":"bully","fact":"Coordinator","subject":{id},"value":{{"id":{id},"epoch":{epoch}}}"#
            )
        };
        let what = if let Some(message) = what.strip_prefix('>') {
            let label = serde_json::Value::from(label(message));
            format!(r#""send","id":"m","to":2,"protocol":"bully","label":{label}"#)
        } else if let Some(id) = what.strip_prefix("== ") {
            fact(id, 2)
        } else if let Some(id) = what.strip_prefix("= ") {
            fact(id, 1)
        } else if what == "start" {
            r#""start","incarnation":1"#.to_string()
        } else if let Some(elects) = what.strip_prefix("start by ") {
            let runs = match elects {
                "rank" => r#"{"protocol":"x","publishes":["Coordinator"],"needs":["Rank"]}"#,
                _ => r#"{"protocol":"x","publishes":["Rank"]}"#,
            };
            format!(r#""start","incarnation":1,"runs":[{runs}]"#)
        } else if let Some(rank) = what.strip_prefix("rank ") {
            let fact = r#""fact","protocol":"membership","fact":"Rank""#;
            format!(r#"{fact},"subject":{node},"value":{{"id":{node},"rank":{rank}}}"#)
        } else {
            format!("\"{what}\"")
        };
        format!(r#"{{"at":{at},"node":{node},"kind":{what}}}"#)
    }

    fn text(run: &str, shorts: &[&str]) -> String {
        let lines = shorts.iter().map(|short| line(short));
        [run.to_string()].into_iter().chain(lines).collect::<Vec<_>>().join("\n") + "\n"
    }

    fn elections(run: &str, shorts: &[&str]) -> Vec<Election> {
        let text = text(run, shorts);
        counted(text)
    }

    fn counted(text: String) -> Vec<Election> {
        let source = Source { name: "x".into(), text };
        count(&merge(&[source]).expect("a trace"))
    }

    /// Began, by, winner, agreed, and the numbers of messages, times in milliseconds.
    fn shown(elections: &[Election]) -> Vec<String> {
        let show = |it: &Election| {
            let Election { began, by, winner, agreed, elections, oks, coordinators } = it;
            let agreed = agreed.map(|agreed| agreed / 1_000_000);
            let began = began / 1_000_000;
            format!("{began} by {by}: {winner:?} {agreed:?} {elections}+{oks}+{coordinators}")
        };
        elections.iter().map(show).collect()
    }

    /// Three nodes; 3 dies, 2 takes over, 3 comes back.
    const STORY: [&str; 33] = [
        "0 1 start",
        "0 2 start",
        "0 3 start",
        "1 3 >Coordinator 1",
        "1 3 >Coordinator 1",
        "1 3 = 3",
        "2 1 = 3",
        "3 2 = 3",
        "100 1 >Check 1",
        "101 3 >Alive",
        "200 3 crash",
        "300 1 >Election 1",
        "300 1 >Election 1",
        "301 2 >Ok",
        "301 2 >Election 1",
        "401 2 == 2",
        "401 2 >Coordinator 2",
        "401 2 >Coordinator 2",
        "402 1 == 2",
        // Of the same moment, and therefore of the same election.
        "402 1 >Election 2",
        "500 2 >Ok",
        "600 3 start",
        "601 3 >Election 3",
        "602 3 = 3",
        "602 3 >Coordinator 3",
        "602 3 >Coordinator 3",
        "603 1 = 3",
        "604 2 = 3",
        "700 1 >Election 3",
        "701 2 stop",
        "702 3 >Ok",
        "800 1 >Check 3",
        "801 1 >Election 3",
    ];

    #[test]
    fn a_story_is_counted() {
        assert_eq!(
            shown(&elections(RUN, &STORY)),
            [
                "1 by 3: Some(3) Some(3) 0+0+2",
                "300 by 1: Some(2) Some(402) 4+2+2",
                "601 by 3: Some(3) Some(604) 1+0+2",
                // All hold node 3 still, but nobody has said so since.
                "700 by 1: None None 2+1+0",
            ]
        );
    }

    #[test]
    fn the_table_has_a_line_for_each_and_between_them_who_came_and_went() {
        let sources = [Source { name: "x".into(), text: text(RUN, &STORY) }];
        let run = merge(&sources).unwrap();
        let mut out = Vec::new();
        write(&run, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        let table = "\
#      began     by winner agreed after  Election     Ok  Coordinator    sum  n^2-n-1
       0.000 node 1 starts
       0.000 node 2 starts
       0.000 node 3 starts
       0.001      3      3        0.002         0      0            2      2        5
       0.200 node 3 is killed
       0.300      1      2        0.102         4      2            2      8        5
       0.600 node 3 starts again
       0.601      3      3        0.003         1      0            2      3        5
       0.700      1      -        never         2      1            0      3        5
       0.701 node 2 stops
";
        assert_eq!(out.split_once('\n').unwrap().1, table, "\n{out}");
    }

    /// Servers 1 and 2 elect by rank, a third comes without a rank, and nodes 4 and 5 do not elect.
    #[test]
    fn only_those_that_take_part_have_to_agree_and_are_counted() {
        let story = [
            "0 4 start by no",
            "0 5 start by no",
            "0 1 start by rank",
            "0 2 start by rank",
            "1 1 rank 2",
            "1 2 rank 1",
            "5 2 >Election 0",
            "6 1 >Ok",
            "6 1 = 1",
            "6 1 >Coordinator 1",
            "7 2 = 1",
            "20 3 start by rank",
            "30 1 crash",
            "40 2 >Election 1",
            "41 2 == 2",
        ];
        let text = text(&RUN.replace("[1,2,3]", "[1,2,3,4,5]"), &story);
        let sources = [Source { name: "x".into(), text }];
        let run = merge(&sources).unwrap();
        assert_eq!(
            shown(&count(&run)),
            ["5 by 2: Some(1) Some(7) 1+1+1", "40 by 2: Some(2) Some(41) 1+0+0"]
        );
        let mut out = Vec::new();
        write(&run, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        // Two took part: 2² − 2 − 1.
        assert_eq!(out.lines().filter(|line| line.ends_with(" 3        1")).count(), 1, "{out}");
    }

    /// Who starts anew has no rank before it is told again.
    #[test]
    fn nobody_agrees_on_who_has_no_rank_yet() {
        let story = [
            "0 1 start by rank",
            "0 2 start by rank",
            "1 1 rank 2",
            "1 2 rank 1",
            "2 1 >Coordinator 1",
            "2 1 = 1",
            "3 1 crash",
            "4 1 start by rank",
            "5 2 = 1",
            "6 1 rank 2",
            "7 1 = 1",
        ];
        assert_eq!(shown(&elections(RUN, &story)), ["2 by 1: Some(1) Some(7) 0+0+1"]);
    }

    #[test]
    fn the_same_coordinator_in_a_new_reign_is_agreed_on_anew() {
        let story = [
            "0 1 start",
            "0 2 start",
            "1 1 = 2",
            "1 2 = 2",
            "5 1 >Election 1",
            "6 2 >Ok",
            "6 2 == 2",
            "6 2 >Coordinator 2",
            "9 1 == 2",
        ];
        assert_eq!(shown(&elections(RUN, &story)), ["5 by 1: Some(2) Some(9) 1+1+1"]);
    }

    #[test]
    fn a_false_alarm_is_over_when_the_coordinator_says_so() {
        let story = [
            "0 1 start",
            "0 2 start",
            "1 1 = 2",
            "1 2 = 2",
            "5 1 >Election 1",
            "6 2 >Ok",
            "6 2 >Coordinator 1",
            "6 2 >Coordinator 1",
            "9 1 >Election 1",
        ];
        let shown = shown(&elections(RUN, &story));
        assert_eq!(shown, ["5 by 1: Some(2) Some(6) 1+1+2", "9 by 1: None None 1+0+0"]);
    }

    #[test]
    fn nobody_agrees_on_the_dead_nor_without_the_newcomer() {
        let dead = [
            "0 1 start",
            "0 2 start",
            "1 2 = 2",
            "2 1 = 2",
            "3 2 crash",
            "4 1 >Election 1",
            "5 1 = 2",
            "6 1 == 1",
        ];
        assert_eq!(shown(&elections(RUN, &dead)), ["4 by 1: Some(1) Some(6) 1+0+0"]);
        let newcomer = [
            "0 1 start",
            "0 2 start",
            "1 1 >Election 1",
            "2 2 = 2",
            "3 1 = 2",
            "3 3 start",
            "4 3 = 2",
        ];
        assert_eq!(shown(&elections(RUN, &newcomer)), ["1 by 1: Some(2) Some(4) 1+0+0"]);
    }

    #[test]
    fn a_death_in_the_middle_leaves_it_to_the_living() {
        let story = [
            "0 1 start",
            "0 2 start",
            "0 3 start",
            "1 3 >Coordinator 1",
            "1 3 = 3",
            "2 1 = 3",
            "3 3 crash",
            "4 2 >Election 1",
            "5 2 == 2",
            "6 1 == 2",
        ];
        assert_eq!(shown(&elections(RUN, &story)), ["1 by 3: Some(2) Some(6) 1+0+1"]);
        // All that are left agree as soon as the one who did not is gone.
        let story = ["0 1 start", "0 2 start", "1 1 >Election 1", "1 1 = 1", "7 2 crash"];
        assert_eq!(shown(&elections(RUN, &story)), ["1 by 1: Some(1) Some(7) 1+0+0"]);
    }

    #[test]
    fn real_nodes_that_are_killed_do_not_count_as_up() {
        let real = RUN.replace("sim", "node");
        let story = [
            "0 1 start",
            "0 2 start",
            "1 2 >Coordinator 1",
            "1 2 = 2",
            "2 1 = 2",
            "3 2 >Alive",
            "4 1 link\",\"peer\":2,\"up\":false,\"x\":\"x",
            "9 1 >Election 1",
            "10 1 = 1",
            "10 1 >Coordinator 1",
        ];
        assert_eq!(
            shown(&elections(&real, &story)),
            ["1 by 2: Some(2) Some(2) 0+0+1", "9 by 1: Some(1) Some(10) 1+0+1"]
        );
        assert_eq!(shown(&elections(RUN, &story))[1], "9 by 1: None None 1+0+1");
        let again = ["0 1 start", "1 1 >Election 1", "2 1 start", "3 1 = 1"];
        assert_eq!(shown(&elections(&real, &again)), ["1 by 1: Some(1) Some(3) 1+0+0"]);
    }

    #[test]
    fn other_protocols_and_other_words_are_no_election() {
        let story = ["0 1 start", "1 1 >Electioneering 1", "2 1 >Ok", "3 1 >", "4 1 >Alive"];
        assert_eq!(elections(RUN, &story), []);
        let other = text(RUN, &["1 1 >Election 1"]).replace("bully", "ring");
        assert_eq!(counted(other), []);
    }

    #[test]
    fn announcing_the_same_reign_again_is_no_election() {
        let story = [
            "0 1 start",
            "0 2 start",
            "1 2 >Coordinator 1",
            "1 2 = 2",
            "2 1 = 2",
            "5 2 >Coordinator 1",
            "7 2 >Coordinator 2",
            "7 2 == 2",
            "8 1 == 2",
        ];
        assert_eq!(
            shown(&elections(RUN, &story)),
            ["1 by 2: Some(2) Some(2) 0+0+1", "7 by 2: Some(2) Some(8) 0+0+1"]
        );
    }

    #[test]
    fn the_textbook_says() {
        assert_eq!([0, 1, 2, 3, 4, 5].map(textbook_most), [0, 0, 1, 5, 11, 19]);
    }
}
