//! The step that mends OpenEMR's resources as they stream by.
//!
//! A document is read token by token. What is in doubt is kept until it is known what becomes of it, 64 KiB of it at most: what is
//! longer passes as it is. So does the rest of a document that turns out to be no JSON.

use std::sync::Arc;

use bytes::Bytes;
use memchr::memchr;

use crate::fhir::body_step::BodyStep;
use crate::openemr::mend::repairs::{Mended, Repairs};
use crate::openemr::mend::tokens::Token;
use crate::openemr::mend::work::Work;

/// The step that mends resources.
#[derive(Debug)]
pub struct Mender {
    work: Work,
    /// Whether there is a document a line.
    has_lines: bool,
    /// Whether the rest of the document passes as it is.
    passes: bool,
}

impl Mender {
    /// Makes the step for one document, which counts what it does.
    #[must_use]
    pub fn new(repairs: Repairs, mended: &Arc<Mended>) -> Self {
        Self { work: Work::new(repairs, mended), has_lines: false, passes: false }
    }

    /// The same for NDJSON: a document a line.
    #[must_use]
    pub fn of_lines(self) -> Self {
        Self { has_lines: true, ..self }
    }

    /// Mends a whole document.
    #[must_use]
    pub fn whole(mut self, document: Bytes) -> Bytes {
        let mended = self.feed(document);
        let rest = self.finish();
        if rest.is_empty() { mended } else { [mended, rest].concat().into() }
    }

    fn read_piece(&mut self, piece: &[u8]) {
        let mut at = 0;
        loop {
            if self.passes {
                let Some(line) = memchr(b'\n', piece.get(at..).unwrap_or_default()).filter(|_| self.has_lines) else { return };
                at += line + 1;
                self.passes = false;
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
                Err(_) => {
                    self.passes = true;
                    self.work.begin_document();
                }
            }
        }
    }
}

impl BodyStep for Mender {
    fn feed(&mut self, piece: Bytes) -> Bytes {
        if self.passes && !self.has_lines {
            return piece;
        }
        self.read_piece(&piece);
        let undecided = if self.passes { None } else { self.work.undecided(&piece) };
        self.work.read += piece.len() as u64;
        self.work.output.end_piece(&piece, undecided)
    }

    fn finish(&mut self) -> Bytes {
        self.work.tally.hand_over();
        self.work.output.rest()
    }
}

#[cfg(test)]
mod tests;
