//! The filters that the body of an answer passes on its way to the client.

use bytes::Bytes;
use tokio::task::yield_now;

use crate::audit::patients::PatientsFound;
use crate::audit::record::Text;
use crate::fhir::body_step::{BodyStep, Verdict};
use crate::gateway::kept_body::KeptBody;
use crate::gateway::tagger::{Tagged, Tagger};

/// How much of a body passes before others have their turn, in bytes: as much as Pingora reads at once.
const PART: usize = 64 * 1024;

/// The filters of one body, in order. Without any, pieces pass untouched.
#[derive(Debug, Default)]
pub(super) struct BodyFilters {
    steps: Vec<Box<dyn BodyStep>>,
    /// Looks at what comes out of the steps, for the audit trail.
    patients: Option<Box<PatientsFound>>,
    /// Keeps it until its tag is known.
    tagger: Option<Box<Tagger>>,
    /// The last of all.
    compressor: Option<Box<dyn BodyStep>>,
}

impl BodyFilters {
    /// Adds a filter behind the others.
    pub(super) fn push(&mut self, step: impl BodyStep + 'static) {
        self.steps.push(Box::new(step));
    }

    /// Adds a filter behind the others, if there is one.
    pub(super) fn push_some(&mut self, step: Option<impl BodyStep + 'static>) {
        self.steps.extend(step.map(|step| Box::new(step) as Box<dyn BodyStep>));
    }

    /// Whether the body, which has ended, has a link to a next page.
    #[must_use]
    pub(super) fn has_next_page(&self) -> bool {
        self.steps.iter().any(|step| step.has_next_page())
    }

    /// Lets the patients be found in what comes out of the filters, before it is compressed.
    pub(super) fn find_patients(&mut self, found: PatientsFound) {
        self.patients = Some(Box::new(found));
    }

    /// Keeps what comes out of the filters until its tag is known.
    pub(super) fn tag(&mut self, tagger: Tagger) {
        self.tagger = Some(Box::new(tagger));
    }

    /// The tag of the body, once it is known.
    #[must_use]
    pub(super) fn tagged(&self) -> Option<&Tagged> {
        self.tagger.as_ref()?.tagged()
    }

    /// Whether the body is compressed here.
    #[must_use]
    pub(super) fn compress_body(&self) -> bool {
        self.compressor.is_some()
    }

    /// Compresses what comes out of the filters.
    pub(super) fn compress(&mut self, compressor: impl BodyStep + 'static) {
        self.compressor = Some(Box::new(compressor));
    }

    /// Whether the body passes as it is.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.tagger.is_none() && self.compressor.is_none()
    }

    /// Whether the answer may go on: only if every filter says so.
    #[must_use]
    pub(super) fn verdict(&self) -> Verdict {
        let tagger = self.tagger.iter().map(|tagger| tagger.verdict());
        let mut verdicts = self.steps.iter().map(|step| step.verdict()).chain(tagger);
        verdicts.find(|verdict| *verdict != Verdict::Good).unwrap_or(Verdict::Good)
    }

    /// Passes a piece through all filters; at the end, what each still has goes through those behind it.
    pub(super) fn pass(&mut self, body: &mut Option<Bytes>, end_of_stream: bool) {
        if self.is_empty() {
            if let (Some(patients), Some(piece)) = (&mut self.patients, &*body) {
                patients.read(piece);
            }
            return;
        }
        let mut piece = body.take().unwrap_or_default();
        for step in &mut self.steps {
            piece = passed(step.as_mut(), piece, end_of_stream);
        }
        if let Some(patients) = &mut self.patients {
            patients.read(&piece);
        }
        if let Some(tagger) = &mut self.tagger {
            piece = passed(tagger.as_mut(), piece, end_of_stream);
            if tagger.is_known() {
                self.compressor = None;
            }
        }
        if let Some(compressor) = &mut self.compressor {
            piece = passed(compressor.as_mut(), piece, end_of_stream);
        }
        *body = (!piece.is_empty()).then_some(piece);
    }

    /// Passes a whole body through all filters, a part at a time: a long one would keep other requests of its thread waiting.
    pub(super) async fn pass_whole(&mut self, mut body: Bytes) -> Bytes {
        let mut passed = KeptBody::default();
        loop {
            let is_last = body.len() <= PART;
            let mut part = Some(body.split_to(body.len().min(PART)));
            self.pass(&mut part, is_last);
            if let Some(part) = part {
                passed.push(part);
            }
            if is_last || matches!(self.verdict(), Verdict::Bad(_)) {
                return passed.take();
            }
            yield_now().await;
        }
    }

    /// What was found of patients in all that has passed. Nothing more is looked for.
    pub(super) fn patients_found(&mut self) -> Option<PatientsFound> {
        self.patients.take().map(|found| *found)
    }

    /// The patients found since the last time, if there are so many.
    pub(super) fn many_patients(&mut self, least: usize) -> Option<Vec<Text>> {
        self.patients.as_mut().filter(|found| found.fresh() >= least).map(|found| found.take())
    }
}

