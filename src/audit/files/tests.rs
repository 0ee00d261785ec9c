use proptest::prelude::*;

use super::*;
use crate::audit::finding::{Finding, What};
use crate::audit::line;
use crate::audit::lines::{Lines, Next};
use crate::audit::record::Kind;
use crate::audit::simulated_disk::SimulatedDisk;
use crate::audit::verify::verify;

const ORIGIN: &str = "gateway.example/audit";

/// A process that writes, and what was asked of it.
struct Process {
    disk: SimulatedDisk,
    pkcs8: Vec<u8>,
    now: Timestamp,
    files: Option<Files<SimulatedDisk>>,
    /// The numbers of records: tried, written, and forced to the disk.
    tried: u64,
    written: Vec<u64>,
    synced: usize,
}

impl Process {
    fn new() -> Self {
        let pkcs8 = aws_lc_rs::signature::Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
        Self {
            disk: SimulatedDisk::default(),
            pkcs8: pkcs8.as_ref().to_vec(),
            now: "2026-11-29T23:50:00Z".parse().unwrap(),
            files: None,
            tried: 0,
            written: Vec::new(),
            synced: 0,
        }
    }

    fn key(&self) -> CheckpointKey {
        CheckpointKey::read(ORIGIN, &self.pkcs8).unwrap()
    }

    fn start(&mut self) -> Vec<String> {
        let settings = Settings { origin: ORIGIN.to_owned(), rotate_at: 4000, checkpoint_every: Duration::from_secs(60) };
        match Files::open(self.disk.clone(), settings, self.key(), self.now) {
            Ok((files, notes)) => {
                self.files = Some(files);
                notes
            }
            Err(_) => Vec::new(),
        }
    }

    fn append(&mut self, count: u64) {
        let Some(files) = &mut self.files else { return };
        let numbers = self.tried..self.tried + count;
        self.tried += count;
        let records: Vec<Record> = numbers.clone().map(|number| record(number, self.now)).collect();
        if files.append(&records, self.now).is_ok() {
            self.written.extend(numbers);
        }
    }

    fn do_step(&mut self, step: &Step) {
        match *step {
            Step::Append(count) => self.append(count),
            Step::Wait(seconds) => {
                self.now += SignedDuration::from_secs(seconds);
                if let Some(files) = &mut self.files {
                    let _ = files.tend(self.now);
                }
            }
            Step::Sync => {
                if self.files.as_ref().is_some_and(|files| files.sync().is_ok()) {
                    self.synced = self.written.len();
                }
            }
            Step::FailAfter(steps) => self.disk.fail_after(steps),
            Step::Mend => self.disk.mend(),
            Step::Kill => {
                self.files = None;
                self.disk.kill();
                self.start();
            }
            Step::End => {
                if let Some(files) = self.files.take() {
                    let _ = files.close(self.now);
                }
                self.start();
            }
        }
    }

    /// The numbers of all records in the files, in order.
    fn found(&self) -> Vec<u64> {
        let mut found = Vec::new();
        for name in names::all(&self.disk).unwrap() {
            let mut lines = Lines::new(&self.disk, &name);
            while let Next::Line(line) = lines.next().unwrap() {
                let (_, record) = line::read(line).unwrap();
                found.extend(record.request_id.map(|id| id.parse::<u64>().unwrap()));
            }
        }
        found
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let files = names::all(&self.disk).unwrap();
        verify(&self.disk, &files, &[self.key().verifier().clone()], &mut |finding| findings.push(finding)).unwrap();
        findings
    }
}

fn record(number: u64, now: Timestamp) -> Record {
    Record { request_id: Some(number.to_string().into()), ..Record::new(Kind::Request, now) }
}

