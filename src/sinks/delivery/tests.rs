#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::audit::record::{Kind, Record};
use crate::sinks::batch_answer::Trouble;
use proptest::prelude::*;

fn pending(patients: &[usize], posted: u64) -> Vec<Pending> {
    let of = |(number, patients): (usize, &usize)| Pending {
        record: Record {
            patients: (0..*patients).map(|patient| format!("{number}-{patient}").into()).collect(),
            ..Record::new(Kind::Request, jiff::Timestamp::UNIX_EPOCH)
        },
        posted: if number == 0 { posted } else { 0 },
    };
    patients.iter().enumerate().map(of).collect()
}

fn later(word: &'static str) -> BatchAnswer {
    BatchAnswer::later(word)
}

#[test]
fn a_record_of_many_patients_goes_in_several_bundles() {
    let batch = Batch::new(pending(&[1000, 1], 0), 100);
    let sent = batch.next(&Pace::new(100));
    assert_eq!((sent.len(), sent[99].index), (100, 99));
    let mut batch = Batch::new(pending(&[1000, 1], 950), 100);
    let mut pace = Pace::new(100);
    let sent = batch.next(&pace);
    assert_eq!((sent.len(), sent[0].index, sent[50].record), (51, 950, 1));
    let change = batch.answered(&sent, BatchAnswer::Each(vec![Verdict::Taken; 51]), &mut pace, 0.5);
    assert_eq!(change, Change { taken: 51, ..Change::default() });
    assert_eq!(batch.progress(), Progress { records: 2, events: 0 });
}

#[test]
fn what_is_behind_an_event_that_waits_is_not_acknowledged_and_not_sent_again() {
    let mut batch = Batch::new(pending(&[3, 1], 0), 10);
    let mut pace = Pace::new(10);
    let sent = batch.next(&pace);
    let verdicts = vec![Verdict::Taken, Verdict::Later, Verdict::Refused(422), Verdict::Taken];
    let change = batch.answered(&sent, BatchAnswer::Each(verdicts), &mut pace, 0.0);
    assert_eq!((change.taken, change.refused.len(), change.wait), (2, 1, Some(FIRST_WAIT)));
    assert_eq!(batch.progress(), Progress { records: 0, events: 1 });
    let sent = batch.next(&pace);
    assert_eq!(sent.iter().map(|event| (event.record, event.index)).collect::<Vec<_>>(), [(0, 1)]);
    batch.answered(&sent, BatchAnswer::Each(vec![Verdict::Taken]), &mut pace, 0.0);
    assert_eq!((batch.progress(), batch.next(&pace).len()), (Progress { records: 2, events: 0 }, 0));
}

#[test]
fn one_bad_event_among_a_hundred_is_found_by_halving_and_costs_no_other() {
    for bad in [0, 1, 49, 50, 73, 99] {
        let mut batch = Batch::new(pending(&[1; 100], 0), 100);
        let mut pace = Pace::new(100);
        let (mut taken, mut refused, mut bundles) = (0, Vec::new(), 0);
        loop {
            let sent = batch.next(&pace);
            if sent.is_empty() {
                break;
            }
            bundles += 1;
            let answer = match sent.iter().any(|event| event.record == bad) {
                true => BatchAnswer::Refused(400),
                false => BatchAnswer::Each(vec![Verdict::Taken; sent.len()]),
            };
            let change = batch.answered(&sent, answer, &mut pace, 1.0);
            assert_eq!(change.wait, None, "nobody waits for a search of the culprit");
            taken += change.taken;
            refused.extend(change.refused.iter().map(|(event, status)| (event.record, *status)));
        }
        assert_eq!((taken, refused), (99, vec![(bad, 400)]));
        assert!(bundles < 40, "{bundles}");
    }
}

