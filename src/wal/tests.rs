//! The log on real files, cut and flipped at every byte.

use super::*;
use node_lab::log::format::{
    BATCH_HEADER_LEN, BATCH_MAGIC, BatchHeader, CHECKPOINT_BATCH_LEN, FILE_HEADER_LEN,
    MAX_BATCH_LEN, OnRecord, SCAN_LEN, Start, Torn, Unsound, file_header, read_start, replay,
};
use node_protocols::core::{RECORD_HEADER_LEN, push_record};
use proptest::prelude::*;
use std::fs::OpenOptions;
use std::io::BufReader;
use tempfile::{TempDir, tempdir};

type Record = (u16, Vec<u8>);
type Opened = (Wal, Replayed, Vec<Record>);

const IDENTITY: u128 = 0x0123_4567_89AB_CDEF_0011_2233_4455_6677;

fn open(dir: &Path) -> Result<Opened, WalError> {
    let mut records = Vec::new();
    let (wal, replayed) = open_with(dir, &mut |tag, bytes| {
        records.push((tag, bytes.to_vec()));
        Ok(())
    })?;
    assert_eq!(replayed.records, records.len() as u64);
    assert_eq!(replayed.len, wal.len());
    assert_eq!(wal.len(), fs::metadata(dir.join(LOG_NAME)).unwrap().len());
    Ok((wal, replayed, records))
}

/// Opens the log of a folder, or begins one, as a directory of this identity does.
fn open_with(dir: &Path, on_record: &mut OnRecord) -> Result<(Wal, Replayed), WalError> {
    let path = dir.join(LOG_NAME);
    let Ok(file) = OpenOptions::new().read(true).write(true).open(&path) else {
        fs::create_dir_all(dir).unwrap();
        let new = Replayed { len: FILE_HEADER_LEN as u64, next_seq: 1, ..Replayed::default() };
        return Ok((Wal::create(dir, IDENTITY)?, new));
    };
    let unsound = |what| WalError::Unsound { path: path.clone(), what };
    let mut log = BufReader::new(&file);
    let start = read_start(&mut log).unwrap();
    if start != (Start::Header { identity: IDENTITY }) {
        return Err(unsound(Unsound::Damaged { offset: 0, why: format!("{start:?}") }));
    }
    let replayed = replay(&mut log, file.metadata().unwrap().len(), on_record).unwrap();
    let replayed = replayed.map_err(unsound)?;
    Ok((Wal::resume(dir, IDENTITY, file, &replayed)?, replayed))
}

fn body(records: &[Record]) -> Vec<u8> {
    let mut body = Vec::new();
    for (tag, bytes) in records {
        push_record(&mut body, *tag, |body| body.extend_from_slice(bytes));
    }
    body
}

fn encoded(seq: u64, body: &[u8]) -> Vec<u8> {
    let header = BatchHeader { seq, len: body.len() as u32, body_crc: crc32c::crc32c(body) };
    [&header.encode()[..], body].concat()
}

/// The bytes of a log of these batches, and where each batch ends, the file header first.
fn image(batches: &[Vec<Record>]) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = file_header(IDENTITY).to_vec();
    let mut ends = vec![bytes.len()];
    for (seq, batch) in (1..).zip(batches) {
        bytes.extend(encoded(seq, &body(batch)));
        ends.push(bytes.len());
    }
    (bytes, ends)
}

fn small() -> Vec<Vec<Record>> {
    vec![
        vec![(1, b"first".to_vec()), (2, Vec::new())],
        vec![(3, vec![0; 9])],
        vec![(1, b"third".to_vec()), (u16::MAX, vec![0xFF; 3])],
    ]
}

fn with_log(bytes: &[u8]) -> TempDir {
    let dir = tempdir().unwrap();
    put(dir.path(), bytes);
    dir
}

fn put(dir: &Path, bytes: &[u8]) {
    fs::write(dir.join(LOG_NAME), bytes).unwrap();
}

fn log(dir: &Path) -> Vec<u8> {
    fs::read(dir.join(LOG_NAME)).unwrap()
}

