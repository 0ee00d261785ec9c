//! The tokens of a JSON document that comes in pieces (RFC 8259). What is no JSON is found as far as the mender needs it.

use std::borrow::Cow;

use crate::fhir::json::brackets::Brackets;
use crate::fhir::json::outline::unescaped;
use crate::fhir::json::strings::Strings;
use crate::openemr::mend::limits::{MAX_DEPTH, MAX_NAME};

const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// A token that has been read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// `{`
    OpenObject,
    /// `[`
    OpenArray,
    /// `}` or `]`
    Close,
    /// `,`
    Comma,
    /// A string that is a value.
    Text,
    /// A number, `true`, `false` or `null`.
    Scalar,
}

/// The document is read no further; [`Tokens::trouble`] tells why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Why a document is read no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It is no object.
    NoObject,
    /// From here on it is no JSON.
    NoJson,
    /// Something stands behind its end.
    Behind,
    /// It is too deep, or a name or a number is too long. It goes on within these brackets.
    TooMuch(Brackets),
}

/// A position in a document.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    /// One bit for each open level, the innermost in the lowest: whether it is an object.
    objects: u128,
    depth: u32,
    expected: Expected,
    strings: Strings,
    marked: usize,
    name: Written,
    value: Written,
    /// The length in all pieces of the name or value that was read last, without quotes.
    length: u64,
    /// How much was read before this piece, and up to the quote before the name that was read last.
    read: u64,
    name_begun: u64,
}

/// A name or a value as it is written, without quotes.
#[derive(Debug, Default)]
struct Written {
    /// Its beginning in earlier pieces, as far as it was kept; all of it once it has ended in a later one.
    before: Vec<u8>,
    /// Its part in this piece.
    begin: usize,
    end: usize,
    /// Whether it goes on in the next piece.
    is_open: bool,
    has_escapes: bool,
}

impl Written {
    fn begin(&mut self, at: usize) {
        self.before.clear();
        (self.begin, self.end) = (at, at);
        (self.is_open, self.has_escapes) = (true, false);
    }

    fn end(&mut self, piece: &[u8], end: usize) {
        self.end = end;
        self.is_open = false;
        if !self.before.is_empty() {
            self.before.extend_from_slice(piece.get(self.begin..end).unwrap_or_default());
        }
    }

    fn bytes<'a>(&'a self, piece: &'a [u8]) -> &'a [u8] {
        if self.before.is_empty() { piece.get(self.begin..self.end).unwrap_or_default() } else { &self.before }
    }

