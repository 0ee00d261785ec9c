//! The promises of a spool, whatever happens to its disk and its processes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use proptest::prelude::*;

use super::reader::{Pending, Reader};
use super::segment;
use super::shared::{Shared, Sizes};
use super::writer::Writer;
use crate::audit::disk::{Disk, Folder};
use crate::audit::record::{Kind, Record};
use crate::audit::simulated_disk::SimulatedDisk;

const SIZES: Sizes = Sizes { segments: 4000, segment: 700, headroom: 200, refused: 1000 };

fn record(process: u64, sequence: u64) -> Record {
    Record { request_id: Some(format!("{process}-{sequence}").into()), ..Record::new(Kind::Request, jiff::Timestamp::UNIX_EPOCH) }
}

fn name(record: &Record) -> (u64, u64) {
    let (process, sequence) = record.request_id.as_deref().unwrap().split_once('-').unwrap();
    (process.parse().unwrap(), sequence.parse().unwrap())
}

fn names(pending: &[Pending]) -> Vec<(u64, u64)> {
    pending.iter().map(|pending| name(&pending.record)).collect()
}

/// A process with both ends.
struct Process<D: Disk> {
    number: u64,
    sequence: u64,
    writer: Writer<D>,
    reader: Option<Reader<D>>,
}

impl<D: Disk + Clone> Process<D> {
    fn start(disk: &D, number: u64) -> Option<Self> {
        let shared = Arc::new(Shared::default());
        let writer = Writer::open(disk.clone(), SIZES, Arc::clone(&shared)).ok()?;
        let reader = Reader::open(disk.clone(), shared).ok().flatten();
        Some(Self { number, sequence: 0, writer, reader })
    }

    /// Appends this many records; their sequence numbers, and whether that went well.
    fn append(&mut self, count: u64) -> (Vec<(u64, u64)>, std::io::Result<()>) {
        let sequences = self.sequence..self.sequence + count;
        self.sequence += count;
        let records: Vec<Record> = sequences.clone().map(|sequence| record(self.number, sequence)).collect();
        (sequences.map(|sequence| (self.number, sequence)).collect(), self.writer.append(&records))
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Process 0 or 1 appends.
    Append(usize, u64),
    Room(usize),
    Sync(usize),
    /// Up to so many records are read, and so many of them acknowledged, with events of the next.
    Take(usize, usize, u64),
    /// A process ends in an orderly way, and another takes its place.
    Restart(usize),
    FailAfter(u64),
    Mend,
    KillAll,
    LosePower(usize),
    Fill(usize),
    Empty,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..2_usize, 1..6_u64).prop_map(|(process, count)| Step::Append(process, count)),
        2 => (0..2_usize).prop_map(Step::Room),
        2 => (0..2_usize).prop_map(Step::Sync),
        6 => (1..8_usize, 0..9_usize, 0..3_u64).prop_map(|(most, done, posted)| Step::Take(most, done, posted)),
        1 => (0..2_usize).prop_map(Step::Restart),
        2 => (0..12_u64).prop_map(Step::FailAfter),
        2 => Just(Step::Mend),
        1 => Just(Step::KillAll),
        1 => (0..200_usize).prop_map(Step::LosePower),
        1 => (200..3000_usize).prop_map(Step::Fill),
        1 => Just(Step::Empty),
    ]
}

/// The spool beside what is true of it.
#[derive(Default)]
struct World {
    disk: SimulatedDisk,
    processes: [Option<Process<SimulatedDisk>>; 2],
    started: u64,
    tried: BTreeSet<(u64, u64)>,
    kept: BTreeSet<(u64, u64)>,
    synced: BTreeSet<(u64, u64)>,
    seen: BTreeSet<(u64, u64)>,
    acknowledged: BTreeSet<(u64, u64)>,
    events: BTreeMap<(u64, u64), u64>,
    is_failing: bool,
}

impl World {
    fn process(&mut self, index: usize) -> Option<&mut Process<SimulatedDisk>> {
        if self.processes[index].is_none() {
            self.started += 1;
            self.processes[index] = Process::start(&self.disk, self.started);
        }
        self.processes[index].as_mut()
    }

    fn reader(&mut self) -> Option<&mut Reader<SimulatedDisk>> {
        self.process(0);
        let disk = self.disk.clone();
        for process in self.processes.iter_mut().flatten() {
            if process.reader.is_none() {
                process.reader = Reader::open(disk.clone(), Arc::clone(process.writer.shared())).ok().flatten();
            }
        }
        let readers: Vec<_> = self.processes.iter_mut().flatten().filter_map(|process| process.reader.as_mut()).collect();
        assert!(readers.len() <= 1, "two read at once");
        readers.into_iter().next()
    }

