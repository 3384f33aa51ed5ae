//! One bad disk after the other, at a replicated store of real processes, under load: in each round
//! one node, drawn, is killed, its data directory damaged, emptied, rolled back or exchanged, and
//! it comes back, alone or with all others, in any order. Nothing that was PUT_OK is lost, nothing
//! older is answered, and the tables are equal in the end.
//!
//! `BAD_DISK_ROUNDS=100 cargo test --test bad_disk` runs more rounds than the suite does, and
//! `BAD_DISK_SEED` others.

mod common;

use common::{Cluster, LONG, Setup, local, wait_until};
use node_protocols::core::Rng;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const NODES: u32 = 3;
const CLIENTS: u64 = 2;
/// Keys of one client: few, so that each is written again and again.
const KEYS: u64 = 8;
/// After a restart, with a table that is copied, on a busy machine.
const MENDED: Duration = Duration::from_secs(60);

/// What happens to a data directory.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// A bit of the log is another.
    Flip,
    /// The log ends earlier, anywhere.
    Cut,
    /// It is as it was some rounds ago.
    OlderCopy,
    Emptied,
    /// It is that of this node's namesake in another store.
    ForeignFolder,
    /// The log alone is.
    ForeignLog,
}

const DAMAGES: [Damage; 6] = [
    Damage::Flip,
    Damage::Cut,
    Damage::OlderCopy,
    Damage::Emptied,
    Damage::ForeignFolder,
    Damage::ForeignLog,
];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

#[test]
fn no_bad_disk_loses_or_turns_back_anything() {
    let (rounds, seed) = (number("BAD_DISK_ROUNDS", 8), number("BAD_DISK_SEED", 1));
    let mut rng = Rng::stream(seed, "bad_disk");
    let setup = Setup { disk: true, put_timeout_ms: 500, ..Setup::default() };
    let foreign = foreign_folders(&setup);
    let mut cluster = Cluster::start(setup);
    let addrs: Vec<SocketAddr> = cluster.ports.iter().map(|ports| local(ports.json)).collect();
    let load = Load::default();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (addrs, load) = (&addrs, &load);
                scope.spawn(move || Client::new(client, seed, addrs).run(load))
            })
            .collect();
        // Whatever ends this thread ends the clients.
        let ends = Ends(&load);
        let mut copies: BTreeMap<u32, PathBuf> = BTreeMap::new();
        for round in 0..rounds {
            let victim = 1 + rng.below(u64::from(NODES)) as u32;
            let damage = DAMAGES[(round % DAMAGES.len() as u64) as usize];
            let all = rng.below(2) == 0;
            println!("round {round}: {damage:?} at node {victim}, all restart: {all}");
            load.await_puts(5);
            let mut order: Vec<u32> = if all { (1..=NODES).collect() } else { vec![victim] };
            shuffle(&mut order, &mut rng);
            order.iter().for_each(|id| cluster.kill(*id));
            let dir = cluster.data_dir(victim);
            let copy = cluster.dir.path().join(format!("copy-{round}"));
            copy_folder(&dir, &copy);
            damage_folder(
                damage,
                &dir,
                copies.get(&victim),
                &foreign[victim as usize - 1],
                &mut rng,
            );
            copies.insert(victim, copy);
            shuffle(&mut order, &mut rng);
            order.iter().for_each(|id| cluster.run(*id));
            load.await_puts(5);
            load.pause();
            cluster.wait_equal(MENDED);
            for addr in &addrs {
                load.check_all(*addr);
            }
            load.resume();
        }
        drop(ends);
        for client in clients {
            client.join().expect("no client has seen anything wrong");
        }
    });
    println!(
        "{rounds} rounds, {} PUT_OK, {} GETs answered",
        load.put_ok.load(Ordering::SeqCst),
        load.gets.load(Ordering::SeqCst)
    );
}

/// The data directories of another store of the same name, with PUTs of its own.
fn foreign_folders(setup: &Setup) -> Vec<tempfile::TempDir> {
    // Nothing goes wrong here: no PUT has to end without its answer.
    let put_timeout_ms = Setup::default().put_timeout_ms;
    let mut other = Cluster::start(Setup { put_timeout_ms, ..setup.clone() });
    let mut resp = other.resp(1);
    for n in 0..200 {
        resp.set(&format!("key 0 {}", n % KEYS), "foreign");
    }
    drop(resp);
    let folder = |id| {
        assert!(other.terminate(id).success());
        let folder = tempfile::tempdir().expect("a folder");
        copy_folder(&other.data_dir(id), folder.path());
        folder
    };
    (1..=NODES).map(folder).collect()
}

fn shuffle(ids: &mut [u32], rng: &mut Rng) {
    for place in (1..ids.len()).rev() {
        ids.swap(place, rng.below(place as u64 + 1) as usize);
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("it is there") {
        let entry = entry.expect("it can be read");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

fn damage_folder(
    damage: Damage,
    dir: &Path,
    older: Option<&PathBuf>,
    foreign: &tempfile::TempDir,
    rng: &mut Rng,
) {
    let log = dir.join("log");
    let replace = |with: &Path| {
        fs::remove_dir_all(dir).expect("it goes");
        copy_folder(with, dir);
    };
    match (damage, older) {
        (Damage::Flip, _) => {
            let mut bytes = fs::read(&log).expect("a log");
            let place = rng.below(bytes.len() as u64) as usize;
            bytes[place] ^= 1 << rng.below(8);
            fs::write(&log, bytes).expect("it is written");
        }
        (Damage::Cut, _) => {
            let file = fs::OpenOptions::new().write(true).open(&log).expect("a log");
            let length = file.metadata().expect("its length").len();
            file.set_len(rng.below(length)).expect("it is cut");
        }
        (Damage::OlderCopy, Some(older)) => replace(older),
        (Damage::OlderCopy, None) | (Damage::Emptied, _) => {
            fs::remove_dir_all(dir).expect("it goes");
        }
        (Damage::ForeignFolder, _) => replace(foreign.path()),
        (Damage::ForeignLog, _) => {
            fs::copy(foreign.path().join("log"), &log).expect("a copy");
        }
    }
}

/// What the clients and the test tell each other.
#[derive(Default)]
struct Load {
    ends: AtomicBool,
    paused: AtomicBool,
    idle: AtomicU64,
    put_ok: AtomicU64,
    gets: AtomicU64,
    /// The last timestamp that was PUT_OK, by key.
    acknowledged: std::sync::Mutex<BTreeMap<String, u64>>,
}

struct Ends<'a>(&'a Load);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.ends.store(true, Ordering::SeqCst);
    }
}

