//! Configs as a user meets them: what `node check` and `node --config` say of right and wrong
//! ones, and the exit codes.

mod common;

use common::clients::{Resp, ok, set};
use common::{Cluster, LONG, Node, Setup, free_port, local, wait_until};
use node_lab::config::Config;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn node(args: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    command.args(args).current_dir(dir).env_remove("NODE_LOG").output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("what the node says is text")
}

/// All configs of nodes of the tree. Those of the simulator are scenarios, and have tests of their
/// own.
fn configs(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.ends_with("configs/sim") {
            continue;
        }
        if path.is_dir() {
            found.extend(configs(&path));
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What `node check` prints of a file that is right, without the comment that names the file.
fn resolved(path: &Path) -> String {
    let output = node(&["check", path.to_str().expect("a name")], path.parent().expect("a folder"));
    assert!(output.status.success(), "{}: {}", path.display(), text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    let printed = text(&output.stdout);
    let (comment, rest) = printed.split_once('\n').expect("lines");
    assert_eq!(comment, format!("# {}", path.display()));
    rest.trim_end().to_string()
}

#[test]
fn every_config_of_the_tree_is_right_and_resolves_to_itself() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let configs = configs(&folder);
    assert!(configs.len() >= 3, "{configs:?}");
    let dir = tempfile::tempdir().unwrap();
    for path in configs {
        let once = resolved(&path);
        let copy = dir.path().join("copy.toml");
        fs::write(&copy, &once).unwrap();
        assert_eq!(resolved(&copy), once, "{}", path.display());
        assert_eq!(load(&copy), load(&path), "{}", path.display());
    }
}

/// Everything that a config says, as the program sees it.
fn load(path: &Path) -> String {
    let config = Config::load(path, &node_studies::registry()).expect("it is right");
    let Config {
        id, name, cluster, data_dir, console, lamport_rule, clock, peers, listeners, ..
    } = &config;
    let node =
        format!("{id} {name:?} {cluster:?} {data_dir:?} {console} {lamport_rule:?} {clock:?}");
    format!("{node} {peers:?} {listeners:?} {:?} {:?}", config.limits, config.protocols)
}

const RIGHT: &str = r#"[node]
id = 2
cluster = "c"

[peers]
1 = "127.0.0.1:10097"
3 = "[::1]:10099"

[[listeners]]
addr = "127.0.0.1:10098"

[limits]
max_clients = 10

[protocols.kv_replication]
leader = 1
durability = "memory"
"#;

#[test]
fn strings_of_any_kind_resolve_to_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    let odd = r#"name = "o'leary \"é\" \\"
cluster = "a\u001b\u0000'\"\\\n é \u202e"
data_dir = "x\t'\u0007""#;
    fs::write(&path, RIGHT.replace("cluster = \"c\"", odd)).unwrap();
    let copy = dir.path().join("copy.toml");
    fs::write(&copy, resolved(&path)).unwrap();
    assert_eq!(load(&copy), load(&path));
    assert!(!resolved(&path).contains('\u{1b}'), "what is printed is escaped");
}

#[test]
fn nodes_made_of_one_config_have_names_of_their_own() {
    let named = RIGHT.replace("id = 2", "id = 2\nname = \"server\"");
    for (text, expected) in [(RIGHT, [None, None]), (&named, [Some("server 1"), Some("server 2")])]
    {
        let config = Config::parse(Path::new("one"), text.to_string(), &node_studies::registry());
        let nodes = config.expect("it is right").multiply(2);
        let names: Vec<Option<&str>> = nodes.iter().map(|node| node.name.as_deref()).collect();
        assert_eq!(names, expected);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_wrong_config_is_told_by_file_line_key_value_and_rule() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("node.toml"), RIGHT).unwrap();
    assert!(node(&["check", "node.toml"], dir.path()).status.success());
    let address = "a peer needs an address, such as \"127.0.0.1:10098\"";
    for (right, wrong, told) in [
        // Unknown keys, at every level.
        (
            "id = 2",
            "id = 2\ncolour = \"red\"",
            "3: node.colour = \"red\": unknown field `colour`, expected one of `id`, `name`, `cluster`, `data_dir`, `sync`, `console`, `lamport_rule`, `clock_offset_ms`, `clock_drift_ppm`",
        ),
        (
            "[limits]",
            "[colours]\nred = 1\n[limits]",
            "12: colours: unknown field `colours`, expected one of `node`, `peers`, `listeners`, `limits`, `protocols`",
        ),
        (
            "addr = \"127.0.0.1:10098\"",
            "addr = \"127.0.0.1:10098\"\nport = 1",
            "11: listeners.0.port = 1: unknown field `port`, expected one of `addr`, `gateway`, `protocol`",
        ),
        (
            "leader = 1",
            "leader = 1\nleadr = 1",
            "17: protocols.kv_replication.leadr = 1: unknown field `leadr`, expected one of `leader`, `durability`, `put_timeout_ms`, `resend_after_ms`, `max_key_bytes`, `max_value_bytes`, `max_pending_puts`, `max_log_bytes`, `chunk_bytes`",
        ),
        // Values out of bounds, or of the wrong kind.
        (
            "max_clients = 10",
            "max_clients = 0",
            "13: limits.max_clients = 0: it must be 1 to 1000000",
        ),
        (
            "max_clients = 10",
            "max_clients = -1",
            "13: limits.max_clients = -1: invalid value: integer `-1`, expected u64",
        ),
        (
            "max_clients = 10",
            "max_clients = \"many\"",
            "13: limits.max_clients = \"many\": invalid type: string \"many\", expected u64",
        ),
        (
            "max_clients = 10",
            "max_frame_bytes = 65536",
            "13: limits.max_frame_bytes = 65536: it must be 16777216 to 1073741824",
        ),
        (
            "max_clients = 10",
            "max_link_queue_bytes = 1048576",
            "13: limits.max_link_queue_bytes = 1048576: it must be 33554432 to 1099511627776",
        ),
        (
            "id = 2",
            "id = 4294967296",
            "2: node.id = 4294967296: invalid value: integer `4294967296`, expected u32",
        ),
        ("cluster = \"c\"", "cluster = \"\"", "3: node.cluster = \"\": it must have 1 to 64 bytes"),
        (
            "cluster = \"c\"",
            "name = \"\"",
            "3: node.name = \"\": it must be 1 to 32 bytes of printable text, with no space at either end",
        ),
        (
            "cluster = \"c\"",
            "name = \"broker\\u001b[2J\"",
            "3: node.name = \"broker\\u001b[2J\": it must be 1 to 32 bytes of printable text, with no space at either end",
        ),
        (
            "cluster = \"c\"",
            "name = \"the one whose name is far too long\"",
            "3: node.name = \"the one whose name is far too long\": it must be 1 to 32 bytes of printable text, with no space at either end",
        ),
        (
            "cluster = \"c\"",
            "lamport_rule = \"min\"",
            "3: node.lamport_rule = \"min\": unknown variant `min`, expected `max_plus_one` or `max`",
        ),
        (
            "cluster = \"c\"",
            "clock_offset_ms = -31536000001",
            "3: node.clock_offset_ms = -31536000001: it must be at most 31536000000 (a year) either way",
        ),
        (
            "cluster = \"c\"",
            "clock_drift_ppm = 500001",
            "3: node.clock_drift_ppm = 500001: it must be at most 500000 (half as fast) either way",
        ),
        (
            "durability = \"memory\"",
            "put_timeout_ms = 0",
            "17: protocols.kv_replication.put_timeout_ms = 0: it must be 1 to 3600000 milliseconds (an hour)",
        ),
        (
            "durability = \"memory\"",
            "max_value_bytes = 100000000",
            "17: protocols.kv_replication.max_value_bytes = 100000000: it must be 1 to 8388608",
        ),
        (
            "durability = \"memory\"",
            "durability = \"tape\"",
            "17: protocols.kv_replication.durability = \"tape\": unknown variant `tape`, expected `memory` or `disk`",
        ),
        (
            "durability = \"memory\"",
            "durability = \"disk\"",
            "17: protocols.kv_replication.durability = \"disk\": \"disk\" needs data_dir under [node]",
        ),
        // Peers.
        ("1 = \"127.0.0.1:10097\"", "1 = \"\"", &format!("6: peers.1 = \"\": {address}")),
        ("1 = \"127.0.0.1:10097\"", "1 = 10097", &format!("6: peers.1 = 10097: {address}")),
        (
            "1 = \"127.0.0.1:10097\"",
            "1 = \"localhost\"",
            &format!("6: peers.1 = \"localhost\": {address}"),
        ),
        (
            "1 = \"127.0.0.1:10097\"",
            "1 = \"localhost:0\"",
            &format!("6: peers.1 = \"localhost:0\": {address}"),
        ),
        (
            "1 = \"127.0.0.1:10097\"",
            "one = \"127.0.0.1:1\"",
            "6: peers.one = \"127.0.0.1:1\": a peer's key is its id, a number from 0 to 4294967295",
        ),
        (
            "3 = ",
            "2 = ",
            "7: peers.2 = \"[::1]:10099\": it is this node's own id: list only the other nodes",
        ),
        ("3 = ", "01 = ", "7: peers.01 = \"[::1]:10099\": this id is listed twice"),
        (
            "leader = 1",
            "leader = 4",
            "16: protocols.kv_replication.leader = 4: it must be this node's id (2) or a key of [peers]",
        ),
        // Listeners.
        (
            "addr = \"127.0.0.1:10098\"",
            "addr = \"localhost\"",
            "10: listeners.0.addr = \"localhost\": it must be IP:PORT, such as \"127.0.0.1:10097\"",
        ),
        (
            "addr = \"127.0.0.1:10098\"",
            "addr = \"127.0.0.1:10098\"\ngateway = \"http\"",
            "11: listeners.0.gateway = \"http\": no such gateway; there are: native, json, echo, lottery-text, nats, resp",
        ),
        (
            "addr = \"127.0.0.1:10098\"",
            "addr = \"127.0.0.1:10098\"\ngateway = \"resp\"\nprotocol = \"other\"",
            "12: listeners.0.protocol = \"other\": this gateway carries kv_replication alone",
        ),
        (
            "addr = \"127.0.0.1:10098\"",
            "addr = \"127.0.0.1:10098\"\ngateway = \"json\"",
            "9: listeners: node 1 connects to this node, to make a link or to see that one comes from here: add a listener with gateway \"native\", where [peers] of node 1 has this node",
        ),
        (
            "addr = \"127.0.0.1:10098\"",
            "addr = \"127.0.0.1:10098\"\n[[listeners]]\naddr = \"127.0.0.1:10098\"",
            "12: listeners.1.addr = \"127.0.0.1:10098\": listeners.0 has this address already",
        ),
        // What is missing, and what is no TOML.
        ("id = 2\n", "", "1: node: missing field `id`"),
        ("leader = 1\n", "", "15: protocols.kv_replication: missing field `leader`"),
        (
            "addr = \"127.0.0.1:10098\"",
            "gateway = \"native\"",
            "9: listeners.0: missing field `addr`",
        ),
        (
            "kv_replication]",
            "paxos]",
            "15: protocols.paxos: no such protocol; there are: berkeley, board, bully, echo, kv_replication, lamport, lottery, membership, program",
        ),
        ("[node]", "[node", "1: this is no TOML: unclosed table, expected `]`"),
        ("3 = ", "1 = ", "7: this is no TOML: duplicate key"),
    ] {
        assert_eq!(RIGHT.matches(right).count(), 1, "{right}");
        fs::write(dir.path().join("node.toml"), RIGHT.replace(right, wrong)).unwrap();
        for args in [["check", "node.toml"], ["--config", "node.toml"]] {
            let output = node(&args, dir.path());
            assert_eq!(text(&output.stderr), format!("node: node.toml:{told}\n"));
            assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
        }
    }
    for (wrong, told) in [
        ("", "missing field `node`"),
        (
            "[node]\nid = 1\n",
            "protocols: a node runs at least one protocol; there are: berkeley, board, bully, echo, kv_replication, lamport, lottery, membership, program",
        ),
    ] {
        fs::write(dir.path().join("node.toml"), wrong).unwrap();
        let output = node(&["check", "node.toml"], dir.path());
        assert_eq!(text(&output.stderr), format!("node: node.toml: {told}\n"));
    }
}

/// The system chooses both ports, and the log says which.
#[test]
fn two_listeners_on_port_0_get_two_ports() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    let listener = "[[listeners]]\naddr = \"127.0.0.1:0\"\n";
    let config = format!(
        "[node]\nid = 1\n{listener}{listener}gateway = \"resp\"\n\
         [protocols.kv_replication]\nleader = 1\n"
    );
    fs::write(&path, config).unwrap();
    assert!(node(&["check", "node.toml"], dir.path()).status.success());
    let node = Node::spawn(&path, &dir.path().join("node"), None);
    let addrs = wait_until("both are told", LONG, || {
        node.assert_runs();
        let told = node.stderr();
        let addrs = told.lines().filter_map(|line| {
            let (_, rest) = line.split_once("listens on ")?;
            rest.split(' ').next()?.parse::<SocketAddr>().ok()
        });
        let addrs: Vec<SocketAddr> = addrs.collect();
        (addrs.len() == 2).then_some(addrs)
    });
    assert_ne!(addrs[0], addrs[1]);
    assert_eq!(Resp::connect(addrs[1]).ask(&set(b"k", b"v")), ok());
}

