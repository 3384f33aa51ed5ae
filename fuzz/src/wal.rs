//! What a node finds in its data directory: any bytes, or a log that it wrote and that went bad.

use super::Input;
use super::nodes::{self, Blueprint};
use node_lab::log::format::{FILE_HEADER_LEN, Replayed, Unsound, file_header, push_batch, replay};
use node_lab::log::identity::{self, Claim};
use node_lab::log::recovery::{Verdict, recover};
use node_protocols::core::{NodeId, Now, push_record};
use std::cell::OnceCell;
use std::io::{Cursor, Seek, SeekFrom};

thread_local! {
    static CLUSTERS: OnceCell<Vec<Vec<Blueprint>>> = const { OnceCell::new() };
}

const OURS: u128 = 7;

/// The first byte says what the others are.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() % 4 {
        0 => drop(read(input.rest())),
        1 => gone_bad(&mut input),
        2 => recovery(&mut input),
        _ => claim(&mut input),
    }
}

type Record = (u16, Vec<u8>);

/// Reads what follows a header: the records, and what is said of the log.
fn read(log: &[u8]) -> (Vec<Record>, Result<Replayed, Unsound>) {
    let mut records = Vec::new();
    let mut file = Cursor::new(log);
    file.seek(SeekFrom::Start(FILE_HEADER_LEN.min(log.len()) as u64)).expect("memory can be read");
    let found = replay(&mut file, log.len() as u64, &mut |tag, record| {
        records.push((tag, record.to_vec()));
        Ok(())
    });
    let found = found.expect("memory can be read");
    if let Ok(replayed) = &found {
        assert_eq!(replayed.records, records.len() as u64);
        let cut = replayed.torn.as_ref().map_or(0, |torn| torn.cut_bytes);
        let all = replayed.len + cut;
        assert_eq!(all, log.len().max(FILE_HEADER_LEN) as u64, "every byte is sound or cut");
    }
    (records, found)
}

/// Batches of records, of which some bytes change then. What is read back is what was written, from
/// the beginning to a batch's end, and all that precedes the change.
fn gone_bad(input: &mut Input<'_>) {
    let mut log = file_header(OURS).to_vec();
    let mut written = Vec::new();
    // Where each batch begins, and how many records precede it.
    let mut batches = Vec::new();
    for seq in 1..=u64::from(input.byte() % 8) {
        let mut body = Vec::new();
        batches.push((log.len(), written.len()));
        for _ in 0..1 + input.byte() % 4 {
            let (tag, record) = (input.number(), input.short());
            push_record(&mut body, tag, |body| body.extend_from_slice(record));
            written.push((tag, record.to_vec()));
        }
        push_batch(&mut log, seq, &body).expect("it is short");
    }
    let (records, found) = read(&log);
    assert_eq!(records, written);
    assert_eq!(found.map(|replayed| replayed.torn), Ok(None));

    let (at, mask) = (FILE_HEADER_LEN + usize::from(input.number()), input.byte());
    let what = input.byte() % 4;
    match what {
        0 => log.truncate(at),
        1 => log.get_mut(at).into_iter().for_each(|byte| *byte ^= mask),
        2 => log.iter_mut().skip(at).take(mask.into()).for_each(|byte| *byte = 0),
        _ => log.extend_from_slice(input.rest()),
    }
    let (records, found) = read(&log);
    // A checksum of 32 bits misses no change of one byte, and bytes behind are no batch of this
    // log's unless they have a header of one.
    let whole = batches.iter().map(|(_, records)| *records).chain([written.len()]);
    let is_start = |records: &[Record]| written.starts_with(records);
    if what < 3 {
        assert!(is_start(&records) && whole.clone().any(|count| count == records.len()));
        let sound = batches.iter().rfind(|(start, _)| *start <= at).map_or(0, |(_, count)| *count);
        assert!(records.len() >= sound, "what precedes the change is read");
    }
    match (what, found) {
        (0, Err(unsound)) => panic!("a log that is cut short has no later batch: {unsound}"),
        (_, Err(unsound)) => drop(unsound.to_string()),
        (_, Ok(_)) => assert!(what == 3 || is_start(&records)),
    }
}

/// A log with valid checksums and anything behind them, into a node that has one.
fn recovery(input: &mut Input<'_>) {
    CLUSTERS.with(|clusters| {
        let clusters = clusters.get_or_init(nodes::clusters);
        let durable: Vec<_> = clusters.iter().flatten().filter(|node| node.durable).collect();
        let mut host = durable[input.place(durable.len())].host(1);
        let claim = [Claim::Known(OURS), Claim::New, Claim::Damaged, Claim::Known(8)];
        let claim = claim[usize::from(input.byte() / 64)];
        let mut log = file_header(OURS).to_vec();
        let mut seq = 1;
        while !input.is_empty() {
            let how = input.byte();
            let mut body = Vec::new();
            for _ in 0..how % 4 {
                let protocols = host.protocols();
                let which = usize::from(input.byte());
                let tag = protocols.get(which % (protocols.len() + 1)).map_or(0, |one| one.tag());
                push_record(&mut body, tag, |body| body.extend_from_slice(input.short()));
            }
            if how & 0x80 != 0 {
                body.extend_from_slice(input.short());
            }
            if how & 0x40 != 0 {
                seq += u64::from(input.byte());
            }
            if how & 0x20 != 0 {
                log.extend_from_slice(input.short());
            }
            push_batch(&mut log, seq, &body).expect("it is short");
            seq += 1;
        }
        let length = log.len() as u64;
        let mut file = Cursor::new(&log);
        let verdict = recover(claim, Some((&mut file, length)), &mut host);
        match verdict.expect("memory can be read") {
            Verdict::Kept(replayed) => {
                assert!(claim == Claim::Known(OURS) && replayed.len <= length);
                host.handle_start(Now::default());
                host.handle_turn_end();
                host.check_invariants();
                host.snapshot(&mut |_, _| {});
            }
            Verdict::Lost(unsound) | Verdict::Refused(unsound) => drop(unsound.to_string()),
            Verdict::New => assert_eq!(claim, Claim::New),
        }
    });
}

/// The file `identity`: any bytes, or one that was written and changed.
fn claim(input: &mut Input<'_>) {
    let (node, place, mask) = (NodeId(input.byte().into()), input.number(), input.byte());
    let bytes = input.rest();
    let _ = identity::read(bytes, "kv", node);
    let Ok(cluster) = str::from_utf8(bytes) else { return };
    let mut file = identity::encode(cluster, node, OURS).into_bytes();
    assert_eq!(identity::read(&file, cluster, node), Ok(Claim::Known(OURS)));
    assert_ne!(identity::read(&file, cluster, NodeId(node.0 + 1)), Ok(Claim::Known(OURS)));
    let at = usize::from(place) % file.len();
    file[at] ^= mask;
    if mask != 0 {
        assert_eq!(identity::read(&file, cluster, node), Ok(Claim::Damaged), "a byte rots");
    }
}