/// Opens `bytes` as a log, and expects damage at `at` that leaves the file alone.
fn assert_damaged(dir: &Path, bytes: &[u8], at: usize) {
    put(dir, bytes);
    match open(dir) {
        Err(WalError::Unsound { what: Unsound::Damaged { offset, .. }, .. }) => {
            assert_eq!(offset, at as u64)
        }
        other => panic!("{other:?}, not damage at {at}"),
    }
    assert_eq!(log(dir), bytes);
}

/// Opens `bytes` as a log, and expects just the first `whole` batches and the rest cut.
fn assert_cut(dir: &Path, bytes: &[u8], batches: &[Vec<Record>], whole: usize) -> Wal {
    put(dir, bytes);
    let (clean, ends) = image(&batches[..whole]);
    let (wal, recovery, records) = open(dir).unwrap();
    assert_eq!(records, batches[..whole].concat());
    let offset = ends[whole];
    let cut_bytes = (bytes.len() - offset) as u64;
    let torn = (cut_bytes > 0).then_some(Torn { offset: offset as u64, cut_bytes });
    assert_eq!(recovery.torn, torn);
    assert_eq!(log(dir), clean);
    wal
}

/// How many batches lie whole in the first `len` bytes.
fn whole_batches(ends: &[usize], len: usize) -> usize {
    ends.iter().filter(|end| **end <= len).count().saturating_sub(1)
}

#[test]
fn records_come_back_and_the_sequence_goes_on() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("some/new/folder");
    let batches = small();
    for (index, batch) in batches.iter().enumerate() {
        let (mut wal, recovery, records) = open(&path).unwrap();
        assert_eq!(records, batches[..index].concat());
        assert_eq!(recovery.torn, None);
        wal.append(&body(batch)).unwrap();
        wal.sync().unwrap();
        wal.sync().unwrap();
        wal.append(&[]).unwrap();
        assert!(!wal.dirty);
        assert_eq!(wal.len(), log(&path).len() as u64);
    }
    assert_eq!(log(&path), image(&batches).0);
}

#[test]
fn a_batch_is_synced_before_the_next_is_written() {
    let dir = tempdir().unwrap();
    let (mut wal, ..) = open(dir.path()).unwrap();
    wal.append(&body(&[(1, vec![1])])).unwrap();
    // Syncing this fails, and a read-only file takes no write: which of the two is reported?
    wal.tail.out = File::open("/dev/null").unwrap();
    let error = wal.append(&body(&[(1, vec![2])])).unwrap_err();
    assert!(matches!(error, WalError::Io { doing: "syncing", .. }), "{error}");
}

#[test]
fn truncation_at_every_offset_leaves_a_prefix_that_goes_on() {
    let dir = tempdir().unwrap();
    let batches = small();
    let (bytes, ends) = image(&batches);
    for len in 0..FILE_HEADER_LEN {
        assert_damaged(dir.path(), &bytes[..len], 0);
    }
    for len in FILE_HEADER_LEN..=bytes.len() {
        let whole = whole_batches(&ends, len);
        let mut wal = assert_cut(dir.path(), &bytes[..len], &batches, whole);
        let more = vec![(7, b"more".to_vec())];
        wal.append(&body(&more)).unwrap();
        drop(wal);
        let expected = [&batches[..whole], &[more]].concat();
        assert_eq!(log(dir.path()), image(&expected).0);
        assert_eq!(open(dir.path()).unwrap().2, expected.concat());
    }
}

#[test]
fn a_flip_of_any_bit_is_damage_or_cuts_the_last_batch() {
    let dir = tempdir().unwrap();
    let batches = small();
    let (bytes, ends) = image(&batches);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if bit / 8 < FILE_HEADER_LEN {
            assert_damaged(dir.path(), &flipped, 0);
            continue;
        }
        let hit = whole_batches(&ends, bit / 8);
        if hit + 1 < batches.len() {
            assert_damaged(dir.path(), &flipped, ends[hit]);
        } else {
            assert_cut(dir.path(), &flipped, &batches, hit);
        }
    }
}

