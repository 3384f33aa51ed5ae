//! The connections to broker and proxy: a thread each, which makes its connection anew whenever it
//! breaks. They hand over events, and know nothing of clocks and lines.

use crate::client::{Client, ClientError, escaped};
use node_protocols::board::{Board, Maybe, Reply, Request, Role};
use node_protocols::core::{Backoff, Bytes, LamportTime, NodeId, Protocol};
use rustix::process::Signal;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The waits between attempts to connect.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How often an idle connection to the broker is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// After so much silence the proxy is asked whether it is there: a connection whose other end is
/// gone without a word looks like one on which nobody says anything.
const SILENCE: Duration = Duration::from_secs(3);

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Takes posts.
    Broker,
    /// Brings messages.
    Proxy,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Side::Broker => "broker",
            Side::Proxy => "proxy",
        }
    }

    fn role(self) -> Role {
        match self {
            Side::Broker => Role::Broker,
            Side::Proxy => Role::Proxy,
        }
    }
}

/// What the client hears.
pub enum Event {
    /// A line of the input.
    Line(Vec<u8>),
    /// A line that was typed at the terminal; dropping the other tells that it is dealt with.
    Typed(Vec<u8>, SyncSender<()>),
    /// The input has no more.
    InputEnded,
    /// A signal, or Ctrl-C: end now.
    Stop(Signal),
    /// There is something urgent.
    Look,
    /// How the oldest unanswered post ended.
    Answered(Outcome),
    /// Somebody said something.
    Heard(Message),
    /// So many messages are lost: the client did not read.
    Missed(u64),
    /// The connection broke.
    Gone(Side, String),
    /// It is there again.
    Back(Side),
}

/// How a post ended.
pub enum Outcome {
    Published { server: NodeId, timestamp: u64, clock: LamportTime },
    Failed { reason: String, published: Maybe, clock: Option<LamportTime> },
}

/// Something that was said under a topic.
pub struct Message {
    pub topic: String,
    pub user: String,
    pub server: Option<NodeId>,
    pub text: Vec<u8>,
    pub timestamp: u64,
    pub clock: LamportTime,
}

/// What the broker is to take.
pub struct Post {
    pub user: String,
    pub topic: String,
    pub text: Vec<u8>,
    pub clock: LamportTime,
    /// When it was made: it is given up some time after.
    pub made: Instant,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum Trouble {
    Client(ClientError),
    /// The node is there, and does not do it.
    Refused(String),
    /// The node has another part in the board.
    Role(Side, SocketAddr),
}

impl Trouble {
    pub fn text(&self) -> String {
        match self {
            Trouble::Client(error) => error.to_string(),
            Trouble::Refused(reason) => reason.clone(),
            Trouble::Role(side, addr) => {
                let side = side.name();
                format!("{addr}: this node is not the {side}; --{side} takes the {side}'s address")
            }
        }
    }
}

/// A connection that is made anew when it breaks.
pub struct Link {
    side: Side,
    addr: SocketAddr,
    timeout: Duration,
    /// What the proxy is asked for.
    topics: Vec<String>,
    client: Option<Client>,
    backoff: Backoff,
    events: SyncSender<Event>,
    /// Where the node's clock stood when it was connected to.
    clock: LamportTime,
}

/// Whoever listened to events has gone: there is nothing more to do.
struct Unheard;

impl Link {
    /// Connects for the first time.
    pub fn open(
        side: Side,
        addr: SocketAddr,
        timeout: Duration,
        topics: Vec<String>,
        events: SyncSender<Event>,
    ) -> Result<Link, Trouble> {
        let (client, clock) = (None, LamportTime(0));
        let backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut link = Link { side, addr, timeout, topics, client, backoff, events, clock };
        link.client = Some(link.connect()?);
        Ok(link)
    }

    /// Where the node's clock stood when it was connected to.
    pub fn clock(&self) -> LamportTime {
        self.clock
    }

    fn connect(&mut self) -> Result<Client, Trouble> {
        let mut client =
            Client::connect(self.addr, Board::NAME, self.timeout).map_err(Trouble::Client)?;
        match client.request(&Request::Status {}, self.timeout).map_err(Trouble::Client)? {
            Reply::Status { role, clock, .. } if role == self.side.role() => self.clock = clock,
            Reply::Status { .. } => return Err(Trouble::Role(self.side, self.addr)),
            Reply::Error { reason, .. } => {
                return Err(Trouble::Refused(escaped(reason.as_bytes())));
            }
            _ => return Err(Trouble::Refused(UNEXPECTED.into())),
        }
        for topic in &self.topics {
            let request = Request::Subscribe { topic: topic.into(), member: None };
            match client.request(&request, self.timeout).map_err(Trouble::Client)? {
                Reply::Subscribed { .. } => {}
                Reply::Error { reason, .. } => {
                    return Err(Trouble::Refused(escaped(reason.as_bytes())));
                }
                _ => return Err(Trouble::Refused(UNEXPECTED.into())),
            }
        }
        Ok(client)
    }

    fn tell(&self, event: Event) -> Result<(), Unheard> {
        self.events.send(event).map_err(|_| Unheard)
    }

    fn lose(&mut self, reason: String) -> Result<(), Unheard> {
        self.client = None;
        self.tell(Event::Gone(self.side, reason))
    }