fn passed(step: &mut dyn BodyStep, piece: Bytes, end_of_stream: bool) -> Bytes {
    let fed = if piece.is_empty() { piece } else { step.feed(piece) };
    if end_of_stream { joined(fed, step.finish()) } else { fed }
}

fn joined(first: Bytes, second: Bytes) -> Bytes {
    match (first.is_empty(), second.is_empty()) {
        (_, true) => first,
        (true, false) => second,
        (false, false) => [first, second].concat().into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fhir::json::pretty::Pretty;

    #[derive(Debug)]
    struct Doubles(Vec<u8>);

    impl BodyStep for Doubles {
        fn feed(&mut self, piece: Bytes) -> Bytes {
            self.0.extend_from_slice(&piece);
            [&piece[..], &piece[..]].concat().into()
        }

        fn finish(&mut self) -> Bytes {
            Bytes::from(std::mem::take(&mut self.0))
        }
    }

    #[test]
    fn pieces_go_through_every_step_and_so_do_last_words() {
        let mut path = BodyFilters::default();
        path.push(Doubles(Vec::new()));
        path.push(Doubles(Vec::new()));
        let mut sent = Vec::new();
        for (piece, end) in [(Some("a"), false), (None, false), (Some("b"), true)] {
            let mut body = piece.map(Bytes::from);
            path.pass(&mut body, end);
            sent.push(body.map(|body| String::from_utf8(body.to_vec()).unwrap()));
        }
        // The first step says aa, bb, ab; the second doubles each and says all of it at its end.
        assert_eq!(sent, [Some("aaaa".to_owned()), None, Some("bbabbbabaabbab".to_owned())]);
    }

    #[tokio::test]
    async fn a_whole_body_passes_in_parts_as_it_would_at_once() {
        for entries in [0, 1, PART / 8, PART / 2] {
            let body = Bytes::from(format!("[{}]", vec![r#"{"a":[1]}"#; entries].join(",")));
            let (mut at_once, mut in_parts) = (BodyFilters::default(), BodyFilters::default());
            at_once.push(Pretty::default());
            in_parts.push(Pretty::default());
            let mut whole = Some(body.clone());
            at_once.pass(&mut whole, true);
            assert_eq!(Some(in_parts.pass_whole(body.clone()).await), whole, "{entries}");
            assert_eq!(BodyFilters::default().pass_whole(body.clone()).await, body, "without steps");
        }
    }

    #[test]
    fn without_steps_nothing_is_touched() {
        let mut path = BodyFilters::default();
        for body in [None, Some(Bytes::new()), Some(Bytes::from_static(b"x"))] {
            let mut passed = body.clone();
            path.pass(&mut passed, false);
            assert_eq!(passed, body);
        }
    }
}
