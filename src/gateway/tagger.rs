//! Finds the entity tag of a body that is kept until it is whole.

use bytes::Bytes;
use http::HeaderValue;

use crate::fhir::body_step::{BodyStep, Verdict};
use crate::gateway::kept_body::KeptBody;
use crate::http::entity_tag;

/// The longest body that is kept for its tag, in bytes. A longer one goes on without.
const MOST: usize = 1024 * 1024;

/// Keeps a body until it is whole, and finds its tag. Nothing of the answer goes out before that.
#[derive(Debug)]
pub(super) struct Tagger {
    /// The coding that the body gets behind this step.
    coding: Option<HeaderValue>,
    /// The lines of the client's If-None-Match.
    known: Vec<HeaderValue>,
    body: KeptBody,
    state: State,
}

#[derive(Debug)]
enum State {
    Gathering,
    TooLong,
    Tagged(Tagged),
}

/// The tag of a body.
#[derive(Debug)]
pub(super) struct Tagged {
    /// The tag itself.
    pub(super) tag: HeaderValue,
    /// Whether the client has the body already.
    pub(super) is_known: bool,
}

impl Tagger {
    /// A step for a body that gets this coding behind it. `known`: the lines of the client's If-None-Match.
    #[must_use]
    pub(super) fn new(coding: Option<HeaderValue>, known: Vec<HeaderValue>) -> Self {
        Self { coding, known, body: KeptBody::default(), state: State::Gathering }
    }

    /// The tag, once the body is whole.
    #[must_use]
    pub(super) fn tagged(&self) -> Option<&Tagged> {
        match &self.state {
            State::Tagged(tagged) => Some(tagged),
            State::Gathering | State::TooLong => None,
        }
    }

    /// Whether the client has the body already, so that nothing of it goes out.
    #[must_use]
    pub(super) fn is_known(&self) -> bool {
        self.tagged().is_some_and(|tagged| tagged.is_known)
    }
}

impl BodyStep for Tagger {
    fn feed(&mut self, piece: Bytes) -> Bytes {
        if matches!(self.state, State::TooLong) {
            return piece;
        }
        self.body.push(piece);
        if self.body.len() <= MOST {
            return Bytes::new();
        }
        self.state = State::TooLong;
        self.body.take()
    }

    fn finish(&mut self) -> Bytes {
        if !matches!(self.state, State::Gathering) {
            return Bytes::new();
        }
        let body = self.body.take();
        let tag = entity_tag::of(&body, self.coding.as_ref());
        let is_known = entity_tag::is_known(&self.known, tag.as_bytes());
        self.state = State::Tagged(Tagged { tag, is_known });
        if is_known { Bytes::new() } else { body }
    }

    fn verdict(&self) -> Verdict {
        match self.state {
            State::Gathering => Verdict::Undecided,
            State::TooLong | State::Tagged(_) => Verdict::Good,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What comes out of a tagger for these pieces before the end, and at the end.
    fn passed(tagger: &mut Tagger, pieces: &[Bytes]) -> (Vec<u8>, Vec<u8>) {
        let before = pieces.iter().filter(|piece| !piece.is_empty()).flat_map(|piece| tagger.feed(piece.clone())).collect();
        (before, tagger.finish().to_vec())
    }

    #[test]
    fn what_the_client_has_is_not_sent() {
        let body = Bytes::from_static(b"{\"resourceType\":\"Patient\"}");
        let tag = entity_tag::of(&body, None);
        let gzip = Some(HeaderValue::from_static("gzip"));
        for (coding, known, is_known) in [
            (None, vec![], false),
            (None, vec![tag.clone()], true),
            (None, vec![HeaderValue::from_static("*")], true),
            (gzip.clone(), vec![tag.clone()], false),
            (gzip.clone(), vec![entity_tag::of(&body, gzip.as_ref())], true),
        ] {
            let mut tagger = Tagger::new(coding, known.clone());
            let (before, rest) = passed(&mut tagger, &[body.slice(..7), body.slice(7..)]);
            assert!(before.is_empty());
            assert_eq!(rest.is_empty(), is_known, "{known:?}");
            assert_eq!(tagger.is_known(), is_known);
        }
    }

    #[test]
    fn a_long_body_streams_from_where_it_is_too_long() {
        let piece = Bytes::from(vec![b' '; MOST / 2 + 1]);
        let mut tagger = Tagger::new(None, vec![HeaderValue::from_static("*")]);
        assert!(tagger.feed(piece.clone()).is_empty());
        assert_eq!(tagger.verdict(), Verdict::Undecided);
        assert_eq!(tagger.feed(piece.clone()).len(), 2 * piece.len());
        assert_eq!((tagger.verdict(), tagger.feed(piece.clone()).len()), (Verdict::Good, piece.len()));
        assert!(tagger.finish().is_empty() && tagger.tagged().is_none());
    }

    proptest! {
        #[test]
        fn the_pieces_make_no_difference(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..8)) {
            let pieces: Vec<Bytes> = pieces.into_iter().map(Bytes::from).collect();
            let whole = pieces.concat();
            let mut tagger = Tagger::new(None, Vec::new());
            prop_assert_eq!(passed(&mut tagger, &pieces), (Vec::new(), whole.clone()));
            prop_assert_eq!(&tagger.tagged().unwrap().tag, &entity_tag::of(&whole, None));
        }
    }
}