    /// Tries once to connect, unless that is not needed.
    fn restore(&mut self) -> Result<(), Unheard> {
        if self.client.is_some() {
            return Ok(());
        }
        match self.connect() {
            Ok(client) => {
                self.client = Some(client);
                self.backoff.succeeded();
                self.tell(Event::Back(self.side))
            }
            Err(_) => {
                self.backoff.failed();
                Ok(())
            }
        }
    }

    /// Gives the broker one post after the other, until there are no more.
    pub fn post(mut self, posts: &Receiver<Post>) {
        while self.post_next(posts).is_ok() {}
    }

    fn post_next(&mut self, posts: &Receiver<Post>) -> Result<(), Unheard> {
        let wait = if self.client.is_some() { LOOK } else { self.backoff.wait() };
        match posts.recv_timeout(wait) {
            Ok(post) => {
                let outcome = self.deliver(&post)?;
                self.tell(Event::Answered(outcome))
            }
            Err(RecvTimeoutError::Timeout) => {
                self.notice_end()?;
                self.restore()
            }
            Err(RecvTimeoutError::Disconnected) => Err(Unheard),
        }
    }

    /// Nothing comes unasked from a broker, but the end of the connection.
    fn notice_end(&mut self) -> Result<(), Unheard> {
        match &self.client {
            Some(client) if !client.is_open() => {
                self.lose(ended(&ClientError::Closed { addr: self.addr }))
            }
            _ => Ok(()),
        }
    }

    /// Tries to hand a post over until its timeout, so that those which wait behind it while nobody
    /// is there are all given up at about the same time. None is sent again when it may have
    /// arrived.
    fn deliver(&mut self, post: &Post) -> Result<Outcome, Unheard> {
        self.notice_end()?;
        loop {
            let left = self.timeout.checked_sub(post.made.elapsed());
            if left.is_some() {
                self.restore()?;
            }
            let reason = match &mut self.client {
                None => format!("{}: no connection to the broker", self.addr),
                Some(client) => match ask(client, post, self.timeout) {
                    Ok(outcome) => return Ok(outcome),
                    Err(error) => {
                        let (reason, maybe) = (error.to_string(), error.may_have_arrived());
                        self.lose(reason.clone())?;
                        if maybe {
                            let published = Maybe::Unknown;
                            return Ok(Outcome::Failed { reason, published, clock: None });
                        }
                        reason
                    }
                },
            };
            let Some(left) = left else {
                return Ok(Outcome::Failed { reason, published: Maybe::No, clock: None });
            };
            thread::sleep(self.backoff.wait().min(left));
        }
    }

    /// Hears what is said, for as long as somebody wants to know.
    pub fn listen(mut self) {
        while self.hear_next().is_ok() {}
    }

    fn hear_next(&mut self) -> Result<(), Unheard> {
        let Some(client) = &mut self.client else {
            thread::sleep(self.backoff.wait());
            return self.restore();
        };
        let heard = match client.next_push(SILENCE) {
            Ok(Some(pushed)) => event_of(pushed).map(Some).ok_or_else(|| UNEXPECTED.into()),
            Ok(None) => {
                let asked = client.request::<Reply<'_>>(&Request::Status {}, self.timeout);
                asked.map(|_| None).map_err(|error| ended(&error))
            }
            Err(error) => Err(ended(&error)),
        };
        match heard {
            Ok(Some(event)) => self.tell(event),
            Ok(None) => Ok(()),
            Err(reason) => self.lose(reason),
        }
    }
}

/// Why a connection is lost over which the user asked nothing.
fn ended(error: &ClientError) -> String {
    match error {
        ClientError::Closed { addr } => format!("{addr}: the connection has ended"),
        ClientError::Lost { addr, source } => format!("{addr}: the connection broke ({source})"),
        other => other.to_string(),
    }
}

const UNEXPECTED: &str = "it answers with something else: is it a node of the bulletin system?";

fn event_of(pushed: Reply<'_>) -> Option<Event> {
    match pushed {
        Reply::Message { topic, user, server, text, timestamp, clock, .. } => {
            let (topic, user) = (topic.into_owned(), user.into_owned());
            let text = text.to_vec();
            Some(Event::Heard(Message { topic, user, server, text, timestamp, clock }))
        }
        Reply::Missed { messages, .. } => Some(Event::Missed(messages)),
        Reply::Sent { .. }
        | Reply::Subscribed { .. }
        | Reply::Unsubscribed { .. }
        | Reply::Published { .. }
        | Reply::Error { .. }
        | Reply::Status { .. } => None,
    }
}

fn ask(client: &mut Client, post: &Post, timeout: Duration) -> Result<Outcome, ClientError> {
    let Post { user, topic, text, clock, .. } = post;
    let request = Request::Send {
        user: user.into(),
        topic: topic.into(),
        text: Bytes::new(text),
        timestamp: millis(),
        clock: *clock,
    };
    Ok(match client.request(&request, timeout)? {
        Reply::Sent { server, timestamp, clock } => Outcome::Published { server, timestamp, clock },
        Reply::Error { reason, published, clock, .. } => {
            let (reason, clock) = (escaped(reason.as_bytes()), Some(clock));
            Outcome::Failed { reason, published, clock }
        }
        _ => {
            let (reason, published) = (UNEXPECTED.into(), Maybe::Unknown);
            Outcome::Failed { reason, published, clock: None }
        }
    })
}

/// Milliseconds since the epoch by this machine's clock.
fn millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
