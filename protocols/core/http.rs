//! Tells a web browser's request from what a gateway's own clients send.
//!
//! A page of any origin may have its browser send bytes of the page's choice to any port, on this
//! machine too; the browser puts a request line and headers before them, and asks nobody (Fetch,
//! "no-cors"). A gateway that takes those lines for faulty requests, and goes on with what comes
//! behind them, lets every page write. So a connection ends where HTTP begins.

use memchr::memchr;

/// Whether a request begins as HTTP does, or as a TLS handshake; what is not there yet cannot tell.
///
/// `commands` are the gateway's own commands that are methods of HTTP too. One that has any takes
/// lines of words, and nothing of a line before its end: what may be a command is HTTP only as a
/// whole request line, `GET /k HTTP/1.1`. Without any, no request begins with a word, and a method
/// with a target is enough.
pub fn is_http(input: &[u8], commands: &[&str]) -> bool {
    let input = match input.first() {
        // Asked of every request, nearly all of which begin with something else.
        Some(byte) if is_blank(*byte) => {
            let blanks = input.iter().take(MAX_BLANKS).take_while(|byte| is_blank(**byte));
            &input[blanks.count()..]
        }
        _ => input,
    };
    let end = input.iter().take(MAX_WORD_BYTES).position(|byte| !is_token(*byte));
    match end {
        // `SET` and `{` alike get no further than this, or than the blank behind the word.
        Some(0) => input.starts_with(TLS_HANDSHAKE),
        Some(end) => {
            let (word, rest) = input.split_at(end);
            match rest[0] {
                b' ' | b'\t' => is_request_line(word, &rest[1..], commands),
                b':' => is_header(word, rest.get(1).copied()),
                _ => false,
            }
        }
        None => false,
    }
}

/// Blanks and empty lines before a request line that a server of HTTP might pass over.
const MAX_BLANKS: usize = 64;
/// Methods and names of headers are shorter.
const MAX_WORD_BYTES: usize = 64;
/// As long as the longest line of a gateway.
const MAX_LINE_BYTES: usize = 64 << 10;
/// A record of a handshake, of any version: what it resumes a session with is the server's choice,
/// and may hold lines.
const TLS_HANDSHAKE: &[u8] = &[22, 3];

const METHODS: &[&str] =
    &["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// Headers that browsers send by themselves, and what other names begin with.
const HEADERS: &[&str] =
    &["host", "user-agent", "connection", "origin", "referer", "cookie", "pragma", "te", "dnt"];
const HEADER_FAMILIES: &[&str] = &[
    "accept",
    "access-control-",
    "authorization",
    "cache-",
    "content-",
    "if-",
    "priority",
    "proxy-",
    "sec-",
    "transfer-",
    "upgrade",
    "x-",
];

fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0B
}

/// What a method may consist of (RFC 9110, 5.6.2); a page may have one of its own.
fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// Looked up, since every request is looked at.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut place = 0;
    while place < others.len() {
        table[others[place] as usize] = true;
        place += 1;
    }
    table
};

fn is_request_line(method: &[u8], rest: &[u8], commands: &[&str]) -> bool {
    let is_in = |names: &[&str]| names.iter().any(|name| is(method, name));
    let is_own = is_in(commands);
    if !is_own && is_in(METHODS) {
        return true;
    }
    // Of this line: what the next one begins with is no target.
    let blanks = rest.iter().take_while(|byte| is_blank(**byte) && **byte != b'\n').count();
    let target = &rest[blanks..];
    let is_target = match target.first() {
        Some(b'/' | b'*') => true,
        Some(_) => ["http:", "https:", "ws:"].iter().any(|scheme| begins(target, scheme)),
        None => false,
    };
    if commands.is_empty() || !(is_own || is_target) {
        return is_target;
    }
    let line = &target[..target.len().min(MAX_LINE_BYTES)];
    let Some(end) = memchr(b'\n', line) else { return false };
    let line = line[..end].trim_ascii_end();
    let version = line.iter().rposition(|byte| is_blank(*byte)).map(|blank| &line[blank + 1..]);
    version.is_some_and(|version| {
        let is_number = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
        begins(version, "HTTP/") && version[5..].iter().all(is_number)
    })
}

