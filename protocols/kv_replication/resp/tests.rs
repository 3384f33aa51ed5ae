//! Tests of the RESP gateway: bytes in, bytes out.

use super::parse::{MAX_ARGUMENTS, MAX_LINE_BYTES};
use super::*;
use alloc::format;
use alloc::string::String;

fn decode(input: &[u8], idle: bool) -> (Decoded<Request<'_>>, String) {
    let mut output = Vec::new();
    let decoded = Resp::default().decode(input, idle, &mut output);
    (decoded, String::from_utf8(output).expect("answers are text"))
}

/// What a connection is answered, line by line, when every key that begins with `k` has the value
/// `value`, those that begin with `b` are behind, and there are 3 keys.
fn talk(session: &mut Resp, input: &[u8]) -> String {
    let (mut output, mut rest) = (Vec::new(), input);
    while !rest.is_empty() {
        let step = match session.decode(rest, true, &mut output) {
            Decoded::Request { used, request } => {
                let reply = match request {
                    Request::Put { .. } => Reply::PutOk { timestamp: Timestamp(1) },
                    Request::Get { key, .. } => match key.first() {
                        Some(b'k') => {
                            Reply::Value { value: "value".into(), timestamp: Timestamp(1) }
                        }
                        Some(b'b') => Reply::TryOtherServerOrLater { timestamp: Timestamp(0) },
                        _ => Reply::Null {},
                    },
                    Request::Info {} => Reply::Info(info()),
                };
                session.encode(reply, &mut output);
                used
            }
            Decoded::Answered { used } => used,
            other => panic!("{other:?} to {}", String::from_utf8_lossy(rest)),
        };
        rest = &rest[step..];
    }
    String::from_utf8(output).expect("answers are text")
}

fn info() -> super::super::Info<'static> {
    let info = r#"{"node":2,"leader":1,"epoch":1,"complete":true,"applied":3,"keys":3,
                   "table_digest":"0","followers":{},"counters":{}}"#;
    serde_json::from_str(info).expect("an INFO")
}

const SET: &[u8] = b"*3\r\n$3\r\nSeT\r\n$2\r\nk\n\r\n$4\r\n\r\n\xff!\r\n";

#[test]
fn a_set_cut_at_every_byte_is_incomplete_and_whole_is_a_put() {
    for cut in 0..SET.len() {
        assert!(matches!(decode(&SET[..cut], true).0, Decoded::Incomplete), "at {cut}");
    }
    let (Decoded::Request { used, request: Request::Put { key, value } }, _) = decode(SET, false)
    else {
        panic!("a SET is a PUT");
    };
    assert_eq!((used, &key[..], &value[..]), (SET.len(), &b"k\n"[..], &b"\r\n\xff!"[..]));
}

#[test]
fn a_get_waits_for_what_was_sent_before_it() {
    let get = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    assert!(matches!(decode(get, false).0, Decoded::Wait));
    assert!(matches!(decode(get, true).0, Decoded::Request { .. }));
    assert!(matches!(decode(b"PING\r\n", false).0, Decoded::Wait));
    // And is the same command when it is looked at again, with more behind it.
    let mut session = Resp::default();
    let mut output = Vec::new();
    for (line, used) in [(&get[..], get.len()), (b"GET \"k\"\r\n", 9)] {
        assert!(matches!(session.decode(line, false, &mut output), Decoded::Wait));
        let longer = [line, b"PING\r\n"].concat();
        let Decoded::Request { used: took, request: Request::Get { key, .. } } =
            session.decode(&longer, true, &mut output)
        else {
            panic!("a GET is a request");
        };
        assert_eq!((took, &key[..]), (used, &b"k"[..]));
        session.encode(Reply::Null {}, &mut output);
    }
}

