//! The patients that an answer is about, found in its body as it leaves for the client.
//!
//! A patient is: the id of a resource of type Patient (the body's own, one of a Bundle or of Parameters at any depth, a line's), and
//! each `reference` at any depth that leads to a Patient. What is found is told once; but only the last 100,000 patients or fewer are
//! remembered, so that one can be told again, and none is dropped. A body whose patients cannot be told says so. Memory is bounded
//! as long as what was found is taken.

use memchr::memchr;

use self::document::Document;
use self::findings::Findings;
use super::record::Text;

mod distinct;
mod document;
mod findings;
mod reference;
mod resource;

/// How a body holds resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One resource, which may be a Bundle.
    Document,
    /// A resource a line (NDJSON).
    Lines,
}

/// Finds the patients of a body that comes in pieces, cut anywhere.
#[derive(Debug)]
pub struct PatientsFound {
    form: Form,
    document: Document,
    findings: Findings,
    lines: u64,
}

impl PatientsFound {
    /// Begins a body of this form.
    #[must_use]
    pub fn new(form: Form) -> Self {
        Self { form, document: Document::default(), findings: Findings::default(), lines: 0 }
    }

    /// Reads the next piece.
    pub fn read(&mut self, piece: &[u8]) {
        if self.form == Form::Document {
            return self.document.read(piece, &mut self.findings);
        }
        let mut rest = piece;
        while let Some(at) = memchr(b'\n', rest) {
            let (line, others) = rest.split_at(at);
            self.document.read(line, &mut self.findings);
            self.end_line();
            rest = others.get(1..).unwrap_or_default();
        }
        self.document.read(rest, &mut self.findings);
    }

    /// Ends the body.
    pub fn finish(&mut self) {
        match self.form {
            Form::Document => self.document.finish(&mut self.findings),
            Form::Lines => self.end_line(),
        }
    }

    /// Takes the ids, without a type, of the patients that were found since the last call.
    pub fn take(&mut self) -> Vec<Text> {
        std::mem::take(&mut self.findings.fresh)
    }

    /// How many patients were found since the last call of [`PatientsFound::take`].
    #[must_use]
    pub fn fresh(&self) -> usize {
        self.findings.fresh.len()
    }

    /// How many resources there were until now: the entries of a Bundle that have one, at any depth; lines; 1 for any other resource.
    #[must_use]
    pub fn entries(&self) -> u64 {
        match self.form {
            Form::Document if self.document.is_bundle() => self.findings.entries,
            Form::Document => u64::from(self.document.has_begun()),
            Form::Lines => self.lines,
        }
    }

    /// Whether the whole body could be read, and whatever in it can be about a patient names one. `false` for what is no JSON, is cut,
    /// nests too deeply, or has a resource of a type that can be about patients and names none, such as a Binary. What accompanies
    /// others, such as a Provenance, need not name one where others do. Certain only at the end.
    #[must_use]
    pub fn is_legible(&self) -> bool {
        !self.findings.is_unknown && (self.findings.any || !self.findings.is_dependent)
    }

    fn end_line(&mut self) {
        self.lines += u64::from(self.document.has_begun());
        self.document.finish(&mut self.findings);
        self.document.reset();
    }
}

#[cfg(test)]
mod tests;