    fn take(&mut self, most: usize, done: usize, posted: u64) -> usize {
        let Some(reader) = self.reader() else { return 0 };
        let Ok(pending) = reader.next(most) else { return 0 };
        let is_written = reader.acknowledge(done, posted).is_ok();
        assert!(pending.len() <= most);
        for (index, one) in pending.iter().enumerate() {
            let name = name(&one.record);
            assert_eq!(one.record, record(name.0, name.1));
            assert!(self.tried.contains(&name), "{name:?} is invented");
            assert!(!self.acknowledged.contains(&name), "{name:?} comes again after it was acknowledged");
            if let Some(events) = self.events.remove(&name) {
                assert_eq!(one.posted, events, "{name:?}");
            }
            if self.seen.insert(name) {
                let before = self.kept.range((name.0, 0)..name).find(|before| !self.seen.contains(before));
                assert_eq!(before, None, "{name:?} comes before one that was appended earlier");
                let later = self.seen.range((name.0, name.1 + 1)..(name.0 + 1, 0)).next();
                assert_eq!(later, None, "{name:?} comes after one that was appended later");
            }
            if is_written && index < done {
                self.acknowledged.insert(name);
            }
            if is_written && index == done && posted > 0 {
                self.events.insert(name, posted);
            }
        }
        pending.len()
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Append(index, count) => {
                let Some(process) = self.process(index) else { return };
                let (names, done) = process.append(count);
                self.tried.extend(&names);
                if done.is_ok() {
                    self.kept.extend(&names);
                }
            }
            Step::Room(index) => {
                let has_room = self.process(index).is_some_and(|process| process.writer.has_room());
                // What was promised is kept, unless the disk fails meanwhile.
                if has_room && !self.is_failing {
                    let (names, done) = self.process(index).unwrap().append(1);
                    assert!(done.is_ok(), "{done:?}");
                    self.tried.extend(&names);
                    self.kept.extend(&names);
                }
            }
            Step::Sync(index) => {
                let Some(process) = self.process(index) else { return };
                let number = process.number;
                if process.writer.sync().is_ok() {
                    self.synced.extend(self.kept.range((number, 0)..(number + 1, 0)));
                }
            }
            Step::Take(most, done, posted) => drop(self.take(most, done, posted)),
            Step::Restart(index) => self.processes[index] = None,
            Step::FailAfter(steps) => {
                self.is_failing = true;
                self.disk.fail_after(steps);
            }
            Step::Mend => {
                self.is_failing = false;
                self.disk.mend();
            }
            Step::KillAll => {
                self.is_failing = false;
                self.processes = [None, None];
                self.disk.kill();
            }
            Step::LosePower(kept) => {
                self.is_failing = false;
                self.processes = [None, None];
                self.disk.lose_power(kept);
                let (synced, seen) = (&self.synced, &self.seen);
                self.kept.retain(|name| synced.contains(name) || seen.contains(name));
                // What was handed out and not synced may be gone, with what is known of its events.
                self.events.retain(|name, _| synced.contains(name));
            }
            Step::Fill(room) => self.disk.set_room(Some(room)),
            Step::Empty => self.disk.set_room(None),
        }
    }

    fn check_bound(&self, writers: u64) {
        let disk = self.disk.clone();
        let numbers = (1..=64).map(segment::name);
        let bytes: usize = numbers.map(|name| disk.content(&name).len()).sum();
        let most = SIZES.segments + writers.saturating_sub(1) * 2 * SIZES.segment;
        assert!(bytes as u64 <= most, "{bytes} bytes");
    }

    fn drain(&mut self) {
        self.disk.mend();
        self.disk.set_room(None);
        self.processes = [None, None];
        self.disk.kill();
        while self.take(5, 5, 0) > 0 {}
        let missing: Vec<_> = self.kept.difference(&self.seen).collect();
        assert!(missing.is_empty(), "never handed out: {missing:?}");
        assert_eq!(segment::all(&self.disk).unwrap(), Vec::<u64>::new(), "segments stay");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn whatever_happens_appended_records_come_at_least_once_in_order_and_nothing_else_does(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        let mut world = World::default();
        for step in &steps {
            world.step(step);
            world.check_bound(2);
        }
        world.drain();
    }

    #[test]
    fn alone_a_process_keeps_the_bound_to_the_byte(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::default();
        for step in &steps {
            let step = match step {
                Step::Append(_, count) => Step::Append(0, *count),
                Step::Room(_) => Step::Room(0),
                Step::Sync(_) => Step::Sync(0),
                Step::Restart(_) => Step::Restart(0),
                step => step.clone(),
            };
            world.step(&step);
            world.check_bound(1);
        }
        world.drain();
    }

    #[test]
    fn a_changed_byte_costs_the_records_that_it_hits_and_no_others(at in 0..400_usize, bit in 0..8_u8) {
        let disk = SimulatedDisk::default();
        let mut process = Process::start(&disk, 1).unwrap();
        process.append(4).1.unwrap();
        let whole = disk.content(&segment::name(1));
        let line = whole.len() / 4;
        let at = at % whole.len();
        disk.tamper(&segment::name(1), |bytes| bytes[at] ^= 1 << bit);
        drop(process);
        let mut process = Process::start(&disk, 2).unwrap();
        let shared = Arc::clone(process.writer.shared());
        let reader = process.reader.as_mut().unwrap();
        let mut seen = Vec::new();
        for _ in 0..10 {
            let pending = reader.next(10).unwrap();
            seen.extend(names(&pending).iter().map(|name| name.1));
            reader.acknowledge(pending.len(), 0).unwrap();
        }
        let hit = (at / line) as u64;
        // Without its line feed a line is one with the next; with one too many it is two, both wrong.
        let is_feed = whole[at] == b'\n';
        let expected: Vec<u64> = (0..4).filter(|n| *n != hit && !(is_feed && *n == hit + 1)).collect();
        prop_assert_eq!(seen, expected);
        prop_assert_eq!((1..=2).contains(&shared.skipped()), !(is_feed && hit == 3));
        prop_assert_eq!(shared.torn(), u64::from(is_feed && hit == 3));
    }
}