#[test]
fn gets_are_pipelined_until_a_set_that_they_must_see() {
    let mut session = Resp::default();
    let mut output = Vec::new();
    let takes = |session: &mut Resp, line: &'static [u8], idle| {
        matches!(session.decode(line, idle, &mut Vec::new()), Decoded::Request { .. })
    };
    assert!(takes(&mut session, b"GET a\r\n", true));
    assert!(takes(&mut session, b"get b\r\n", false), "its answer cannot be older");
    assert!(!takes(&mut session, b"MGET a b\r\n", false));
    session.parser.reset();
    assert!(takes(&mut session, b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nv\r\n", false));
    assert!(!takes(&mut session, b"GET a\r\n", false), "it must see the SET");
    session.parser.reset();
    session.encode(Reply::Null {}, &mut output);
    session.encode(Reply::Value { value: Bytes::new(b"v"), timestamp: Timestamp(3) }, &mut output);
    assert!(!takes(&mut session, b"GET a\r\n", false), "the SET is not answered");
    session.parser.reset();
    session.encode(Reply::PutOk { timestamp: Timestamp(7) }, &mut output);
    assert!(takes(&mut session, b"GET a\r\n", true));
    assert_eq!(output, b"$-1\r\n$1\r\nv\r\n+OK\r\n");
}

#[test]
fn a_get_carries_what_the_connection_has_seen() {
    let mut session = Resp::default();
    let mut output = Vec::new();
    session.encode(Reply::PutOk { timestamp: Timestamp(7) }, &mut output);
    assert!(matches!(session.decode(b"GET k\r\n", true, &mut output), Decoded::Request { .. }));
    session.encode(Reply::Value { value: Bytes::new(b"v"), timestamp: Timestamp(3) }, &mut output);
    assert_eq!(output, b"+OK\r\n$1\r\nv\r\n");
    let Decoded::Request { request: Request::Get { applied, .. }, .. } =
        session.decode(b"GET k\r\n", true, &mut output)
    else {
        panic!("a GET is a request");
    };
    assert_eq!(applied, Timestamp(7));
}

#[test]
fn commands_are_answered_as_redis_does() {
    for (input, answer) in [
        (&b"PING\r\n"[..], "+PONG\r\n"),
        (b"*2\r\n$4\r\nping\r\n$2\r\nhi\r\n", "$2\r\nhi\r\n"),
        (b"PING a b\r\n", "-ERR wrong number of arguments for 'ping' command\r\n"),
        (b"ECHO x\r\n", "$1\r\nx\r\n"),
        (b"ECHO \"x y\"\r\n", "$3\r\nx y\r\n"),
        (b"ECHO\r\n", "-ERR wrong number of arguments for 'echo' command\r\n"),
        (b"GET k\r\n", "$5\r\nvalue\r\n"),
        (b"GET n\r\n", "$-1\r\n"),
        (b"GET b\r\n", "-TRYAGAIN this server is behind; try again, or another server\r\n"),
        (b"GET k k\r\n", "-ERR wrong number of arguments for 'get' command\r\n"),
        (b"MGET k n k\r\n", "*3\r\n$5\r\nvalue\r\n$-1\r\n$5\r\nvalue\r\n"),
        (b"MGET b k\r\n", "-TRYAGAIN this server is behind; try again, or another server\r\n"),
        (
            b"MGET k b\r\n",
            "*2\r\n$5\r\nvalue\r\n-TRYAGAIN this server is behind; try again, or another server\r\n",
        ),
        (b"EXISTS k n k\r\n", ":2\r\n"),
        (b"EXISTS k b k\r\n", "-TRYAGAIN this server is behind; try again, or another server\r\n"),
        (b"STRLEN k\r\n", ":5\r\n"),
        (b"STRLEN n\r\n", ":0\r\n"),
        (b"TYPE k\r\n", "+string\r\n"),
        (b"TYPE n\r\n", "+none\r\n"),
        (b"DBSIZE\r\n", ":3\r\n"),
        (b"SELECT 0\r\n", "+OK\r\n"),
        (b"SELECT 1\r\n", "-ERR DB index is out of range\r\n"),
        (b"SET k v\r\n", "+OK\r\n"),
        (b"SET k v EX 5\r\n", "-ERR syntax error: SET takes no options here\r\n"),
        (b"SET k v NX\r\n", "-ERR syntax error: SET takes no options here\r\n"),
        (b"SET k\r\n", "-ERR wrong number of arguments for 'set' command\r\n"),
        (b"DE\x1bL k\r\n", "-ERR unknown command 'DE\\u{1b}L'\r\n"),
        (b"CONFIG GET save\r\n", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n"),
        (b"CONFIG GET maxmemory\r\n", "*0\r\n"),
        (
            b"CONFIG SET save x\r\n",
            "-ERR unknown subcommand or wrong number of arguments for 'config SET'\r\n",
        ),
        (b"CLIENT SETINFO LIB-NAME x\r\n", "+OK\r\n"),
        (b"CLIENT GETNAME\r\n", "$-1\r\n"),
        (b"CLIENT SETNAME me\r\nCLIENT GETNAME\r\n", "+OK\r\n$2\r\nme\r\n"),
        (
            b"CLIENT REPLY OFF\r\n",
            "-ERR unknown subcommand or wrong number of arguments for 'client REPLY'\r\n",
        ),
        (b"COMMAND COUNT\r\n", ":23\r\n"),
        (
            b"COMMAND DOCS get nothing\r\n",
            "*2\r\n$3\r\nget\r\n*6\r\n$7\r\nsummary\r\n$27\r\nReturns the value of a key.\r\n\
             $5\r\nsince\r\n$5\r\n1.0.0\r\n$5\r\ngroup\r\n$6\r\nstring\r\n",
        ),
        (
            b"COMMAND INFO get nothing\r\n",
            "*2\r\n*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n\
             *0\r\n*0\r\n*0\r\n*0\r\n*-1\r\n",
        ),
        (b"RESET\r\n", "+RESET\r\n"),
        (b"\r\n*0\r\n", ""),
    ] {
        let shown = String::from_utf8_lossy(input);
        assert_eq!(talk(&mut Resp::default(), input), answer, "{shown}");
    }
    let said = talk(&mut Resp::default(), b"INFO server\r\n");
    assert!(said.contains("\r\nredis_version:7.0.0\r\nredis_mode:standalone\r\n"), "{said}");
}

#[test]
fn hello_has_redis_fields_in_their_order_and_its_options() {
    let mut session = Resp::default();
    session.identify(ClientId { slot: 4, generation: 0 });
    let fields = |proto: u8| {
        format!(
            "$6\r\nserver\r\n$4\r\nnode\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$5\r\nproto\r\n:{proto}\r\n\
             $2\r\nid\r\n:5\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n\
             $7\r\nmodules\r\n*0\r\n"
        )
    };
    assert_eq!(talk(&mut session, b"HELLO 2\r\n"), format!("*14\r\n{}", fields(2)));
    assert_eq!(talk(&mut session, b"HELLO\r\n"), format!("*14\r\n{}", fields(2)));
    let password = "ERR AUTH <password> called without any password configured for the default user. \
                    Are you sure your configuration is correct?";
    for (line, why) in [
        ("HELLO 3 AUTH bob secret", password),
        ("HELLO 3 SETNAME x AUTH bob secret", password),
        ("AUTH secret", password),
        ("AUTH bob secret", password),
        ("HELLO 3 FOO bar", "ERR Syntax error in HELLO option 'FOO'"),
        ("HELLO 3 AUTH", "ERR Syntax error in HELLO option 'AUTH'"),
        ("HELLO 3 AUTH bob", "ERR Syntax error in HELLO option 'AUTH'"),
        ("HELLO 3 SETNAME", "ERR Syntax error in HELLO option 'SETNAME'"),
        ("HELLO 9", "NOPROTO unsupported protocol version"),
        ("HELLO 1", "NOPROTO unsupported protocol version"),
        ("HELLO x", "ERR Protocol version is not an integer or out of range"),
        ("HELLO AUTH bob secret", "ERR Protocol version is not an integer or out of range"),
    ] {
        let said = talk(&mut session, format!("{line}\r\n").as_bytes());
        assert_eq!(said, format!("-{why}\r\n"), "{line}");
        // Nothing of it has happened.
        assert_eq!(talk(&mut session, b"CLIENT GETNAME\r\n"), "$-1\r\n", "{line}");
    }
    let named = talk(&mut session, b"HELLO 3 SETNAME me\r\n");
    assert_eq!(named, format!("%7\r\n{}", fields(3)));
    let said = talk(&mut session, b"CLIENT GETNAME\r\nGET n\r\nCONFIG GET save\r\n");
    assert_eq!(said, "$2\r\nme\r\n_\r\n%1\r\n$4\r\nsave\r\n$0\r\n\r\n");
    assert_eq!(talk(&mut session, b"RESET\r\nGET n\r\n"), "+RESET\r\n$-1\r\n");
}

#[test]
fn ids_of_connections_are_unique() {
    let ids = [(0, 0), (1, 0), (0, 1), (999_999, u32::MAX)].map(|(slot, generation)| {
        let mut session = Resp::default();
        session.identify(ClientId { slot, generation });
        talk(&mut session, b"CLIENT ID\r\n")
    });
    assert_eq!(ids, [":1\r\n", ":2\r\n", ":2097153\r\n", ":9007199253643840\r\n"]);
}

#[test]
fn after_multi_nothing_is_executed_until_it_ends() {
    let refused = "-ERR this store has no transactions, and executes nothing between MULTI and EXEC: \
                   send the commands without them (redis-py: pipeline(transaction=False))\r\n";
    let mut session = Resp::default();
    let mut output = Vec::new();
    assert_eq!(talk(&mut session, b"MULTI\r\n"), "+OK\r\n");
    for line in [SET, b"SET k v\r\n", b"GET k\r\n", b"INFO\r\n", b"DEL k\r\n", b"WATCH k\r\n"] {
        let step = session.decode(line, true, &mut output);
        assert!(matches!(step, Decoded::Answered { used } if used == line.len()), "{step:?}");
        assert_eq!(output, refused.as_bytes());
        output.clear();
    }
    assert_eq!(talk(&mut session, b"MULTI\r\n"), "-ERR MULTI calls can not be nested\r\n");
    let aborted = "-EXECABORT Transaction discarded because of previous errors.\r\n";
    assert_eq!(talk(&mut session, b"exec\r\nSET k v\r\n"), format!("{aborted}+OK\r\n"));
    assert_eq!(talk(&mut session, b"MULTI\r\nEXEC\r\n"), "+OK\r\n*0\r\n");
    let said = talk(&mut session, b"MULTI\r\nSET k v\r\nDISCARD\r\nSET k v\r\n");
    assert_eq!(said, format!("+OK\r\n{refused}+OK\r\n+OK\r\n"));
    assert_eq!(talk(&mut session, b"MULTI\r\nRESET\r\nSET k v\r\n"), "+OK\r\n+RESET\r\n+OK\r\n");
    let said = talk(&mut session, b"EXEC\r\nDISCARD\r\n");
    assert_eq!(said, "-ERR EXEC without MULTI\r\n-ERR DISCARD without MULTI\r\n");
    assert_eq!(talk(&mut session, b"WATCH k\r\n"), refused);
    // A SET does not overtake the MULTI before it.
    assert!(matches!(session.decode(b"MULTI\r\n", false, &mut output), Decoded::Wait));
}

/// All keys of a command may be asked for before the first is answered, and SETs behind it too.
#[test]
fn keys_are_asked_for_one_by_one_and_answered_as_one() {
    let mut session = Resp::default();
    let mut output = Vec::new();
    let input = b"*4\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n";
    for (key, took) in [(b"a", 0), (b"b", 0), (b"c", input.len())] {
        let Decoded::Request { used, request: Request::Get { key: asked, .. } } =
            session.decode(input, key == b"a", &mut output)
        else {
            panic!("{key:?} is asked for");
        };
        assert_eq!((used, &asked[..]), (took, &key[..]));
    }
    assert!(matches!(session.decode(SET, false, &mut output), Decoded::Request { .. }));
    assert!(matches!(session.decode(b"GET a\r\n", false, &mut output), Decoded::Wait));
    for _ in 0..3 {
        session.encode(Reply::Null {}, &mut output);
    }
    session.encode(Reply::PutOk { timestamp: Timestamp(1) }, &mut output);
    assert_eq!(output, b"*3\r\n$-1\r\n$-1\r\n$-1\r\n+OK\r\n");
}

#[test]
fn what_is_no_resp_ends_the_connection_with_a_reason() {
    let long_line = [b'x'; MAX_LINE_BYTES];
    let many_words = b"x ".repeat(MAX_ARGUMENTS + 1);
    let many_words = [&many_words[..], b"\r\n"].concat();
    for input in [
        &b"*2000\r\n"[..],
        b"*1\r\n:3\r\n",
        b"*x\r\n",
        b"*\r\n",
        b"*1\r\n$99999999999999999999999999\r\n",
        b"*00000000000000000000000000000000",
        b"*1\r\n$1\r\nabc",
        b"SET k \"v\r\n",
        b"SET k 'v'x\r\n",
        &long_line,
        &many_words,
    ] {
        let (decoded, said) = decode(input, true);
        assert!(matches!(decoded, Decoded::Close { reason: Some(_) }), "{input:?}");
        assert!(said.starts_with("-ERR Protocol error: "), "{said}");
    }
    assert!(matches!(decode(b"QUIT\r\n", true).0, Decoded::Close { reason: None }));
}

#[test]
fn inline_get_is_a_command_and_a_browsers_get_is_not() {
    let session = Resp::default();
    assert!(!session.is_http(b"GET k\r\n"));
    assert!(session.is_http(b"GET /k HTTP/1.1\r\n"));
    assert!(session.is_http(b"POST "));
}
