//! Whether a bulletin board brings what is published to those who listen: once, in order, and with
//! nothing missing in silence. Knows no protocol: only what clients posted, what they were told of
//! it, and what they heard over which connection.
//!
//! Eugster, Felber, Guerraoui and Kermarrec: The Many Faces of Publish/Subscribe, ACM Computing
//! Surveys 35(2), 2003; the order is the FIFO order of Hadzilacos and Toueg, A Modular Approach to
//! Fault-Tolerant Broadcasts, 1994.

use super::history::{Board, Connection, Heard, Known, Post, Posted};
use node_lab::check::describe::{Client, Millis, Short};
use node_lab::study::Run;
use node_lab::study::{NOTICE, Reference, Verdict, Violation, Witness};
use std::collections::{BTreeMap, BTreeSet};

/// **Per-publisher order.** Over one connection, a post is never heard after another of the same
/// user that was sent when the first was over: answered, or given up with its connection.
///
/// Hadzilacos and Toueg 1994, FIFO order: if a process broadcasts m before m', nobody delivers m'
/// before m. What is lost is no matter here.
///
/// Evidence: two posts of a user that were heard over one connection.
pub(super) fn per_publisher_order(history: &Run) -> Verdict {
    let lacks = "nobody heard two posts of one user over one connection";
    judge(history, lacks, |board, posts, has_evidence| {
        for connection in &board.connections {
            // The latest that was heard of each user.
            let mut latest: BTreeMap<&str, (u64, &Heard)> = BTreeMap::new();
            for heard in &connection.heard {
                let Some(Placed { place, post }) = posts.get(&heard.text[..]) else { continue };
                if let Some((invoked, later)) = latest.get(&post.user[..])
                    && post.over_ns.is_some_and(|over| over < *invoked)
                {
                    let why = format!(
                        "client {} hears {} after {}, which was sent later",
                        connection.client,
                        Shown(heard),
                        Shown(later)
                    );
                    let roles = vec![("earlier post, heard after it", *place)];
                    return Some(Broken::heard(connection, heard, roles, why).after(later));
                }
                *has_evidence |= latest.contains_key(&post.user[..]);
                let own = latest.entry(&post.user).or_insert((post.invoke_ns, heard));
                if post.invoke_ns > own.0 {
                    *own = (post.invoke_ns, heard);
                }
            }
        }
        None
    })
}

/// **Delivered at most once.** No client hears a post twice, over whichever connections.
///
/// Hadzilacos and Toueg 1994, integrity: a message is delivered at most once.
///
/// Evidence: a post that was heard.
pub(super) fn delivered_at_most_once(history: &Run) -> Verdict {
    let lacks = "nobody heard a post";
    judge(history, lacks, |board, posts, has_evidence| {
        let mut heard_by = BTreeSet::new();
        for Connection { client, heard, .. } in &board.connections {
            for heard in heard {
                let by = *client;
                let known = posts.get(&heard.text[..]);
                *has_evidence |= known.is_some();
                if let Some(known) = known
                    && !heard_by.insert((*client, known.place))
                {
                    let why = format!("client {client} hears {} twice", Shown(heard));
                    let roles = vec![("post heard twice", known.place)];
                    return Some(Broken { by, ..Broken::of(heard, roles, why) });
                }
            }
        }
        None
    })
}

