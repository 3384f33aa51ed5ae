//! The echo server as a real process.

mod common;

use common::clients::{connect, read_to_close, try_connect};
use common::{LONG, Node, free_port, local, wait_until};
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;

#[test]
fn bytes_come_back_as_they_came_also_to_a_client_that_has_closed_its_side() {
    let dir = tempfile::tempdir().expect("a folder for the test");
    let addr = local(free_port());
    let config = format!(
        "[node]\nid = 1\n\n[[listeners]]\naddr = \"{addr}\"\ngateway = \"echo\"\n\n[protocols.echo]\n"
    );
    let path = dir.path().join("node.toml");
    fs::write(&path, config).expect("a config");
    let node = Node::spawn(&path, &dir.path().join("node"), None);
    wait_until("the node listens", LONG, || {
        node.assert_runs();
        try_connect(addr).ok()
    });
    let mut talk = connect(addr);
    for word in [&b"hello\n"[..], b"\0\xff", b";"] {
        talk.write_all(word).expect("the node reads");
        let mut back = vec![0; word.len()];
        talk.read_exact(&mut back).expect("the node answers");
        assert_eq!(back, word);
    }

    // More than sockets and buffers hold.
    let much: Vec<u8> = (0..20_000_000_u32).map(|at| (at / 7) as u8).collect();
    let mut stream = connect(addr);
    let mut writer = stream.try_clone().expect("a socket");
    let sent = much.clone();
    let writing = thread::spawn(move || {
        writer.write_all(&sent).expect("the node reads");
        writer.shutdown(Shutdown::Write).expect("it is open");
    });
    assert!(read_to_close(&mut stream) == much, "all comes back, in its order");
    writing.join().expect("it wrote");
    node.assert_runs();
}
