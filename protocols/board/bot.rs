//! A bot: says something from time to time, and prints what it hears.

use super::shown::View;
use super::{Board, Config, Had, Message, Outcome, Post, Timer, stale};
use crate::core::{Bytes, Context, Escaped, NodeId, WallTime};
use ::core::time::Duration;
use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

pub(super) struct Bot {
    name: String,
    broker: NodeId,
    /// Whether there is a link to the broker.
    is_linked: bool,
    proxy: NodeId,
    topic: String,
    texts: Vec<String>,
    interval: Duration,
    /// What it subscribes to, and what it has had; none before the proxy knows.
    topics: Vec<(String, Option<Had>)>,
    /// How many posts it has sent, and how many of them were answered.
    sent: u64,
    answered: u64,
    heard: u64,
    missed: u64,
}

impl Bot {
    pub(super) fn new(config: Config, broker: NodeId, proxy: NodeId) -> Bot {
        let Config { name, topic, texts, topics, interval_ms, .. } = config;
        let topics = topics.into_iter().map(|topic| (topic, None)).collect();
        let interval = Duration::from_millis(interval_ms);
        let (sent, answered, heard, missed) = (0, 0, 0, 0);
        Bot {
            name,
            broker,
            is_linked: false,
            proxy,
            topic,
            texts,
            interval,
            topics,
            sent,
            answered,
            heard,
            missed,
        }
    }

    pub(super) fn status(&self) -> [u64; 4] {
        [self.sent - self.answered, self.heard, 0, self.missed]
    }

    pub(super) fn seen(&self) -> View<'_> {
        View::Bot {
            name: &self.name,
            has_broker: self.is_linked,
            sent: self.sent,
            answered: self.answered,
            heard: self.heard,
            missed: self.missed,
        }
    }

    pub(super) fn on_start(&self, cx: &mut Context<'_, Board>) {
        if !self.texts.is_empty() {
            cx.set_timer(Timer::Speak, self.interval);
        }
    }

    pub(super) fn on_speak(&mut self, cx: &mut Context<'_, Board>) {
        cx.set_timer(Timer::Speak, self.interval);
        let text = &self.texts[self.sent as usize % self.texts.len()];
        let post = Post {
            user: Cow::Borrowed(&self.name),
            topic: Cow::Borrowed(&self.topic),
            text: Bytes::new(text.as_bytes()),
        };
        self.sent += 1;
        if self.is_linked {
            cx.send(self.broker, &Message::Send { number: self.sent, post });
        } else {
            // Nobody will answer.
            self.answered += 1;
            let number = self.sent;
            self.say(cx, format_args!("message {number} was not sent: no link to the broker"));
        }
    }

    pub(super) fn on_link(&mut self, peer: NodeId, up: bool, cx: &mut Context<'_, Board>) {
        if peer == self.broker {
            self.is_linked = up;
            // Answers that are still out will not come.
            self.answered = self.sent;
        }
        if peer != self.proxy || !up {
            return;
        }
        for (topic, had) in &self.topics {
            cx.send(peer, &Message::Subscribe { topic: topic.into(), had: *had });
        }
    }

    pub(super) fn on_message(
        &mut self,
        from: NodeId,
        message: Message<'_>,
        cx: &mut Context<'_, Board>,
    ) {
        match message {
            Message::Sent { number, outcome } if from == self.broker => {
                if number > self.sent || self.answered >= self.sent {
                    return stale(cx);
                }
                self.answered += 1;
                match outcome {
                    Outcome::Published => {}
                    Outcome::Refused(refusal) => {
                        self.say(
                            cx,
                            format_args!(
                                "message {number} was not published: {}",
                                refusal.reason()
                            ),
                        );
                    }
                    Outcome::Unknown => {
                        self.say(cx, format_args!("message {number} may not have been published"));
                    }
                }
            }
            Message::Subscribed { topic, now } if from == self.proxy => {
                let Some((_, had)) = self.topics.iter_mut().find(|one| one.0 == *topic) else {
                    return stale(cx);
                };
                let before = *had;
                let goes_on = before.filter(|before| before.since == now.since);
                let known = goes_on.map_or(now.deliveries, |before| before.deliveries);
                let missed = now.deliveries.saturating_sub(known);
                // One that is late says what was known already.
                *had = Some(Had { since: now.since, deliveries: now.deliveries.max(known) });
                self.missed += missed;
                let topic = Escaped(topic.as_bytes());
                if before.is_some() && goes_on.is_none() {
                    // It is not the proxy that counted before.
                    self.say(cx, format_args!("may have missed messages under {topic}"));
                } else if missed > 0 {
                    self.say(cx, format_args!("missed {missed} messages under {topic}"));
                } else {
                    self.say(cx, format_args!("hears {topic}"));
                }
            }
            Message::Deliver { number, timestamp, server, post } if from == self.proxy => {
                let own = self.topics.iter_mut().find(|one| one.0 == *post.topic);
                let Some((_, Some(had))) = own else { return stale(cx) };
                if number <= had.deliveries {
                    return stale(cx);
                }
                let missed = number - had.deliveries - 1;
                had.deliveries = number;
                self.heard += 1;
                self.missed += missed;
                if missed > 0 {
                    self.say(cx, format_args!("missed {missed} messages"));
                }
                let (topic, user) = (Escaped(post.topic.as_bytes()), Escaped(post.user.as_bytes()));
                let (time, text) = (WallTime::from_millis(timestamp), Escaped(&post.text));
                let via = server.map_or(self.proxy, |server| server);
                self.say(cx, format_args!("{topic} | {time:.3} | {user} via {via}: {text}"));
            }
            _ => stale(cx),
        }
    }

    fn say(&self, cx: &mut Context<'_, Board>, line: ::core::fmt::Arguments<'_>) {
        let (clock, me) = (cx.lamport().0, cx.me());
        cx.print(format_args!("[{clock}.{me}] {line}"));
    }
}