fn is_header(name: &[u8], after: Option<u8>) -> bool {
    let known = HEADERS.iter().any(|header| is(name, header))
        || HEADER_FAMILIES.iter().any(|family| begins(name, family));
    known && (after.is_some_and(is_blank) || is(name, "host"))
}

fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

fn begins(text: &[u8], with: &str) -> bool {
    text.get(..with.len()).is_some_and(|start| is(start, with))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which commands gateways have in common with HTTP: `json` and `lottery-text`, `resp`, `nats`.
    const GATEWAYS: [&[&str]; 3] = [&[], &["GET"], &["CONNECT"]];

    #[test]
    fn what_browsers_send_is_http_at_every_gateway() {
        for request in [
            "POST / HTTP/1.1\r\nHost: x\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n",
            "GET /?;N{AgencyID:1}; HTTP/1.1\r\n",
            "GET /\"%20k HTTP/1.0\n",
            "GET http://127.0.0.1:11097/k HTTP/1.1\r\n",
            "HEAD /k HTTP/1.1\r\n",
            "PUT /k HTTP/1.1\r\n",
            "OPTIONS * HTTP/1.1\r\n",
            "PATCH /k HTTP/1.1\r\n",
            "patch /k HTTP/1.1\r\n",
            "DELETE /k HTTP/1.1\r\n",
            "SET /k HTTP/1.1\r\n",
            "!own /k HTTP/1.1\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "\r\n \nPOST / HTTP/1.1\r\n",
            "Host: x\r\n",
            "host:x\r\n",
            "Accept-Encoding: gzip\r\n",
            "Content-Type: text/plain;charset=UTF-8\r\n",
            "Sec-Fetch-Mode: no-cors\r\n",
            "\u{16}\u{3}\u{1}",
        ] {
            for commands in GATEWAYS {
                assert!(is_http(request.as_bytes(), commands), "{request:?}, {commands:?}");
            }
        }
    }

    #[test]
    fn a_method_and_a_blank_are_enough_where_no_command_is_like_it() {
        for commands in GATEWAYS {
            assert!(is_http(b"POST ", commands));
            assert!(!is_http(b"POST", commands), "it may be the beginning of a word");
        }
        assert!(is_http(b"GET ", &[]));
        assert!(is_http(b"own /", &[]));
        // A line is executed at its end, and not before.
        assert!(!is_http(b"GET /k HTTP/1.1", &["GET"]));
    }

    #[test]
    fn what_clients_send_is_not() {
        for (request, commands) in [
            ("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\nPOST\r\n", &["GET"][..]),
            ("GET k\r\n", &["GET"]),
            ("GET /k\r\n", &["GET"]),
            ("get \"/k HTTP/1.1\"\r\n", &["GET"]),
            ("GET HTTP/1.1\r\n", &["GET"]),
            ("SET k HTTP/1.1\r\n", &["GET"]),
            ("SET /k v\r\n", &["GET"]),
            ("PING\r\n", &["GET"]),
            ("host:1 x\r\n", &[]),
            ("CONNECT {\"name\":\"x HTTP/1.1\"}\r\n", &["CONNECT"]),
            ("PUB /x 5\r\nPOST \r\n", &["CONNECT"]),
            ("SUB * 1\r\n", &["CONNECT"]),
            ("{\"put\":{\"key\":\"POST / HTTP/1.1\"}}", &[]),
            ("B{PlayerName:Host: x,", &[]),
            ("user:1\r\n", &[]),
            ("x-:", &[]),
            ("", &[]),
        ] {
            let expected = request.starts_with("host:");
            assert_eq!(is_http(request.as_bytes(), commands), expected, "{request:?}");
        }
    }

    #[test]
    fn a_line_under_way_is_looked_at_to_its_longest() {
        let mut long = Vec::from(&b"GET /"[..]);
        long.resize(MAX_LINE_BYTES + 10, b'x');
        long.extend_from_slice(b" HTTP/1.1\r\n");
        assert!(!is_http(&long, &["GET"]), "the gateway ends it for its length");
        assert!(is_http(&long, &[]));
    }

    use alloc::vec::Vec;
}