#[test]
fn a_file_that_is_no_utf_8_is_told_by_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let latin_1 = |text: &str| text.replace('n', "\u{f3}").chars().map(|c| c as u8).collect();
    let [config, scenario]: [Vec<u8>; 2] =
        [latin_1("\n# configuracin\n"), latin_1("x = 1\nn = 2\n")];
    fs::write(dir.path().join("node.toml"), config).unwrap();
    fs::write(dir.path().join("scenario.toml"), scenario).unwrap();
    for (args, told) in [
        (&["check", "node.toml"][..], "node: node.toml:2: "),
        (&["--config", "node.toml"], "node: node.toml:2: "),
        (&["sim", "scenario.toml"], "node sim: scenario.toml:2: "),
        (&["sim", "--replay", "scenario.toml"], "node sim: scenario.toml:2: "),
    ] {
        let output = node(args, dir.path());
        let rule = "this is no UTF-8: the byte 0xf3; save the file as UTF-8\n";
        assert_eq!(text(&output.stderr), format!("{told}{rule}"));
        assert!(!output.status.success() && output.stdout.is_empty());
    }
}

/// A server of the bulletin system: its protocols need each other's facts.
const SERVER: &str = r#"[node]
id = 1

[peers]
2 = "127.0.0.1:10505"
8 = "127.0.0.1:10503"