#[test]
fn waits_grow_from_a_second_to_five_minutes_and_begin_again_after_a_success() {
    let mut batch = Batch::new(pending(&[1; 30], 0), 30);
    let mut pace = Pace::new(1);
    let mut fail = |pace: &mut Pace, jitter| {
        let sent = batch.next(pace);
        batch.answered(&sent, later("failed"), pace, jitter).wait.unwrap()
    };
    let waits: Vec<u64> = (0..12).map(|_| fail(&mut pace, 1.0).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    assert_eq!(fail(&mut pace, 0.0), LONGEST_WAIT / 2);
    let sent = batch.next(&pace);
    batch.answered(&sent, BatchAnswer::Each(vec![Verdict::Taken]), &mut pace, 1.0);
    let sent = batch.next(&pace);
    let asked = Trouble { word: "busy", wait: Some(Duration::from_secs(40)) };
    assert_eq!(batch.answered(&sent, BatchAnswer::Later(asked), &mut pace, 1.0).wait, Some(Duration::from_secs(40)));
}

#[test]
fn a_repository_that_refuses_everything_does_not_get_everything() {
    let mut batch = Batch::new(pending(&[1; 30], 0), 30);
    let mut pace = Pace::new(1);
    let waits: Vec<u64> = (0..8)
        .map(|_| {
            let sent = batch.next(&pace);
            batch.answered(&sent, BatchAnswer::Refused(422), &mut pace, 1.0).wait.unwrap_or_default().as_secs()
        })
        .collect();
    assert_eq!(waits, [0, 0, 0, 1, 2, 4, 8, 16]);
}

fn answer() -> impl Strategy<Value = (u8, Vec<u8>)> {
    (0..6_u8, prop::collection::vec(0..4_u8, 8))
}

proptest! {
    /// Whatever a repository answers: each event is taken or refused exactly once, the progress never goes back nor past one that waits.
    #[test]
    fn every_event_is_settled_once_and_the_progress_is_true(
        patients in prop::collection::vec(0..5_usize, 1..8), most in 1..9_usize, answers in prop::collection::vec(answer(), 0..60)
    ) {
        let mut batch = Batch::new(pending(&patients, 0), most);
        let (mut pace, mut settled, mut before) = (Pace::new(most), Vec::new(), Progress::default());
        let total = batch.events.len();
        for (kind, each) in answers.into_iter().chain(std::iter::repeat_n((5, vec![]), 64)) {
            let sent = batch.next(&pace);
            prop_assert!(sent.len() <= most);
            if sent.is_empty() {
                break;
            }
            let verdict = |n: usize| match each.get(n % 8) {
                None | Some(0 | 1) => Verdict::Taken,
                Some(2) => Verdict::Refused(422),
                Some(_) => Verdict::Later,
            };
            let verdicts: Vec<Verdict> = (0..sent.len()).map(verdict).collect();
            let answer = match kind {
                0 => later("failed"),
                1 => BatchAnswer::Refused(400),
                _ => BatchAnswer::Each(verdicts.clone()),
            };
            if let BatchAnswer::Each(_) = answer {
                settled.extend(sent.iter().zip(&verdicts).filter(|(_, v)| **v != Verdict::Later).map(|(e, _)| (e.record, e.index)));
            }
            let is_each = matches!(answer, BatchAnswer::Each(_));
            let change = batch.answered(&sent, answer, &mut pace, 0.3);
            if !is_each {
                settled.extend(change.refused.iter().map(|(e, _)| (e.record, e.index)));
            }
            let progress = batch.progress();
            prop_assert!((progress.records, progress.events) >= (before.records, before.events));
            before = progress;
            for record in 0..progress.records {
                let count = audit_event::count(&batch.records[record].record);
                prop_assert!((0..count).all(|index| settled.contains(&(record, index))));
            }
            prop_assert!((0..progress.events).all(|index| settled.contains(&(progress.records, index))));
        }
        settled.sort_unstable();
        let once = settled.clone();
        settled.dedup();
        prop_assert_eq!((settled.len(), once.len()), (total, total));
    }
}