#[derive(Debug, Clone)]
enum Step {
    Append(u64),
    Wait(i64),
    Sync,
    FailAfter(u64),
    Mend,
    Kill,
    End,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1..20_u64).prop_map(Step::Append),
        2 => (1..900_i64).prop_map(Step::Wait),
        1 => Just(Step::Sync),
        2 => (0..12_u64).prop_map(Step::FailAfter),
        3 => Just(Step::Mend),
        1 => Just(Step::Kill),
        1 => Just(Step::End),
    ];
    proptest::collection::vec(step, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_was_written_is_there_once_in_order_and_verifies_whatever_failed(steps in steps()) {
        let mut process = Process::new();
        process.start();
        steps.iter().for_each(|step| process.do_step(step));
        process.do_step(&Step::Kill);
        process.do_step(&Step::End);
        let found = process.found();
        prop_assert!(found.is_sorted_by(|one, other| one < other), "{found:?}");
        prop_assert!(process.written.iter().all(|number| found.binary_search(number).is_ok()), "{:?} of {found:?}", process.written);
        prop_assert!(found.iter().all(|number| *number < process.tried));
        let faults: Vec<_> = process.findings().into_iter().filter(|finding| finding.what.is_fault()).collect();
        prop_assert!(faults.is_empty(), "{faults:?}");
    }

    #[test]
    fn a_power_failure_takes_nothing_that_was_forced_to_the_disk(steps in steps(), kept in 0..3000_usize) {
        let mut process = Process::new();
        process.start();
        steps.iter().for_each(|step| process.do_step(step));
        process.files = None;
        process.disk.lose_power(kept);
        process.start();
        process.do_step(&Step::End);
        let found = process.found();
        prop_assert!(process.written.iter().take(process.synced).all(|number| found.contains(number)));
        prop_assert!(found.is_sorted_by(|one, other| one < other));
        // Nobody has changed anything.
        let faults: Vec<_> = process.findings().into_iter().filter(|finding| finding.what.is_fault()).collect();
        prop_assert!(faults.is_empty(), "{faults:?}");
    }

    #[test]
    fn every_change_of_a_line_is_found_where_it_is(
        counts in proptest::collection::vec(1..6_u64, 1..12), at in any::<prop::sample::Index>(), change in 0..5_u8, is_ended in any::<bool>()
    ) {
        let mut process = Process::new();
        process.start();
        counts.iter().for_each(|count| process.append(*count));
        process.do_step(&Step::Wait(61));
        if is_ended {
            process.do_step(&Step::End);
        }
        let name = names::all(&process.disk).unwrap().remove(0);
        let text = String::from_utf8(process.disk.content(&name)).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let at = at.index(lines.len());
        match change {
            0 => lines[at] = lines[at].replacen("\"time\":\"2026", "\"time\":\"2025", 1),
            1 => drop(lines.remove(at)),
            2 => lines.insert(at, lines[at].clone()),
            3 if at + 1 < lines.len() => lines.swap(at, at + 1),
            _ => lines.truncate(at),
        }
        let changed: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
        prop_assume!(changed != text);
        process.disk.tamper(&name, |bytes| *bytes = changed.into_bytes());
        let faults: Vec<_> = process.findings().into_iter().filter(|finding| finding.file == name && finding.what.is_fault()).collect();
        prop_assert!(!faults.is_empty(), "{change} at {at} of {}", lines.len());
        let nearest = faults.iter().filter_map(|fault| fault.line).map(|line| line.abs_diff(at as u64 + 1)).min();
        prop_assert!(nearest.is_none_or(|nearest| nearest <= 1), "{change} at {at}: {faults:?}");
        if matches!(change, 0 | 2) && at + 1 < lines.len() {
            prop_assert!(nearest.is_some(), "{faults:?}");
        }
    }
}

#[test]
fn a_file_begins_with_each_start_each_day_and_at_its_size_and_names_the_one_before() {
    let mut process = Process::new();
    process.start();
    process.append(1);
    process.do_step(&Step::Wait(700));
    process.append(1);
    process.do_step(&Step::End);
    (0..40).for_each(|_| process.append(1));
    let files = names::all(&process.disk).unwrap();
    assert!(files.len() >= 4, "{files:?}");
    for (earlier, file) in files.iter().zip(files.iter().skip(1)) {
        let Next::Line(first) = Lines::new(&process.disk, file)
            .next()
            .map(|next| match next {
                Next::Line(line) => Next::Line(line.to_vec().leak()),
                other => panic!("{other:?}"),
            })
            .unwrap()
        else {
            panic!("no line")
        };
        let (head, record) = line::read(first).unwrap();
        assert_eq!((record.kind, head.n), (Kind::FileBegun, 0));
        assert_eq!(&head.follows.unwrap().file, earlier);
    }
    assert_eq!(process.found().len(), 42);
}

#[test]
fn a_removed_file_and_a_rewritten_one_are_missed_by_the_next() {
    let mut process = Process::new();
    for _ in 0..3 {
        process.start();
        process.append(3);
        process.do_step(&Step::Wait(1));
        process.files.take().unwrap().close(process.now).unwrap();
    }
    let files = names::all(&process.disk).unwrap();
    assert!(process.findings().is_empty(), "{:?}", process.findings());
    let middle = &files[1];
    let content = process.disk.content(middle);
    process.disk.remove(middle).unwrap();
    let findings = process.findings();
    assert!(findings.iter().any(|finding| finding.what == What::FileRemoved(middle.clone())), "{findings:?}");
    // A file that ends earlier, and was signed so: somebody with the key did it.
    let mut lines: Vec<&[u8]> = content.split_inclusive(|byte| *byte == b'\n').collect();
    lines.truncate(3);
    process.disk.tamper(middle, |bytes| *bytes = lines.concat());
    let mut tree = crate::audit::tree::Tree::default();
    lines.iter().for_each(|line| tree.push(crate::audit::tree::leaf(line.strip_suffix(b"\n").unwrap())));
    let signed = process.key().sign(&Checkpoint { origin: format!("{ORIGIN}/{middle}"), size: 3, root: tree.root() });
    process.disk.replace(&names::checkpoint(middle), signed.as_bytes()).unwrap();
    let findings = process.findings();
    assert!(findings.iter().any(|finding| matches!(finding.what, What::TruncatedAsClaimed { .. })), "{findings:?}");
}

