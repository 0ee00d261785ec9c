//! The filters that the body of an answer passes on its way to the client.

use bytes::Bytes;

use crate::fhir::body_step::{BodyStep, Verdict};

/// The filters of one body, in order. Without any, pieces pass untouched.
#[derive(Debug, Default)]
pub(super) struct BodyFilters(Vec<Box<dyn BodyStep>>);

impl BodyFilters {
    /// Adds a filter behind the others.
    pub(super) fn push(&mut self, step: impl BodyStep + 'static) {
        self.0.push(Box::new(step));
    }

    /// Adds a filter behind the others, if there is one.
    pub(super) fn push_some(&mut self, step: Option<impl BodyStep + 'static>) {
        self.0.extend(step.map(|step| Box::new(step) as Box<dyn BodyStep>));
    }

    /// Whether the body passes as it is.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the answer may go on: only if every filter says so.
    #[must_use]
    pub(super) fn verdict(&self) -> Verdict {
        self.0.iter().map(|step| step.verdict()).find(|verdict| *verdict != Verdict::Good).unwrap_or(Verdict::Good)
    }

    /// Passes a piece through all filters; at the end, what each still has goes through those behind it.
    pub(super) fn pass(&mut self, body: &mut Option<Bytes>, end_of_stream: bool) {
        if self.0.is_empty() {
            return;
        }
        let mut piece = body.take().unwrap_or_default();
        for step in &mut self.0 {
            let fed = if piece.is_empty() { piece } else { step.feed(piece) };
            piece = if end_of_stream { joined(fed, step.finish()) } else { fed };
        }
        *body = (!piece.is_empty()).then_some(piece);
    }
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