/// **No silent gap.** A post that its client was told is published, or that anybody heard, is heard
/// over every connection that subscribed to its topic before it was sent and lasts until
/// [`NOTICE`] after that, or else counts among those that the listener was told, after the
/// post was sent, to have missed.
///
/// Eugster et al. 2003, on reliable delivery: who subscribes gets what is published, or learns that
/// it does not.
///
/// Evidence: a post that a connection was owed.
///
pub(super) fn no_silent_gap(history: &Run) -> Verdict {
    let notice_ns = history.bounds.of(&NOTICE);
    let lacks = "nobody listened for long enough to what was published";
    judge(history, lacks, |board, _, has_evidence| {
        // When it was known that a post is published.
        let mut published: BTreeMap<&str, u64> = BTreeMap::new();
        let answered = board.posts.iter().filter(|post| post.answer == Some(Posted::Published));
        let answered = answered.filter_map(|post| Some((&post.text[..], post.over_ns?)));
        let heard = board.connections.iter().flat_map(|connection| &connection.heard);
        for (text, at) in answered.chain(heard.map(|heard| (&heard.text[..], heard.at_ns))) {
            let known = published.entry(text).or_insert(at);
            *known = at.min(*known);
        }
        for connection in &board.connections {
            let heard: BTreeSet<&str> =
                connection.heard.iter().map(|heard| &heard.text[..]).collect();
            let until = connection.until_ns.unwrap_or(board.end_ns);
            let is_owed = |post: &Post| {
                let Some(known) = published.get(&post.text[..]) else { return false };
                let is_subscribed = |(topic, from): &(String, Option<u64>)| {
                    *topic == post.topic && from.is_some_and(|from| from <= post.invoke_ns)
                };
                known.saturating_add(notice_ns) <= until
                    && connection.topics.iter().any(is_subscribed)
            };
            let missing = |(_, post): &(usize, &Post)| {
                let is_owed = is_owed(post);
                *has_evidence |= is_owed;
                is_owed && !heard.contains(&post.text[..])
            };
            let mut gaps: Vec<(usize, &Post)> =
                board.posts.iter().enumerate().filter(missing).collect();
            // What is told counts posts sent before: the latest has the fewest to be counted by.
            gaps.sort_by_key(|(_, post)| std::cmp::Reverse(post.invoke_ns));
            for (before, (place, post)) in gaps.into_iter().enumerate() {
                let later = connection.missed.iter().filter(|(at, _)| *at >= post.invoke_ns);
                let told = later.fold(0, |sum: u64, (_, count)| sum.saturating_add(*count));
                if before as u64 >= told {
                    let (client, topic) = (connection.client, Short(&post.topic));
                    let known = published[&post.text[..]];
                    let why = format!(
                        "client {client}, which listens to {topic}, did not hear [{}] of {}, \
                         published at {}, and is not told",
                        Short(&post.text),
                        Short(&post.user),
                        Millis(known)
                    );
                    let at = known.saturating_add(notice_ns);
                    let roles = vec![("post that was not heard", place)];
                    let first = board.connections.iter().flat_map(|other| &other.heard);
                    let first = first.filter(|heard| heard.text == post.text);
                    let heard = first.min_by_key(|heard| heard.at_ns).cloned();
                    return Some(Broken { at, why, roles, heard, later: None, by: client });
                }
            }
        }
        None
    })
}

/// **Answers match deliveries.** A post that its client was told is not published is heard by
/// nobody; what is heard was posted, by that user, under that topic, and before it is heard; and no
/// post stays without an answer, unless its client gives it up.
///
/// Hadzilacos and Toueg 1994, integrity: what is delivered was broadcast. That what failed did not
/// happen, or is said to be unknown, is what document 002's client needs in order to try again.
///
/// Evidence: a post that was heard.
pub(super) fn answers_match_deliveries(history: &Run) -> Verdict {
    let lacks = "nobody heard a post";
    judge(history, lacks, |board, posts, has_evidence| {
        for (place, post) in board.posts.iter().enumerate() {
            if post.over_ns.is_none() {
                let why = format!("[{}] of {} has no answer", Short(&post.text), Short(&post.user));
                let roles = vec![("post without an answer", place)];
                let (at, heard, later) = (board.end_ns, None, None);
                return Some(Broken { at, why, roles, heard, later, by: 0 });
            }
        }
        for Connection { client, heard, .. } in &board.connections {
            for heard in heard {
                *has_evidence = true;
                let wrong = match posts.get(&heard.text[..]) {
                    None => Some((None, "nobody posted")),
                    Some(Placed { place, post }) => {
                        let is_its = post.user == heard.user && post.topic == heard.topic;
                        let what = match post.answer {
                            _ if !is_its => Some("was posted by another, or elsewhere"),
                            _ if heard.at_ns < post.invoke_ns => Some("is posted later"),
                            Some(Posted::Not) => Some("is said not to be published"),
                            _ => None,
                        };
                        what.map(|what| (Some(*place), what))
                    }
                };
                if let Some((place, what)) = wrong {
                    let why = format!("client {client} hears {}, which {what}", Shown(heard));
                    let roles = place.map(|place| ("post", place)).into_iter().collect();
                    return Some(Broken { by: *client, ..Broken::of(heard, roles, why) });
                }
            }
        }
        None
    })
}