[[listeners]]
addr = "127.0.0.1:10504"

[protocols.membership]
role = "member"
name = "server1"
reference = 8
heartbeat_ms = 5000

[protocols.bully]
by = "rank"

[protocols.berkeley]
servers = [1, 2]
"#;

#[test]
fn what_a_server_of_the_board_lacks_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let member = &SERVER[SERVER.find("[protocols.membership]").unwrap()..];
    let member = &member[..member.find("[protocols.bully]").unwrap()];
    let name = "a member has a name of 1 to 64 bytes, without spaces, control characters, quotes \
                and backslashes";
    for (right, wrong, told) in [
        ("", "", ""),
        (
            "heartbeat_ms = 5000",
            "heartbeat_ms = 30000",
            "15: protocols.membership.heartbeat_ms = 30000: it must be below timeout_ms, which is 30000",
        ),
        (
            "heartbeat_ms = 5000",
            "timeout_ms = 4000",
            "15: protocols.membership.timeout_ms = 4000: it must be above heartbeat_ms, which is 5000",
        ),
        (
            "\"server1\"",
            "\"server 1\"",
            &format!("13: protocols.membership.name = \"server 1\": {name}"),
        ),
        (
            "\"server1\"",
            "\"a\\u001b[2J\"",
            &format!("13: protocols.membership.name = \"a\\u001b[2J\": {name}"),
        ),
        (
            "servers = [1, 2]",
            "servers = [2, 8]",
            "21: protocols.berkeley.servers = [2, 8]: this node runs berkeley, so its own id must be among them",
        ),
        (
            "servers = [1, 2]",
            "servers = [1]",
            "21: protocols.berkeley.servers = [1]: a clock is kept with others': name two servers or more",
        ),
        (
            "servers = [1, 2]",
            "servers = [1, 2, 1]",
            "21: protocols.berkeley.servers = [1, 2, 1]: each id stands there once",
        ),
        (
            member,
            "",
            "11: protocols.bully: it needs Rank, which no protocol of this node publishes (add [protocols.membership])",
        ),
        (
            "[protocols.bully]\nby = \"rank\"\n",
            "",
            "18: protocols.berkeley: it needs Coordinator, which no protocol of this node publishes (add [protocols.bully])",
        ),
    ] {
        assert!(SERVER.contains(right), "{right}");
        fs::write(dir.path().join("node.toml"), SERVER.replacen(right, wrong, 1)).unwrap();
        let output = node(&["check", "node.toml"], dir.path());
        let told =
            if told.is_empty() { String::new() } else { format!("node: node.toml:{told}\n") };
        assert_eq!(text(&output.stderr), told);
        assert_eq!(output.status.success(), told.is_empty());
    }
}