#[test]
fn a_full_spool_says_so_changes_nothing_and_has_room_again_when_records_are_acknowledged() {
    let disk = SimulatedDisk::default();
    let mut process = Process::start(&disk, 1).unwrap();
    let mut appended = 0;
    let error = loop {
        match process.append(1).1 {
            Ok(()) => appended += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert!(appended > 10 && !process.writer.has_room());
    let full = process.writer.shared().used();
    assert!(full <= SIZES.segments && process.writer.shared().pending() == full);
    let reader = process.reader.as_mut().unwrap();
    assert_eq!(reader.next(100).unwrap().len(), appended);
    reader.acknowledge(appended, 0).unwrap();
    assert_eq!(process.writer.shared().pending(), 0);
    assert!(reader.next(100).unwrap().is_empty());
    assert!(process.writer.has_room());
    process.append(1).1.unwrap();
}

#[test]
fn a_failure_at_any_step_of_an_append_or_an_acknowledgement_loses_nothing_that_was_kept() {
    for fails_at in 0..40 {
        let mut world = World::default();
        for _ in 0..3 {
            world.step(&Step::Append(0, 4));
        }
        world.step(&Step::FailAfter(fails_at));
        for _ in 0..3 {
            world.step(&Step::Append(0, 4));
            world.step(&Step::Take(3, 3, 0));
            world.step(&Step::Sync(0));
        }
        world.drain();
    }
}

#[test]
fn events_of_a_record_that_are_posted_are_remembered() {
    let disk = SimulatedDisk::default();
    let mut process = Process::start(&disk, 1).unwrap();
    process.append(3).1.unwrap();
    let reader = process.reader.as_mut().unwrap();
    reader.next(3).unwrap();
    reader.acknowledge(1, 7).unwrap();
    drop(process);
    let mut process = Process::start(&disk, 2).unwrap();
    let pending = process.reader.as_mut().unwrap().next(3).unwrap();
    assert_eq!(names(&pending), [(1, 1), (1, 2)]);
    assert_eq!(pending.iter().map(|one| one.posted).collect::<Vec<_>>(), [7, 0]);
}

#[test]
fn in_a_folder_files_are_their_owners_alone_and_gone_when_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool");
    let disk = Folder::make(&path).unwrap();
    let mut old = Process::start(&disk, 1).unwrap();
    let mut new = Process::start(&disk, 2).unwrap();
    assert!(old.reader.is_some() && new.reader.is_none(), "one reads");
    old.append(5).1.unwrap();
    new.append(5).1.unwrap();
    let reader = old.reader.as_mut().unwrap();
    assert_eq!(reader.next(3).unwrap().len(), 3);
    reader.acknowledge(3, 0).unwrap();
    for entry in std::fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
    drop(old);
    let shared = Arc::clone(new.writer.shared());
    let mut reader = Reader::open(disk.clone(), shared).unwrap().unwrap();
    let pending = reader.next(100).unwrap();
    assert_eq!(names(&pending), [(1, 3), (1, 4), (2, 0), (2, 1), (2, 2), (2, 3), (2, 4)]);
    reader.acknowledge(pending.len(), 0).unwrap();
    drop(new);
    assert!(reader.next(100).unwrap().is_empty());
    assert_eq!(segment::all(&disk).unwrap(), Vec::<u64>::new());
}
