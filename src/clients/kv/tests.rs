//! `node kv` from its arguments and input to its lines and exit codes.

use super::*;
use crate::client::testing::{Answer, FakeNode, LONG_MS, with_more_time};
use clap::Parser;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    kv: KvArgs,
}

struct Ran {
    exit: Exit,
    out: String,
    err: String,
}

fn kv(args: &[&str], input: &str) -> Ran {
    let mut args = Cli::try_parse_from([&["kv"], args].concat()).unwrap().kv;
    if args.timeout_ms == 10_000 {
        // The default is for people.
        args.timeout_ms = LONG_MS;
    }
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = run_with(&args, input.as_bytes(), &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { exit, out: text(out), err: text(err) }
}

/// A node that gives every request the same answer.
fn answering(reply: Reply<'static>) -> FakeNode {
    FakeNode::start(move |_| Answer::Reply(reply.clone()))
}

fn nobody() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn the_documents_session_prints_the_documents_lines() {
    let node = FakeNode::store();
    let at = node.addr.to_string();
    let input = format!(
        "init\n{at}\n{at}\r\n{at}\nPUT\nnome\nJosé da Silva\n2\nnome\nAna\n3\nnome\nget\nx\n"
    );
    let ran = kv(&[], &input);
    assert_eq!(ran.exit, Exit::Done);
    assert_eq!(
        ran.out,
        format!(
            "PUT_OK key: nome value José da Silva timestamp 1 realizada no servidor {at}\n\
             PUT_OK key: nome value Ana timestamp 2 realizada no servidor {at}\n\
             GET key: nome value: Ana obtido do servidor {at}, meu timestamp 2 e do servidor 2\n\
             GET key: x value: NULL obtido do servidor {at}, meu timestamp 0 e do servidor 0\n"
        )
    );
    assert!(
        ran.err.starts_with("\n1) INIT\n2) PUT\n3) GET\n> Server 1 IP:port [127.0.0.1:10097]: ")
    );
}

#[test]
fn a_server_that_is_behind_is_told_by_its_line() {
    // Two stores that do not replicate: whoever did not take the PUT is behind.
    let ahead = FakeNode::store();
    let dir = tempfile::tempdir().unwrap();
    let session = dir.path().join("s.json");
    let session = ["--session", session.to_str().unwrap(), "--server"];
    let run = |at: &str, args: &[&str]| kv(&[&session[..], &[at], args].concat(), "");
    run(&ahead.addr.to_string(), &["put", "k", "a"]);
    run(&ahead.addr.to_string(), &["put", "k", "b"]);
    let behind = FakeNode::store().addr.to_string();
    let ran = run(&behind, &["get", "k"]);
    assert_eq!(ran.exit, Exit::TryOther);
    assert_eq!(
        ran.out,
        format!(
            "GET key: k value: TRY_OTHER_SERVER_OR_LATER obtido do servidor {behind}, \
             meu timestamp 2 e do servidor 0\n"
        )
    );
    // It gets as far as 1, and still is.
    kv(&["--server", &behind, "put", "k", "a"], "");
    let ran = run(&behind, &["get", "k", "--json"]);
    assert_eq!(ran.exit, Exit::TryOther);
    assert_eq!(
        ran.out,
        format!(
            "{{\"op\":\"get\",\"key\":\"k\",\"outcome\":\"try_other\",\"timestamp\":1,\
             \"known\":2,\"server\":\"{behind}\"}}\n"
        )
    );
}

#[test]
fn init_comes_first_unless_servers_are_given() {
    let ran = kv(&[], "2\nGET\nnonsense\n");
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Done, ""));
    assert_eq!(ran.err.matches("Run INIT first").count(), 2);
    assert_eq!(ran.err.matches("Type 1, 2 or 3").count(), 1);
    let at = FakeNode::store().addr.to_string();
    let ran = kv(&["--servers", &format!("{at},{at}")], "get\nk");
    assert!(ran.out.starts_with("GET key: k value: NULL"), "{}", ran.out);
    assert_eq!(kv(&[], "").exit, Exit::Done);
}