#[test]
fn a_port_in_use_is_told_by_its_listener() {
    let cluster = Cluster::prepare(Setup { nodes: 1, ..Setup::default() });
    let port = cluster.ports[0].json;
    let _taken = TcpListener::bind(local(port)).unwrap();
    let (path, name) = (cluster.config_path(1), cluster.dir.path().join("1"));
    let mut refused = Node::spawn(&path, &name, None);
    assert_eq!(refused.wait_exit(LONG).code(), Some(1));
    let line = fs::read_to_string(&path).unwrap();
    let line = line.lines().position(|line| line.contains(&port.to_string())).unwrap() + 1;
    let rule = "another process listens there: stop it, or change the port";
    let told = format!(
        "node: {}:{line}: listeners.2.addr = \"127.0.0.1:{port}\": {rule}\n",
        path.display()
    );
    assert_eq!(refused.stderr(), told);
}

#[test]
fn a_data_dir_that_cannot_be_written_is_told_by_its_key() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "not a folder").unwrap();
    let config = format!(
        "[node]\nid = 1\ndata_dir = \"file/data\"\n\n[[listeners]]\naddr = \"127.0.0.1:{}\"\n\n\
         [protocols.kv_replication]\nleader = 1\ndurability = \"disk\"\n",
        free_port()
    );
    fs::write(dir.path().join("node.toml"), config).unwrap();
    let output = node(&["--config", "node.toml"], dir.path());
    let told = text(&output.stderr);
    assert_eq!((output.status.code(), told.lines().count()), (Some(1), 1), "{told}");
    let place = "node: node.toml:3: node.data_dir = \"file/data\": creating the folder file/data: ";
    assert!(told.starts_with(place), "{told}");
    assert!(told.contains("check that data_dir is a folder this user may write to"), "{told}");
}