#[test]
fn a_file_that_was_changed_is_left_as_it_is_and_one_that_is_written_is_not_touched() {
    let mut process = Process::new();
    process.start();
    process.append(3);
    let name = names::all(&process.disk).unwrap().remove(0);
    // Another process starts, as in an upgrade.
    let mut other = Process { disk: process.disk.clone(), pkcs8: process.pkcs8.clone(), ..Process::new() };
    assert!(other.start().is_empty());
    process.append(1);
    assert!(process.findings().iter().all(|finding| !finding.what.is_fault()));
    process.files = None;
    process.disk.kill();
    process.disk.tamper(&name, |bytes| {
        let at = memchr::memmem::find(bytes, b"\"request_id\":\"1\"").unwrap();
        bytes[at + 14] = b'7';
    });
    let before = process.disk.content(&name);
    let notes = process.start();
    assert!(notes.iter().any(|note| note.contains("line 3 was changed") && note.contains("left as it is")), "{notes:?}");
    assert_eq!(process.disk.content(&name), before);
}

#[test]
fn room_is_set_aside_so_that_a_full_disk_loses_nothing_of_what_has_begun() {
    let mut process = Process::new();
    process.start();
    let mut files = process.files.take().unwrap();
    let used: usize = process.disk.content(&names::all(&process.disk).unwrap()[0]).len();
    // Nothing more than was set aside.
    process.disk.set_room(Some(used + 4 * 1024 * 1024 + 64 * 1024));
    let mut written = 0;
    while files.has_room() {
        let records: Vec<Record> = (0..200).map(|number| record(number, process.now)).collect();
        files.settings.rotate_at = u64::MAX;
        files.append(&records, process.now).unwrap();
        written += 200;
    }
    let records: Vec<Record> = (0..2000).map(|number| record(number, process.now)).collect();
    files.append(&records, process.now).expect("what has begun has room");
    assert!(written > 5000);
    while files.append(&records, process.now).is_ok() {}
    assert!(!files.has_room());
    process.disk.set_room(None);
    files.tend(process.now).unwrap();
    assert!(files.has_room());
    files.append(&records, process.now).unwrap();
}

#[test]
fn at_midnight_on_a_full_disk_what_has_begun_is_recorded() {
    let mut process = Process::new();
    process.start();
    process.append(1);
    process.disk.set_room(Some(1));
    process.now += SignedDuration::from_secs(700);
    assert!(process.files.as_ref().unwrap().has_room());
    process.append(1);
    assert_eq!(process.written, [0, 1]);
    assert!(process.files.as_mut().unwrap().tend(process.now).is_err());
    process.disk.set_room(None);
    process.do_step(&Step::Wait(1));
    process.append(1);
    process.do_step(&Step::End);
    assert_eq!(process.found(), [0, 1, 2]);
    assert_eq!(names::all(&process.disk).unwrap().len(), 3);
    assert!(process.findings().iter().all(|finding| !finding.what.is_fault()), "{:?}", process.findings());
}

#[test]
fn a_file_that_somebody_emptied_is_told_of_and_stays() {
    let mut process = Process::new();
    process.start();
    process.append(3);
    process.files = None;
    process.disk.kill();
    let name = names::all(&process.disk).unwrap().remove(0);
    process.disk.tamper(&name, Vec::clear);
    let notes = process.start();
    assert!(notes.iter().any(|note| note.contains(&name) && note.contains("was removed")), "{notes:?}");
    assert!(names::all(&process.disk).unwrap().contains(&name));
}

#[test]
fn a_clock_that_is_set_back_delays_no_checkpoint() {
    let mut process = Process::new();
    process.start();
    process.now -= SignedDuration::from_hours(5);
    process.append(1);
    assert!(process.files.as_ref().unwrap().next_duty() <= process.now + SignedDuration::from_secs(60));
}

#[test]
fn a_last_record_that_is_moved_is_blamed_alone() {
    let mut process = Process::new();
    process.start();
    process.append(6);
    process.do_step(&Step::End);
    let name = names::all(&process.disk).unwrap().remove(0);
    let text = String::from_utf8(process.disk.content(&name)).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.swap(2, 7);
    process.disk.tamper(&name, |bytes| *bytes = lines.iter().flat_map(|line| [line, "\n"]).collect::<String>().into_bytes());
    let blamed: Vec<_> = process.findings().into_iter().filter_map(|finding| finding.line).collect();
    assert_eq!(blamed, [3, 8]);
}
