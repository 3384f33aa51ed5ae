//! The studio's HTTP: one address of this machine, requests that prove that they come from the page
//! itself, answers that nobody else's page can read. Knows no run and no scenario.
//!
//! A crate would bring more than is needed, and what matters here is what is refused: so heads are
//! parsed by httparse, and the rest are the lines below. A connection has one request, a bounded
//! head, a bounded body, and a bounded time; there is a bounded number of connections.
//!
//! Who may ask. The server listens on 127.0.0.1 alone, but any page in the user's browser can send
//! requests there, under any name that its own server makes point to 127.0.0.1. So a request needs
//! all of these, or it is refused (403) before anything is looked at:
//! - `Host` is this address: a name that was made to point here is another (DNS rebinding).
//! - `Origin`, where there is one, is this address; `Sec-Fetch-Site`, where there is one, says that
//!   the page or the user asks.
//! - The path begins with a token of 128 random bits that was printed on the terminal. It is no
//!   cookie: browsers send cookies of 127.0.0.1 to the servers of all its ports.
//! - A command is a POST of JSON with the token in a header once more: no form can send it, and
//!   no other origin may, since nothing here ever answers with a CORS header.
//!
//! Answers may be framed by this origin alone, and not read as anything but what they are.

use httparse::{EMPTY_HEADER, Status};
use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;
/// The most fields of a head.
const MAX_FIELDS: usize = 64;
/// The longest body, in bytes: a scenario's text, several times over.
const MAX_BODY: usize = 4 << 20;
/// How long a request may take to arrive, and an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most connections at once: a browser has six.
const MAX_CONNECTIONS: usize = 64;
/// The header that a command repeats the token in.
const TOKEN_HEADER: &str = "x-studio-token";

/// What may be answered with: nothing from elsewhere, and no frame but of this origin.
const OWN: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                   frame-src 'self'; img-src 'self' data:; frame-ancestors 'self'; \
                   base-uri 'none'; form-action 'none'";
/// The page of a run says itself what it may load: nothing. This is what a file cannot say.
const FRAMED: &str = "frame-ancestors 'self'; base-uri 'none'; form-action 'none'";

/// A request that may be answered.
pub(super) struct Request {
    /// What is asked for, behind the token and without a query: `run/7`.
    pub path: String,
    /// The body of a command; none where a page or an asset is asked for.
    pub command: Option<Vec<u8>>,
}

/// An answer.
pub(super) struct Response {
    status: u16,
    form: &'static str,
    policy: &'static str,
    body: Cow<'static, [u8]>,
}

impl Response {
    /// A file of the studio's own.
    pub fn asset(form: &'static str, text: &'static str) -> Response {
        Response { status: 200, form, policy: OWN, body: Cow::Borrowed(text.as_bytes()) }
    }

    /// The page of a run, which brings all that it needs.
    pub fn page(html: Vec<u8>) -> Response {
        let form = "text/html; charset=utf-8";
        Response { status: 200, form, policy: FRAMED, body: Cow::Owned(html) }
    }

    /// What a command answers.
    pub fn json(value: &serde_json::Value) -> Response {
        let body = Cow::Owned(value.to_string().into_bytes());
        Response { status: 200, form: "application/json", policy: OWN, body }
    }

    /// That it cannot be done, and why.
    pub fn refusal(status: u16, why: &str) -> Response {
        let error = serde_json::json!({ "error": why });
        Response { status, ..Response::json(&error) }
    }
}

/// Answers requests; it may take long, and is asked on several threads.
pub(super) type Answer = dyn Fn(Request) -> Response + Send + Sync;

/// A server that listens.
pub(super) struct Server {
    listener: TcpListener,
    guard: Guard,
}

/// What a request must have.
struct Guard {
    token: String,
    hosts: [String; 2],
}