#[test]
fn a_zeroed_end_is_torn() {
    let dir = tempdir().unwrap();
    let batches = small();
    let (bytes, ends) = image(&batches);
    for zeros in [1, BATCH_HEADER_LEN, 3 * SCAN_LEN] {
        let padded = [&bytes[..], &vec![0; zeros]].concat();
        assert_cut(dir.path(), &padded, &batches, 3);
    }
    // The file has its full length, but the last pages never made it.
    for from in ends[2]..bytes.len() - 1 {
        let mut partial = bytes.clone();
        partial[from..].fill(0);
        assert_cut(dir.path(), &partial, &batches, 2);
    }
}

#[test]
fn a_later_batch_is_found_at_any_distance() {
    let dir = tempdir().unwrap();
    let later = encoded(9, &body(&[(1, vec![1])]));
    let (bytes, ends) = image(&small());
    for shift in 0..2 * BATCH_HEADER_LEN {
        let noise = vec![BATCH_MAGIC[0]; 2 * SCAN_LEN - shift];
        assert_damaged(dir.path(), &[&bytes[..], &noise, &later].concat(), ends[3]);
    }
    assert_damaged(dir.path(), &[&bytes[..], &later].concat(), ends[3]);
    // An earlier one proves nothing about what is lost.
    assert_cut(dir.path(), &[&bytes[..], &bytes[8..]].concat(), &small(), 3);
}

#[test]
fn a_record_that_quotes_a_batch_is_not_a_later_batch() {
    let dir = tempdir().unwrap();
    let mut batches = small();
    batches.push(vec![(1, encoded(99, b"quoted")), (1, vec![0; 50])]);
    let (mut bytes, _) = image(&batches);
    assert_cut(dir.path(), &bytes[..bytes.len() - 1], &batches, 3);
    *bytes.last_mut().unwrap() ^= 1;
    assert_cut(dir.path(), &bytes, &batches, 3);
}

#[test]
fn sound_checksums_over_nonsense_are_damage() {
    let dir = tempdir().unwrap();
    let (bytes, ends) = image(&small());
    let whole = body(&[(1, vec![1]), (2, vec![2; 9])]);
    for len in [1, 5, 6, 8, whole.len() - 1] {
        let nonsense = [&bytes[..], &encoded(4, &whole[..len])].concat();
        assert_damaged(dir.path(), &nonsense, ends[3]);
    }
    let endless = BatchHeader { seq: 4, len: u32::MAX, body_crc: 0 };
    assert_damaged(dir.path(), &[&bytes[..], &endless.encode()].concat(), ends[3]);
    assert_damaged(dir.path(), b"NODE?", 0);
    assert_damaged(dir.path(), b"something else altogether", 0);
}