#[test]
fn init_asks_again_for_what_is_no_address_and_offers_defaults() {
    let ran = kv(&[], "1\nrubbish\x1b\n\n\n\n");
    assert!(ran.err.contains("\"rubbish\\u{1b}\" is no server address"), "{}", ran.err);
    for offered in DEFAULT_SERVERS {
        assert!(ran.err.contains(&format!("[{offered}]: ")), "{}", ran.err);
    }
}

#[test]
fn a_menu_survives_errors_and_says_whether_a_put_may_take_effect() {
    let closes = FakeNode::start(|_| Answer::Close).addr.to_string();
    let ran = kv(&["--server", &closes], "put\nk\nv\nget\nk\n");
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Done, ""));
    assert!(ran.err.contains("PUT of key k may still take effect: "), "{}", ran.err);
    assert!(ran.err.contains("GET of key k failed: "), "{}", ran.err);
}

#[test]
fn control_codes_never_reach_the_terminal() {
    let reply = Reply::Value { value: "a\x1b[2J\u{9b}\n".into(), timestamp: Timestamp(1) };
    let at = answering(reply).addr.to_string();
    let ran = kv(&["--server", &at, "get", "k\r"], "");
    assert!(
        ran.out.starts_with("GET key: k\\r value: a\\u{1b}[2J\\u{9b}\\n obtido"),
        "{}",
        ran.out
    );
    let ran = kv(&["--server", &at, "--json", "get", "k\x7f\u{202e}"], "");
    let expected =
        r#"{"op":"get","key":"k\u007f\u202e","outcome":"ok","value":"a\u001b[2J\u009b\n","#;
    assert!(ran.out.starts_with(expected), "{}", ran.out);
    let refusal = Reply::NotApplied { reason: "\x1b]0;x".into() };
    let ran = kv(&["--server", &answering(refusal).addr.to_string(), "put", "k", "v"], "");
    assert!(ran.err.contains("was not applied: \\u{1b}]0;x. It is safe"), "{}", ran.err);
}

#[test]
fn bytes_that_are_no_text_are_shown_and_kept() {
    let reply = Reply::Value { value: (&[0xffu8, b'a']).into(), timestamp: Timestamp(9) };
    let at = answering(reply).addr.to_string();
    let ran = kv(&["--server", &at, "get", "k"], "");
    assert!(ran.out.starts_with("GET key: k value: \\xffa obtido"), "{}", ran.out);
    let ran = kv(&["--server", &at, "get", "k", "--json"], "");
    assert!(ran.out.contains("\"value_hex\":\"ff61\""), "{}", ran.out);
}

#[test]
fn each_outcome_of_a_script_has_its_exit_code() {
    let timestamp = Timestamp(3);
    let cases = [
        (Reply::PutOk { timestamp }, Exit::Done, Exit::Failed),
        (Reply::Value { value: "v".into(), timestamp }, Exit::MayStillApply, Exit::Done),
        (Reply::Null {}, Exit::MayStillApply, Exit::Absent),
        (Reply::TryOtherServerOrLater { timestamp }, Exit::MayStillApply, Exit::TryOther),
        (Reply::NotApplied { reason: "full".into() }, Exit::NotApplied, Exit::Failed),
        (Reply::MayStillApply { reason: "late".into() }, Exit::MayStillApply, Exit::Failed),
    ];
    for (reply, put, get) in cases {
        let at = answering(reply.clone()).addr.to_string();
        assert_eq!(kv(&["--server", &at, "put", "k", "v"], "").exit, put, "PUT: {reply:?}");
        assert_eq!(kv(&["--server", &at, "get", "k"], "").exit, get, "GET: {reply:?}");
    }
    assert_eq!([Exit::Done as u8, Exit::MayStillApply as u8, Exit::Failed as u8], [0, 4, 5]);
}

#[test]
fn nobody_there_is_told_and_nothing_was_sent() {
    let ran =
        kv(&["--servers", &format!("{},{}", nobody(), nobody()), "put", "k", "v", "--json"], "");
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.contains("; trying 127.0.0.1:"), "{}", ran.err);
    assert!(ran.err.contains("was sent to no server and has no effect"), "{}", ran.err);
    assert!(ran.out.contains("\"outcome\":\"unreachable\""), "{}", ran.out);
}

