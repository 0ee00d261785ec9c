//! The step that makes a `searchset` of OpenEMR's Bundle and cuts a page out of it, in one pass and in bounded memory.
//!
//! The Bundle is read by depth and by name, whatever the order of its members and the white space between them. Resources are
//! read only as far as their type and their id; from there on only brackets are counted. What is known only at the end, such as
//! the total, is written there, because the members of an object have no order.
//!
//! Decision: `docs/decisions/12-bundles.md`.

use bytes::{Bytes, BytesMut};

use crate::fhir::body_step::{BodyStep, Verdict};
use crate::fhir::spliced::Spliced;
use crate::openemr::bundle::fault::Fault;
use crate::openemr::bundle::full_url::Base;
use crate::openemr::bundle::reader::Reader;
use crate::openemr::bundle::searchset::Searchset;
use crate::openemr::search::terms::SearchTerms;

/// The most bytes that are kept while it is not known whether the document is a Bundle.
const MAX_UNSENT: usize = 64 * 1024;

/// The step that rewrites the answer to a search.
#[derive(Debug)]
pub struct BundleStream {
    reader: Reader,
    state: State,
    /// What goes out once the document turns out to be a Bundle.
    unsent: BytesMut,
    /// The document as it came, where that goes out when it is no Bundle.
    original: Option<BytesMut>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing has come.
    Begun,
    /// It is not known what the document is.
    Undecided,
    /// It is a Bundle.
    Bundle,
    /// It is none and passes as it is.
    Other,
    /// It has ended.
    Ended,
    /// It does not go on.
    Bad(Fault),
}

impl BundleStream {
    /// Makes the step for the answer to a search. With `repairs` the Bundle becomes a searchset; without, only the terms are
    /// applied. `base` is the FHIR base in case the answer does not tell it, and `sent` the time of OpenEMR's `Date`, in seconds
    /// since 1970.
    #[must_use]
    pub fn new(terms: SearchTerms, repairs: bool, base: &str, sent: Option<i64>) -> Self {
        let reader = Reader::new(Searchset::new(terms, repairs, Base::new(base)), sent);
        Self { reader, state: State::Begun, unsent: BytesMut::new(), original: None }
    }

    /// Lets a document that is no Bundle pass as it is: OpenEMR was asked for just what the client asked.
    #[must_use]
    pub fn or_as_it_is(self) -> Self {
        Self { original: Some(BytesMut::new()), ..self }
    }

    fn decide(&mut self, made: Bytes, piece: &Bytes) -> Bytes {
        if self.reader.is_bundle() && self.unsent.is_empty() {
            self.begin();
            return made;
        }
        self.unsent.extend_from_slice(&made);
        if let Some(original) = &mut self.original {
            original.extend_from_slice(piece);
        }
        match self.unsent.len() > MAX_UNSENT {
            _ if self.reader.is_bundle() => self.begin(),
            // Nothing else has entries in front of its type.
            true if self.reader.has_entry() => self.begin(),
            true => self.fail(Fault::NoBundle, &Bytes::new()),
            false => Bytes::new(),
        }
    }

    fn begin(&mut self) -> Bytes {
        self.state = State::Bundle;
        self.original = None;
        self.unsent.split().freeze()
    }

    fn fail(&mut self, fault: Fault, piece: &Bytes) -> Bytes {
        self.unsent = BytesMut::new();
        match self.original.take() {
            Some(mut original) => {
                self.state = State::Other;
                original.extend_from_slice(piece);
                original.freeze()
            }
            None => {
                self.state = State::Bad(fault);
                Bytes::new()
            }
        }
    }
}

impl BodyStep for BundleStream {
    fn feed(&mut self, piece: Bytes) -> Bytes {
        match self.state {
            State::Other => return piece,
            State::Ended | State::Bad(_) => return Bytes::new(),
            State::Begun => self.state = State::Undecided,
            State::Undecided | State::Bundle => {}
        }
        let mut out = Spliced::of(piece.clone());
        match self.reader.read(&piece, &mut out) {
            Err(fault) => self.fail(fault, &piece),
            Ok(()) if self.state == State::Bundle => out.finish(),
            Ok(()) => self.decide(out.finish(), &piece),
        }
    }

    fn finish(&mut self) -> Bytes {
        match (self.state, self.reader.has_ended()) {
            (State::Bundle, true) => {
                self.state = State::Ended;
                // Without its last bracket nobody takes what is cut short for whole.
                Bytes::from_static(b"}")
            }
            (State::Bundle, false) => self.fail(Fault::CutShort, &Bytes::new()),
            (State::Begun, _) => self.fail(Fault::Empty, &Bytes::new()),
            (State::Undecided, _) => self.fail(Fault::NoBundle, &Bytes::new()),
            (State::Other | State::Ended | State::Bad(_), _) => Bytes::new(),
        }
    }

    fn verdict(&self) -> Verdict {
        match self.state {
            State::Begun | State::Undecided => Verdict::Undecided,
            State::Bundle | State::Other | State::Ended => Verdict::Good,
            State::Bad(fault) => Verdict::Bad(fault.broken()),
        }
    }

    fn has_next_page(&self) -> bool {
        self.state == State::Ended && self.reader.has_next_page()
    }
}

#[cfg(test)]
mod tests;