impl Load {
    /// Waits for so many PUT_OK more.
    fn await_puts(&self, more: u64) {
        let until = self.put_ok.load(Ordering::SeqCst) + more;
        wait_until("PUTs are answered", MENDED, || {
            assert!(!self.ends.load(Ordering::SeqCst), "a client has seen something wrong");
            (self.put_ok.load(Ordering::SeqCst) >= until).then_some(())
        });
    }

    /// Returns when no client has anything under way.
    fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
        wait_until("the clients pause", MENDED, || {
            (self.idle.load(Ordering::SeqCst) == CLIENTS).then_some(())
        });
    }

    fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
        wait_until("the clients go on", LONG, || {
            (self.idle.load(Ordering::SeqCst) == 0).then_some(())
        });
    }

    /// All that was PUT_OK is at this server.
    fn check_all(&self, addr: SocketAddr) {
        let acknowledged = self.acknowledged.lock().expect("no client panicked with it");
        for (key, timestamp) in &*acknowledged {
            let answer = ask(addr, &json!({"get": {"key": key}})).expect("it is up");
            let found = answer["value"]["timestamp"].as_u64();
            assert!(
                found >= Some(*timestamp),
                "{key} was PUT_OK at {timestamp}: {answer} at {addr}"
            );
        }
    }
}

/// One request over a connection of its own; nothing when there is no server, or it dies meanwhile.
fn ask(addr: SocketAddr, request: &Value) -> Option<Value> {
    let mut stream = TcpStream::connect(addr).ok()?;
    stream.set_read_timeout(Some(LONG)).ok()?;
    stream.write_all(format!("{request}\n").as_bytes()).ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}

/// What a client knows of one of its keys.
#[derive(Clone, Default, Debug)]
struct Known {
    /// Its last PUT_OK.
    timestamp: u64,
    value: String,
    /// PUTs that may still take effect.
    open: Vec<String>,
}

/// A client with keys of its own, one request at a time.
struct Client<'a> {
    id: u64,
    rng: Rng,
    addrs: &'a [SocketAddr],
    keys: BTreeMap<String, Known>,
    puts: u64,
}

impl<'a> Client<'a> {
    fn new(id: u64, seed: u64, addrs: &'a [SocketAddr]) -> Client<'a> {
        let rng = Rng::stream(seed, &format!("bad_disk/client/{id}"));
        Client { id, rng, addrs, keys: BTreeMap::new(), puts: 0 }
    }

    fn run(mut self, load: &Load) {
        let _ends = Ends(load);
        while !load.ends.load(Ordering::SeqCst) {
            if load.paused.load(Ordering::SeqCst) {
                load.idle.fetch_add(1, Ordering::SeqCst);
                wait_until("the test goes on", 4 * MENDED, || {
                    let on =
                        !load.paused.load(Ordering::SeqCst) || load.ends.load(Ordering::SeqCst);
                    on.then_some(())
                });
                load.idle.fetch_sub(1, Ordering::SeqCst);
            }
            let key = format!("key {} {}", self.id, self.rng.below(KEYS));
            let addr = self.addrs[self.rng.below(self.addrs.len() as u64) as usize];
            match self.rng.below(2) {
                0 => self.put(key, addr, load),
                _ => self.get(&key, addr, load),
            }
        }
    }

    fn put(&mut self, key: String, addr: SocketAddr, load: &Load) {
        self.puts += 1;
        let value = format!("{}-{}", self.id, self.puts);
        let answer = ask(addr, &json!({"put": {"key": key, "value": value}}));
        let known = self.keys.entry(key.clone()).or_default();
        let answer = answer.unwrap_or_default();
        if let Some(timestamp) = answer["put_ok"]["timestamp"].as_u64() {
            assert!(timestamp > known.timestamp, "{key}: {timestamp} is given after {known:?}");
            (known.timestamp, known.value) = (timestamp, value);
            load.acknowledged.lock().expect("no client panicked with it").insert(key, timestamp);
            load.put_ok.fetch_add(1, Ordering::SeqCst);
        } else if answer.get("not_applied").is_none() {
            known.open.push(value);
        }
    }

    fn get(&mut self, key: &str, addr: SocketAddr, load: &Load) {
        let known = self.keys.get(key).cloned().unwrap_or_default();
        let Some(answer) = ask(addr, &json!({"get": {"key": key}})) else { return };
        if answer.get("try_other_server_or_later").is_some() {
            return;
        }
        load.gets.fetch_add(1, Ordering::SeqCst);
        let value = answer["value"]["value"].as_str().unwrap_or_default();
        let timestamp = answer["value"]["timestamp"].as_u64().unwrap_or_default();
        let right = match timestamp.cmp(&known.timestamp) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => value == known.value,
            std::cmp::Ordering::Greater => known.open.iter().any(|open| open == value),
        };
        assert!(right, "{key}: {answer} at {addr}, but {known:?}");
    }
}