/// A post and its place in the history.
struct Placed<'a> {
    place: usize,
    post: &'a Post,
}

/// When something was broken, and how; by which posts, and by what somebody heard.
struct Broken {
    at: u64,
    why: String,
    roles: Vec<(&'static str, usize)>,
    heard: Option<Heard>,
    /// What the same client had heard before.
    later: Option<Heard>,
    /// Who heard.
    by: u64,
}

impl Broken {
    fn of(heard: &Heard, roles: Vec<(&'static str, usize)>, why: String) -> Broken {
        let (at, heard) = (heard.at_ns, Some(heard.clone()));
        Broken { at, why, roles, heard, later: None, by: 0 }
    }

    fn heard(
        connection: &Connection,
        heard: &Heard,
        roles: Vec<(&'static str, usize)>,
        why: String,
    ) -> Broken {
        Broken { by: connection.client, ..Broken::of(heard, roles, why) }
    }

    fn after(self, later: &Heard) -> Broken {
        Broken { later: Some(later.clone()), ..self }
    }

    /// Posts first, then what was heard, in the order of time.
    fn violation(self) -> Violation {
        let by = Client(self.by);
        let hears = |role, heard: &Heard| {
            let of = Reference::Event { node: None, at: heard.at_ns, kind: "push".into() };
            Witness { role, says: format!("{by} hears {}", Shown(heard)), of }
        };
        let posts = self.roles.iter().map(|(role, place)| Witness::operation(*role, *place, ""));
        let mut witnesses: Vec<Witness> = posts.collect();
        witnesses.extend(self.later.iter().map(|heard| hears("heard before".into(), heard)));
        witnesses.extend(self.heard.iter().map(|heard| hears("heard".into(), heard)));
        Violation { at: Some(self.at), ..Violation::by(witnesses, self.why) }
    }
}

fn judge(
    history: &Run,
    lacks: &str,
    broken: impl FnOnce(&Board, &BTreeMap<&str, Placed<'_>>, &mut bool) -> Option<Broken>,
) -> Verdict {
    let unknown = |why: &str| Verdict::Unknown { why: why.into() };
    let known = Known::of(history);
    let Some(board) = &known.board else {
        return unknown("the history says nothing of a board");
    };
    if board.posts.is_empty() || board.connections.is_empty() {
        return unknown("nobody posted, or nobody listened");
    }
    let mut posts = BTreeMap::new();
    for (place, post) in board.posts.iter().enumerate() {
        if posts.insert(&post.text[..], Placed { place, post }).is_some() {
            return unknown(
                "two posts have the same text, so that nobody can tell which was heard",
            );
        }
    }
    let mut has_evidence = false;
    match broken(board, &posts, &mut has_evidence) {
        None => Verdict::of(None, has_evidence, lacks),
        Some(found) => {
            let found = Verdict::Violated(found.violation());
            found.placed(&board.posts, |post| known.place(post))
        }
    }
}

/// What a client heard, for people.
struct Shown<'a>(&'a Heard);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Heard { user, topic, text, at_ns } = self.0;
        let (user, topic, text) = (Short(user), Short(topic), Short(text));
        write!(f, "[{text}] of {user} under {topic} at {}", Millis(*at_ns))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