    /// Keeps what is in this piece for the next.
    fn carry(&mut self, piece: &[u8]) {
        if self.is_open || self.before.is_empty() {
            let end = if self.is_open { piece.len() } else { self.end };
            self.before.extend_from_slice(piece.get(self.begin..end).unwrap_or_default());
        }
        (self.begin, self.end) = (0, 0);
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Expected {
    /// The document's own object, which may follow a byte order mark.
    #[default]
    Document,
    /// A name, or the end of an object that has just begun.
    FirstName,
    Name,
    RestOfName,
    Colon,
    /// A value, or the end of an array that has just begun.
    FirstItem,
    Value,
    RestOfText,
    RestOfScalar,
    CommaOrEnd,
    /// Nothing but white space.
    Nothing,
}

impl Tokens {
    /// Reads the next token. `None` when more bytes are needed; all of `piece` has been read then.
    ///
    /// # Errors
    /// This is no JSON.
    #[inline]
    pub(crate) fn next(&mut self, piece: &[u8], at: &mut usize) -> Result<Option<Token>, Malformed> {
        while let Some(&byte) = piece.get(*at) {
            match self.expected {
                Expected::CommaOrEnd if byte == b',' => return Ok(Some(self.comma(at))),
                Expected::Name | Expected::FirstName if byte == b'"' => {
                    let closing = self.begin_name(piece, *at);
                    if self.name_ended(piece, at, closing)? && piece.get(*at) == Some(&b'"') {
                        return Ok(self.text(piece, at));
                    }
                    continue;
                }
                Expected::RestOfName => {
                    let (closing, has_escapes) = self.strings.closing_quote_of_rest(piece);
                    self.name.has_escapes |= has_escapes;
                    self.name_ended(piece, at, closing)?;
                    continue;
                }
                Expected::RestOfText => {
                    let (closing, _) = self.strings.closing_quote_of_rest(piece);
                    return Ok(self.text_ended(piece, at, closing));
                }
                Expected::RestOfScalar => return self.rest_of_scalar(piece, at),
                _ if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') => {}
                Expected::CommaOrEnd => return self.end(byte, at).map(Some),
                Expected::Value => return self.value_of(byte, piece, at),
                Expected::Colon if byte == b':' => self.expected = Expected::Value,
                Expected::FirstName if byte == b'}' => return Ok(Some(self.close(at))),
                Expected::FirstItem if byte == b']' => return Ok(Some(self.close(at))),
                Expected::FirstItem => return self.value_of(byte, piece, at),
                Expected::Document if byte == b'{' => return self.open(true, at).map(Some),
                Expected::Document => self.mark(byte)?,
                Expected::FirstName | Expected::Name | Expected::Colon | Expected::Nothing => {
                    return Err(Malformed);
                }
            }
            *at += 1;
        }
        Ok(None)
    }

    #[inline]
    fn comma(&mut self, at: &mut usize) -> Token {
        *at += 1;
        self.expected = if self.objects & 1 == 1 { Expected::Name } else { Expected::Value };
        Token::Comma
    }

    /// Reads the end of an object or array.
    #[inline]
    fn end(&mut self, byte: u8, at: &mut usize) -> Result<Token, Malformed> {
        let is_object = self.objects & 1 == 1;
        match byte {
            b'}' if is_object => Ok(self.close(at)),
            b']' if !is_object => Ok(self.close(at)),
            _ => Err(Malformed),
        }
    }

    /// Reads a value that begins with this byte.
    #[inline]
    fn value_of(&mut self, byte: u8, piece: &[u8], at: &mut usize) -> Result<Option<Token>, Malformed> {
        match byte {
            b'"' => Ok(self.text(piece, at)),
            b'{' => self.open(true, at).map(Some),
            b'[' => self.open(false, at).map(Some),
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                self.value.begin(*at);
                self.length = 0;
                self.expected = Expected::RestOfScalar;
                self.rest_of_scalar(piece, at)
            }
            _ => Err(Malformed),
        }
    }

    /// Tells why the document is read no further than `at`.
    #[must_use]
    pub(crate) fn trouble(&self, piece: &[u8], at: usize) -> Trouble {
        match (self.expected, piece.get(at)) {
            (Expected::Document, _) => Trouble::NoObject,
            (Expected::Nothing, _) => Trouble::Behind,
            // Its opening quote is in an earlier piece.
            (Expected::RestOfName, _) if self.name_begun < self.read => {
                let backslashes = self.name.before.iter().rev().take_while(|byte| **byte == b'\\').count();
                Trouble::TooMuch(Brackets::within_string(self.depth, backslashes % 2 == 1))
            }
            (Expected::RestOfName | Expected::RestOfScalar, _) | (Expected::Value | Expected::FirstItem, Some(b'{' | b'[')) => {
                Trouble::TooMuch(Brackets::within(self.depth))
            }
            _ => Trouble::NoJson,
        }
    }

    /// Whether the document has begun and not ended.
    #[must_use]
    pub(crate) fn is_within(&self) -> bool {
        !matches!(self.expected, Expected::Document | Expected::Nothing)
    }

    /// The name that was read last.
    #[must_use]
    pub(crate) fn name<'a>(&'a self, piece: &'a [u8]) -> Cow<'a, [u8]> {
        let written = self.name.bytes(piece);
        if self.name.has_escapes {
            return Cow::Owned(unescaped(written).unwrap_or_default().into_bytes());
        }
        Cow::Borrowed(written)
    }

    /// The text or scalar that was read last, as it is written, without quotes. A part that was not kept is missing.
    #[must_use]
    pub(crate) fn value<'a>(&'a self, piece: &'a [u8]) -> &'a [u8] {
        self.value.bytes(piece)
    }

    /// How much was read since the name that was read last began, with its quote.
    #[must_use]
    pub(crate) fn since_name(&self, at: usize) -> u64 {
        self.read + at as u64 - self.name_begun
    }

    /// The length of the name or value that was read last, or has begun, as it is written, without quotes.
    #[must_use]
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Whether a string that is a value has begun, and goes on in the next piece.
    #[must_use]
    pub(crate) fn is_in_text(&self) -> bool {
        self.expected == Expected::RestOfText
    }

    /// Ends the piece. The beginning of a text is kept where `keeps_text`.
    pub(crate) fn end_piece(&mut self, piece: &[u8], keeps_text: bool) {
        self.name.carry(piece);
        if keeps_text || self.expected == Expected::RestOfScalar {
            self.value.carry(piece);
        }
        (self.value.begin, self.value.end) = (0, 0);
        self.read += piece.len() as u64;
        self.strings.end_piece();
    }

    /// Begins the name of which the opening quote is there, and returns where the closing one is.
    #[inline]
    fn begin_name(&mut self, piece: &[u8], at: usize) -> Option<usize> {
        self.name_begun = self.read + at as u64;
        self.name.begin(at + 1);
        self.length = 0;
        self.expected = Expected::RestOfName;
        let (closing, has_escapes) = self.strings.closing_quote(piece, at + 1);
        self.name.has_escapes = has_escapes;
        closing
    }

    /// Ends a name at its closing quote, if that has come, and takes its colon with it if that is next. Whether a value is due.
    #[inline]
    fn name_ended(&mut self, piece: &[u8], at: &mut usize, closing: Option<usize>) -> Result<bool, Malformed> {
        let end = closing.unwrap_or(piece.len());
        self.length += (end - self.name.begin) as u64;
        if self.length > MAX_NAME {
            return Err(Malformed);
        }
        *at = end;
        if closing.is_none() {
            return Ok(false);
        }
        self.name.end(piece, end);
        *at += 1;
        let has_colon = piece.get(*at) == Some(&b':');
        *at += usize::from(has_colon);
        self.expected = if has_colon { Expected::Value } else { Expected::Colon };
        Ok(has_colon)
    }

    /// Reads a text of which the opening quote is next.
    #[inline]
    fn text(&mut self, piece: &[u8], at: &mut usize) -> Option<Token> {
        *at += 1;
        self.value.begin(*at);
        self.length = 0;
        self.expected = Expected::RestOfText;
        let (closing, _) = self.strings.closing_quote(piece, *at);
        self.text_ended(piece, at, closing)
    }

    /// Ends a text at its closing quote, if that has come.
    #[inline]
    fn text_ended(&mut self, piece: &[u8], at: &mut usize, closing: Option<usize>) -> Option<Token> {
        let end = closing.unwrap_or(piece.len());
        self.length += (end - *at) as u64;
        *at = end;
        closing?;
        self.value.end(piece, end);
        *at += 1;
        self.expected = Expected::CommaOrEnd;
        Some(Token::Text)
    }

    fn rest_of_scalar(&mut self, piece: &[u8], at: &mut usize) -> Result<Option<Token>, Malformed> {
        let rest = piece.get(*at..).unwrap_or_default();
        let is_over = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
        let end = rest.iter().position(is_over);
        let length = end.unwrap_or(rest.len());
        self.length += length as u64;
        if self.length > MAX_NAME {
            return Err(Malformed);
        }
        *at += length;
        if end.is_none() {
            return Ok(None);
        }
        self.value.end(piece, *at);
        self.expected = Expected::CommaOrEnd;
        Ok(Some(Token::Scalar))
    }

    fn open(&mut self, is_object: bool, at: &mut usize) -> Result<Token, Malformed> {
        if self.depth == MAX_DEPTH {
            return Err(Malformed);
        }
        *at += 1;
        self.objects = self.objects << 1 | u128::from(is_object);
        self.depth += 1;
        self.expected = if is_object { Expected::FirstName } else { Expected::FirstItem };
        Ok(if is_object { Token::OpenObject } else { Token::OpenArray })
    }

    fn close(&mut self, at: &mut usize) -> Token {
        *at += 1;
        self.objects >>= 1;
        self.depth = self.depth.saturating_sub(1);
        self.expected = if self.depth == 0 { Expected::Nothing } else { Expected::CommaOrEnd };
        Token::Close
    }

    /// Takes a byte of the mark that may stand before the document.
    fn mark(&mut self, byte: u8) -> Result<(), Malformed> {
        if BYTE_ORDER_MARK.get(self.marked) != Some(&byte) {
            return Err(Malformed);
        }
        self.marked += 1;
        Ok(())
    }
}