#[test]
fn check_looks_at_all_its_files_and_the_command_line_has_its_own_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("right.toml"), RIGHT).unwrap();
    fs::write(dir.path().join("wrong.toml"), "").unwrap();
    let output = node(&["check", "none.toml", "wrong.toml", "right.toml"], dir.path());
    assert_eq!(output.status.code(), Some(1));
    let told = "node: none.toml: cannot read it: No such file or directory (os error 2)\n\
                node: wrong.toml: missing field `node`\n";
    assert_eq!(text(&output.stderr), told);
    assert!(text(&output.stdout).starts_with("# right.toml\n[node]\nid = 2\n"));
    let output = node(&["--config", "none.toml"], dir.path());
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let usage: [&[&str]; 6] = [
        &[],
        &["check"],
        &["--colour"],
        &["dance"],
        &["--config"],
        &["--config", "right.toml", "--log-level", "loud"],
    ];
    for args in usage {
        let output = node(args, dir.path());
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{args:?}");
        assert!(!output.stderr.is_empty());
    }
    for args in [["--help"], ["--version"]] {
        let output = node(&args, dir.path());
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{args:?}");
    }
}

#[test]
fn a_reader_that_leaves_early_and_words_that_are_no_text_make_no_panic() {
    use std::os::unix::ffi::OsStringExt;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = "configs/kv-leader.toml";
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    let checked = command.args(["check", config]).current_dir(root).stdout(writer).output();
    let checked = checked.expect("the binary runs");
    assert_eq!((checked.status.code(), text(&checked.stderr)), (Some(0), ""));

    let mut command = Command::new(env!("CARGO_BIN_EXE_node"));
    let wrong = command.arg(std::ffi::OsString::from_vec(vec![0xff])).output();
    assert_eq!(wrong.expect("the binary runs").status.code(), Some(2));
}
