//! The document's interactive client: a menu with INIT, PUT and GET, and nothing more.

use super::report::Exit;
use super::{DEFAULT_SERVERS, Store};
use crate::client;
use std::io::{self, BufRead, ErrorKind, Read};
use std::net::SocketAddr;

const MENU: &str = "\n1) INIT\n2) PUT\n3) GET\n> ";

/// The longest line: what does not end within it is no line that a person typed or a server takes.
const MAX_LINE_BYTES: u64 = 16 << 20;

/// Runs the menu until the input ends. `ready`: the servers are known without INIT.
pub fn run(store: &mut Store<'_>, mut ready: bool, mut input: impl BufRead) -> io::Result<Exit> {
    let input = &mut input;
    while let Some(choice) = ask(store, input, MENU)? {
        let choice = choice.trim_ascii().to_ascii_uppercase();
        let more = match &choice[..] {
            b"1" | b"INIT" => init(store, input)?.inspect(|()| ready = true),
            b"2" | b"PUT" | b"3" | b"GET" if !ready => {
                store.tell(format_args!("Run INIT first: the servers are not known yet."));
                Some(())
            }
            b"2" | b"PUT" => put(store, input)?,
            b"3" | b"GET" => get(store, input)?,
            _ => {
                store.tell(format_args!("Type 1, 2 or 3, or INIT, PUT or GET."));
                Some(())
            }
        };
        if more.is_none() {
            break;
        }
        if store.unheard {
            return Ok(Exit::ReaderGone);
        }
    }
    store.tell(format_args!(""));
    Ok(Exit::Done)
}

fn init(store: &mut Store<'_>, input: &mut impl BufRead) -> io::Result<Option<()>> {
    let mut servers: Vec<SocketAddr> = Vec::new();
    while let Some(offered) = DEFAULT_SERVERS.get(servers.len()) {
        let prompt = format!("Server {} IP:port [{offered}]: ", servers.len() + 1);
        let Some(typed) = ask(store, input, &prompt)? else { return Ok(None) };
        let typed = String::from_utf8_lossy(typed.trim_ascii());
        match client::resolve(if typed.is_empty() { offered } else { &typed }) {
            Ok(server) => servers.push(server),
            Err(error) => store.tell(format_args!("{error}")),
        }
    }
    store.use_servers(&servers);
    Ok(Some(()))
}

fn put(store: &mut Store<'_>, input: &mut impl BufRead) -> io::Result<Option<()>> {
    let Some(key) = ask(store, input, "key: ")? else { return Ok(None) };
    let Some(value) = ask(store, input, "value: ")? else { return Ok(None) };
    // Its trouble has been told; the menu goes on.
    store.put(&key, &value).map(|_| Some(()))
}

fn get(store: &mut Store<'_>, input: &mut impl BufRead) -> io::Result<Option<()>> {
    let Some(key) = ask(store, input, "key: ")? else { return Ok(None) };
    store.get(&key).map(|_| Some(()))
}

/// Prompts and reads one line, without its end; none at the end of the input.
fn ask(
    store: &mut Store<'_>,
    input: &mut impl BufRead,
    prompt: &str,
) -> io::Result<Option<Vec<u8>>> {
    // Who closed stderr does not want to be prompted.
    let _ = write!(store.err, "{prompt}");
    let _ = store.err.flush();
    let mut line = Vec::new();
    if input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let ended = line.pop_if(|last| *last == b'\n').is_some();
    if !ended && line.len() as u64 == MAX_LINE_BYTES {
        let why = format!("a line of input is longer than {MAX_LINE_BYTES} bytes; type less");
        return Err(io::Error::new(ErrorKind::InvalidInput, why));
    }
    if ended {
        line.pop_if(|last| *last == b'\r');
    }
    Ok(Some(line))
}