#[test]
fn a_refused_record_is_named_by_its_offset() {
    let (bytes, ends) = image(&small());
    let dir = with_log(&bytes);
    let error = open_with(dir.path(), &mut |tag, _| {
        if tag == u16::MAX { Err("no such protocol".to_string()) } else { Ok(()) }
    })
    .unwrap_err();
    let at = (ends[2] + BATCH_HEADER_LEN + RECORD_HEADER_LEN + 5) as u64;
    let WalError::Unsound { what: Unsound::Refused { offset, tag, .. }, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((*offset, *tag), (at, u16::MAX));
    assert!(error.to_string().contains("no such protocol"));
    assert_eq!(log(dir.path()), bytes);
}

#[test]
fn replace_keeps_just_what_is_streamed() {
    let dir = with_log(&image(&small()).0);
    let (mut wal, ..) = open(dir.path()).unwrap();
    // Enough for several batches, and one record larger than a batch aims to be.
    let mut kept: Vec<Record> = (0..300).map(|tag| (tag, vec![tag as u8; 5000])).collect();
    kept.push((300, vec![3; CHECKPOINT_BATCH_LEN + 1]));
    kept.push((301, Vec::new()));
    wal.append(&body(&[(9, b"superseded".to_vec())])).unwrap();
    wal.replace(&mut |sink| kept.iter().for_each(|(tag, bytes)| sink.record(*tag, bytes))).unwrap();
    assert_eq!(wal.tail.next_seq, 5);
    assert!(!wal.dirty);
    kept.push((9, b"after".to_vec()));
    wal.append(&body(&kept[302..])).unwrap();
    wal.sync().unwrap();
    drop(wal);
    assert!(!dir.path().join(NEW_NAME).exists());
    let (mut wal, recovery, records) = open(dir.path()).unwrap();
    assert!(records == kept && recovery.torn.is_none());
    wal.replace(&mut |_| {}).unwrap();
    drop(wal);
    assert_eq!(log(dir.path()), file_header(IDENTITY));
    assert_eq!(open(dir.path()).unwrap().2, []);
}

#[test]
fn a_crash_before_the_rename_changes_nothing() {
    let (bytes, _) = image(&small());
    let dir = with_log(&bytes);
    fs::write(dir.path().join(NEW_NAME), image(&small()[..1]).0).unwrap();
    assert_eq!(open(dir.path()).unwrap().2, small().concat());
    assert_eq!(log(dir.path()), bytes);
    assert!(!dir.path().join(NEW_NAME).exists());
}

#[test]
fn nothing_is_accepted_after_a_failure() {
    type Failure<'a> = &'a dyn Fn(&mut Wal) -> Result<(), WalError>;
    let batch = body(&[(1, vec![1])]);
    let failures: [Failure; 5] = [
        &|wal| {
            wal.tail.out = OpenOptions::new().write(true).open("/dev/full").unwrap();
            wal.append(&batch)
        },
        &|wal| {
            wal.append(&batch)?;
            wal.tail.out = File::open("/dev/null").unwrap();
            wal.sync()
        },
        &|wal| {
            fs::create_dir(wal.dir.join(NEW_NAME)).unwrap();
            wal.replace(&mut |_| {})
        },
        &|wal| {
            wal.replace(&mut |sink| {
                sink.tail.out = OpenOptions::new().write(true).open("/dev/full").unwrap();
                sink.record(1, &vec![0; CHECKPOINT_BATCH_LEN]);
                sink.record(2, &[]);
                // Later success does not cover up the failure.
                sink.tail.out = tempfile::tempfile().unwrap();
                sink.record(3, &vec![0; CHECKPOINT_BATCH_LEN]);
            })
        },
        &|wal| {
            let too_long = vec![0; MAX_BATCH_LEN + 1];
            wal.guarded(|wal| {
                let written = wal.tail.write_batch(&too_long);
                written.map_err(|error| wal.failed(error, LOG_NAME))
            })
        },
    ];
    for fail in failures {
        let dir = with_log(&image(&small()).0);
        let (mut wal, ..) = open(dir.path()).unwrap();
        let error = fail(&mut wal).unwrap_err();
        assert!(matches!(error, WalError::Io { .. } | WalError::TooLong { .. }), "{error}");
        for result in [wal.append(&batch), wal.sync(), wal.replace(&mut |_| {})] {
            assert!(matches!(result, Err(WalError::Poisoned { .. })));
        }
        drop(wal);
        let _ = fs::remove_dir(dir.path().join(NEW_NAME));
        assert!(open(dir.path()).unwrap().2.starts_with(&small().concat()));
    }
}

fn any_batches() -> impl Strategy<Value = Vec<Vec<Record>>> {
    let record = (any::<u16>(), prop::collection::vec(any::<u8>(), 0..200));
    prop::collection::vec(prop::collection::vec(record, 1..5), 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_truncation_recovers_a_prefix(batches in any_batches(), cut in 0.0..=1.0) {
        let dir = tempdir().unwrap();
        let (mut wal, ..) = open(dir.path()).unwrap();
        for batch in &batches {
            wal.append(&body(batch)).unwrap();
        }
        drop(wal);
        let (bytes, ends) = image(&batches);
        prop_assert_eq!(&log(dir.path()), &bytes);
        let len = ((cut * bytes.len() as f64) as usize).max(FILE_HEADER_LEN);
        assert_cut(dir.path(), &bytes[..len], &batches, whole_batches(&ends, len));
    }

    #[test]
    fn no_file_panics_or_yields_what_was_not_written(
        batches in any_batches(),
        at in any::<prop::sample::Index>(),
        noise in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let (mut bytes, _) = image(&batches);
        let at = at.index(bytes.len());
        bytes.splice(at..(at + noise.len()).min(bytes.len()), noise);
        let dir = with_log(&bytes);
        if let Ok((_, _, records)) = open(dir.path()) {
            prop_assert!(batches.concat().starts_with(&records));
        }
    }
}