impl Server {
    /// Listens on that port of 127.0.0.1; 0 for any that is free.
    ///
    /// # Errors
    /// The port cannot be had, or there is no randomness for a token.
    pub fn listen(port: u16) -> io::Result<Server> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let port = listener.local_addr()?.port();
        let hosts = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
        Ok(Server { listener, guard: Guard { token: token()?, hosts } })
    }

    /// The address to open.
    pub fn url(&self) -> String {
        format!("http://{}/{}/", self.guard.hosts[0], self.guard.token)
    }

    /// Answers for ever.
    pub fn serve(self, answer: Arc<Answer>) {
        let (guard, open) = (Arc::new(self.guard), Arc::new(AtomicUsize::new(0)));
        for stream in self.listener.incoming() {
            // One that is gone already, or no descriptor for it: the browser tries again.
            let Ok(stream) = stream else {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            };
            if open.fetch_add(1, Ordering::SeqCst) >= MAX_CONNECTIONS {
                open.fetch_sub(1, Ordering::SeqCst);
                continue;
            }
            let (guard, answer, closed) = (guard.clone(), answer.clone(), open.clone());
            let spawned = std::thread::Builder::new().spawn(move || {
                // Whoever has gone wants no answer.
                let _ = serve_one(stream, &guard, &*answer);
                closed.fetch_sub(1, Ordering::SeqCst);
            });
            if spawned.is_err() {
                open.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }
}

/// 128 random bits of the system's, in hexadecimal.
fn token() -> io::Result<String> {
    let mut bits = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bits)?;
    Ok(bits.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn serve_one(mut stream: TcpStream, guard: &Guard, answer: &Answer) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let (request, is_whole) = match read(&mut stream, guard, deadline) {
        Ok(request) => (Ok(request), true),
        Err(Refused { status: 0, .. }) => return Ok(()),
        Err(refused) => (Err(refused), false),
    };
    let response = match request {
        Ok(request) => catch_unwind(AssertUnwindSafe(|| answer(request))).unwrap_or_else(|_| {
            Response::refusal(
                500,
                "the studio made a mistake here; the next command is answered again",
            )
        }),
        Err(Refused { status, why }) => Response::refusal(status, why),
    };
    write(&mut stream, &response)?;
    stream.shutdown(Shutdown::Write)?;
    if !is_whole {
        // What is unread when a connection closes would take the answer along.
        let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
        let mut sink = [0; 4096];
        for _ in 0..256 {
            if !matches!(stream.read(&mut sink), Ok(read) if read > 0) {
                break;
            }
        }
    }
    Ok(())
}

/// Why a request is not answered. Status 0: there is nobody to tell.
struct Refused {
    status: u16,
    why: &'static str,
}

fn refused<T>(status: u16, why: &'static str) -> Result<T, Refused> {
    Err(Refused { status, why })
}

/// Reads a request, and lets through what may be answered.
fn read(stream: &mut TcpStream, guard: &Guard, deadline: Instant) -> Result<Request, Refused> {
    let mut bytes = Vec::new();
    let (head, at) = loop {
        more(stream, &mut bytes, deadline, MAX_HEAD)?;
        let mut fields = [EMPTY_HEADER; MAX_FIELDS];
        let mut parsed = httparse::Request::new(&mut fields);
        match parsed.parse(&bytes) {
            Ok(Status::Complete(at)) => break (guard.let_through(&parsed)?, at),
            Ok(Status::Partial) if bytes.len() < MAX_HEAD => {}
            Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return refused(431, "the head is too long");
            }
            Err(_) => return refused(400, "this is no HTTP request"),
        }
    };
    let Some(length) = head.length else { return Ok(Request { path: head.path, command: None }) };
    if length > MAX_BODY {
        return refused(413, "the body is too long: at most 4 MiB");
    }
    let mut body = bytes.split_off(at);
    while body.len() < length {
        more(stream, &mut body, deadline, length)?;
    }
    body.truncate(length);
    Ok(Request { path: head.path, command: Some(body) })
}