#[test]
fn a_put_without_an_answer_in_time_may_still_take_effect() {
    let at = FakeNode::start(|_| Answer::Silence).addr.to_string();
    with_more_time(30, |ms| {
        let ran = kv(&["--server", &at, "--timeout-ms", &ms.to_string(), "put", "k", "v"], "");
        let is_told = ran.err.contains("GET the key and see before you try again");
        let is_so = is_told && (ran.exit, ran.out.as_str()) == (Exit::MayStillApply, "");
        if is_so { Ok(()) } else { Err(ran.err) }
    });
}

#[test]
fn what_is_too_long_is_not_applied() {
    let at = FakeNode::store().addr.to_string();
    let long = "x".repeat(crate::client::MAX_FRAME_BYTES);
    assert_eq!(kv(&["--server", &at, "put", "k", &long], "").exit, Exit::NotApplied);
    let ran = kv(&["--server", &at], &format!("put\nk\n{long}\n"));
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.contains("a line of input is longer than"), "{}", ran.err);
}

#[test]
fn a_result_that_cannot_be_printed_is_told_on_stderr() {
    struct Unwritten(io::ErrorKind);
    impl Write for Unwritten {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let at = FakeNode::store().addr.to_string();
    let args = Cli::try_parse_from(["kv", "--server", &at, "put", "-5", "-7.5"]).unwrap().kv;
    let mut err = Vec::new();
    let mut full = Unwritten(io::ErrorKind::StorageFull);
    assert_eq!(run_with(&args, io::empty(), &mut full, &mut err), Exit::Failed);
    let err = String::from_utf8(err).unwrap();
    assert!(err.contains("the outcome is ok, and it cannot be printed"), "{err}");
    // Whoever read it has gone, and does not want to know.
    let (mut gone, mut err) = (Unwritten(io::ErrorKind::BrokenPipe), Vec::new());
    assert_eq!(run_with(&args, io::empty(), &mut gone, &mut err), Exit::Done);
    assert_eq!(err, b"");
}

#[test]
fn a_damaged_session_stops_before_anything_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("s.json");
    std::fs::write(&file, "not json").unwrap();
    let node = FakeNode::start(|_| panic!("nothing may arrive"));
    let (at, session) = (node.addr.to_string(), file.to_str().unwrap());
    let ran = kv(&["--server", &at, "--session", session, "put", "k", "v"], "");
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.contains("is damaged"), "{}", ran.err);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "not json");
}

#[test]
fn info_asks_every_server() {
    let text = r#"{"node":1,"leader":1,"epoch":4,"complete":true,"applied":7,"keys":2,
        "table_digest":"00ff","followers":{"2":{"up":false,"acked":6}},"counters":{"idle":0,"puts":7}}"#;
    let node = answering(Reply::Info(serde_json::from_str(text).unwrap()));
    let (at, gone) = (node.addr.to_string(), nobody());
    let ran = kv(&["info", "--servers", &format!("{at},{gone}")], "");
    assert_eq!(ran.exit, Exit::Failed);
    let lines = format!(
        "{at}: node 1, leader, complete\n  epoch 4, applied 7, keys 2, table 00ff\n  \
         follower 2: DOWN, has every PUT up to 6\n  puts 7\n{gone}: no answer: "
    );
    assert!(ran.out.starts_with(&lines), "{}", ran.out);
    let ran = kv(&["info", "--json", "--server", &at], "");
    assert_eq!(ran.exit, Exit::Done);
    let line: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(line["server"], at);
    assert_eq!(line["followers"]["2"]["acked"], 6);
}

#[test]
fn the_help_names_every_exit_code() {
    use clap::CommandFactory;
    let help = Cli::command().render_long_help().to_string();
    for code in 0..=5 {
        assert!(help.contains(&format!("\n  {code}  ")), "{help}");
    }
    Cli::command().debug_assert();
}
