//! The step that mends OpenEMR's resources as they stream by.
//!
//! A document is read token by token. What is in doubt is kept until it is known what becomes of it, 64 KiB of it at most: what is
//! longer passes as it is. So does the rest of a document that is too deep, or has a name or a number that is too long.
//!
//! Whether the document is whole follows from the same reading: one that ends in the middle, is no JSON, or has something behind
//! it does not go on. Lines of NDJSON are not judged here, nor is what begins as no object: such a document, and such a line, passes
//! as it is.

use std::sync::Arc;

use bytes::Bytes;
use memchr::memchr;

use crate::fhir::body_step::{BodyStep, Broken, Verdict};
use crate::fhir::json::whole_object::{BEHIND, CUT_SHORT, NO_JSON, WholeObject};
use crate::openemr::mend::repairs::{Mended, Repairs};
use crate::openemr::mend::tokens::{Malformed, Token, Trouble};
use crate::openemr::mend::work::Work;

/// The step that mends resources.
#[derive(Debug)]
pub struct Mender {
    work: Work,
    /// Whether there is a document a line.
    has_lines: bool,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The document is mended.
    Mending,
    /// The rest of it passes as it is.
    Passing,
    /// The same, and is followed to its end.
    Following(WholeObject),
    /// It does not go on.
    Bad(Broken),
}

impl Mender {
    /// Makes the step for one document, which counts what it does.
    #[must_use]
    pub fn new(repairs: Repairs, mended: &Arc<Mended>) -> Self {
        Self { work: Work::new(repairs, mended), has_lines: false, state: State::Mending }
    }

    /// The same for NDJSON: a document a line.
    #[must_use]
    pub fn of_lines(self) -> Self {
        Self { has_lines: true, ..self }
    }

    /// Mends a whole document.
    ///
    /// # Errors
    /// It is cut short, no JSON, or has something behind it.
    pub fn whole(mut self, document: Bytes) -> Result<Bytes, Broken> {
        let mended = self.feed(document);
        let rest = self.finish();
        match self.verdict() {
            Verdict::Bad(broken) => Err(broken),
            Verdict::Undecided | Verdict::Good if rest.is_empty() => Ok(mended),
            Verdict::Undecided | Verdict::Good => Ok([mended, rest].concat().into()),
        }
    }

    fn read_piece(&mut self, piece: &[u8]) {
        let mut at = 0;
        loop {
            if !matches!(self.state, State::Mending) {
                let Some(line) = memchr(b'\n', piece.get(at..).unwrap_or_default()).filter(|_| self.has_lines) else { return };
                at += line + 1;
                self.state = State::Mending;
            }
            match self.work.tokens.next(piece, &mut at) {
                Ok(Some(Token::Text)) => self.work.text(piece, at),
                Ok(Some(Token::Comma)) => self.work.comma(piece, at),
                Ok(Some(Token::OpenObject)) => self.work.open(piece, at, true),
                Ok(Some(Token::OpenArray)) => self.work.open(piece, at, false),
                Ok(Some(Token::Close)) => {
                    self.work.close(piece, at);
                    if self.has_lines && self.work.levels.is_empty() {
                        self.work.begin_document();
                    }
                }
                Ok(Some(Token::Scalar)) => self.work.scalar(piece, at),
                Ok(None) => return,
                Err(Malformed) => {
                    self.state = if self.has_lines { State::Passing } else { self.behind_trouble(piece, at) };
                    self.work.begin_document();
                }
            }
        }
    }

    /// What becomes of a document that cannot be mended further than `at`.
    fn behind_trouble(&self, piece: &[u8], at: usize) -> State {
        match self.work.tokens.trouble(piece, at) {
            Trouble::NoObject => State::Passing,
            Trouble::NoJson => State::Bad(NO_JSON),
            Trouble::Behind => State::Bad(BEHIND),
            Trouble::TooMuch(brackets) => {
                let mut rest = WholeObject::within(brackets);
                rest.read(piece.get(at..).unwrap_or_default());
                State::Following(rest)
            }
        }
    }
}

impl BodyStep for Mender {
    fn feed(&mut self, piece: Bytes) -> Bytes {
        match &mut self.state {
            State::Following(rest) => {
                rest.read(&piece);
                return piece;
            }
            State::Passing | State::Bad(_) if !self.has_lines => return piece,
            State::Mending | State::Passing | State::Bad(_) => {}
        }
        self.read_piece(&piece);
        let is_mending = matches!(self.state, State::Mending);
        let undecided = if is_mending { self.work.undecided(&piece) } else { None };
        self.work.read += piece.len() as u64;
        self.work.output.end_piece(&piece, undecided)
    }

    fn finish(&mut self) -> Bytes {
        match &mut self.state {
            State::Mending if !self.has_lines && self.work.tokens.is_within() => self.state = State::Bad(CUT_SHORT),
            State::Following(rest) => rest.end(),
            State::Mending | State::Passing | State::Bad(_) => {}
        }
        self.work.tally.hand_over();
        self.work.output.rest()
    }

    fn verdict(&self) -> Verdict {
        match &self.state {
            State::Mending | State::Passing => Verdict::Good,
            State::Following(rest) => rest.verdict(),
            State::Bad(broken) => Verdict::Bad(*broken),
        }
    }
}

#[cfg(test)]
mod tests;