/// Reads on, to so many bytes at most.
fn more(
    stream: &mut TcpStream,
    bytes: &mut Vec<u8>,
    deadline: Instant,
    most: usize,
) -> Result<(), Refused> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() || stream.set_read_timeout(Some(left)).is_err() {
        return refused(408, "the request took too long");
    }
    let mut part = [0; 16 << 10];
    let room = part.len().min(most.saturating_sub(bytes.len()));
    match stream.read(&mut part[..room]) {
        Ok(0) | Err(_) => refused(0, "it has gone"),
        Ok(read) => {
            bytes.extend_from_slice(&part[..read]);
            Ok(())
        }
    }
}

/// What of a head that was let through is needed on.
struct Head {
    path: String,
    /// The length of a command's body.
    length: Option<usize>,
}

impl Guard {
    fn let_through(&self, head: &httparse::Request<'_, '_>) -> Result<Head, Refused> {
        let field = |name: &str| -> Result<Option<&str>, Refused> {
            let mut found = head.headers.iter().filter(|one| one.name.eq_ignore_ascii_case(name));
            match (found.next(), found.next()) {
                (None, _) => Ok(None),
                (Some(one), None) => match std::str::from_utf8(one.value) {
                    Ok(text) => Ok(Some(text)),
                    Err(_) => refused(400, "a header is no UTF-8"),
                },
                (Some(_), Some(_)) => refused(400, "a header is there twice"),
            }
        };
        let is_here = |host: &str| self.hosts.iter().any(|one| one.eq_ignore_ascii_case(host));
        if !field("host")?.is_some_and(is_here) {
            return refused(403, "the studio answers to 127.0.0.1 and localhost alone");
        }
        let is_own = |origin: &str| origin.strip_prefix("http://").is_some_and(is_here);
        if !field("origin")?.is_none_or(is_own) {
            return refused(403, "another origin may not ask");
        }
        if !matches!(field("sec-fetch-site")?, None | Some("same-origin" | "none")) {
            return refused(403, "another site may not ask: open the address by hand");
        }
        let path = head.path.unwrap_or_default().strip_prefix('/').unwrap_or_default();
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let Some((token, path)) = path.split_once('/').filter(|(token, _)| self.is_token(token))
        else {
            return refused(403, "the address lacks the token that node studio printed");
        };
        let path = path.to_string();
        match head.method {
            Some("GET") => return Ok(Head { path, length: None }),
            Some("POST") => {}
            _ => return refused(405, "GET and POST alone"),
        }
        let is_token = |given: &str| given == token;
        if !field(TOKEN_HEADER)?.is_some_and(is_token) {
            return refused(403, "a command needs the token in its header");
        }
        let form = field("content-type")?.and_then(|form| form.split(';').next());
        if !form.is_some_and(|form| form.trim().eq_ignore_ascii_case("application/json")) {
            return refused(403, "a command is JSON");
        }
        if field("transfer-encoding")?.is_some() {
            return refused(411, "say how long the body is");
        }
        match field("content-length")?.and_then(|length| length.parse().ok()) {
            Some(length) => Ok(Head { path, length: Some(length) }),
            None => refused(411, "say how long the body is"),
        }
    }

    /// Whether it is the token; how long that takes does not tell how much of it is right.
    fn is_token(&self, given: &str) -> bool {
        let (own, given) = (self.token.as_bytes(), given.as_bytes());
        own.len() == given.len()
            && own.iter().zip(given).fold(0, |wrong, (a, b)| wrong | (a ^ b)) == 0
    }
}

fn write(stream: &mut TcpStream, response: &Response) -> io::Result<()> {
    let Response { status, form, policy, body } = response;
    let said = match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        _ => "Internal Server Error",
    };
    let head = format!(
        "HTTP/1.1 {status} {said}\r\nContent-Type: {form}\r\nContent-Length: {}\r\n\
         Content-Security-Policy: {policy}\r\nX-Frame-Options: SAMEORIGIN\r\n\
         X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
         Cross-Origin-Resource-Policy: same-origin\r\nCross-Origin-Opener-Policy: same-origin\r\n\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    stream.flush()
}
