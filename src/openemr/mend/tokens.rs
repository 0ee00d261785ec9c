//! The tokens of a JSON document that comes in pieces (RFC 8259). What is no JSON is found as far as the mender needs it.

use std::borrow::Cow;

use memchr::memchr2;

use crate::fhir::json::outline::unescaped;
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

/// The document is no JSON object, or too deep, or has too long names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A position in a document.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    /// One bit for each open level, the innermost in the lowest: whether it is an object.
    objects: u128,
    depth: u32,
    expected: Expected,
    is_escaped: bool,
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
    pub(crate) fn next(&mut self, piece: &[u8], at: &mut usize) -> Result<Option<Token>, Malformed> {
        while let Some(&byte) = piece.get(*at) {
            let is_object = self.objects & 1 == 1;
            match (self.expected, byte) {
                (Expected::RestOfName, _) => {
                    self.rest_of_name(piece, at)?;
                    continue;
                }
                (Expected::RestOfText, _) => return Ok(self.rest_of_text(piece, at)),
                (Expected::RestOfScalar, _) => return self.rest_of_scalar(piece, at),
                (_, b' ' | b'\n' | b'\r' | b'\t') => {}
                (Expected::FirstName | Expected::Name, b'"') => {
                    self.name_begun = self.read + *at as u64;
                    *at += 1;
                    self.begin_token(*at, Expected::RestOfName);
                    self.rest_of_name(piece, at)?;
                    continue;
                }
                (Expected::Colon, b':') => self.expected = Expected::Value,
                (Expected::CommaOrEnd, b',') => {
                    *at += 1;
                    self.expected = if is_object { Expected::Name } else { Expected::Value };
                    return Ok(Some(Token::Comma));
                }
                (Expected::FirstItem | Expected::Value, b'"') => {
                    *at += 1;
                    self.begin_token(*at, Expected::RestOfText);
                    return Ok(self.rest_of_text(piece, at));
                }
                (Expected::Document | Expected::FirstItem | Expected::Value, b'{') => return self.open(true, at),
                (Expected::FirstItem | Expected::Value, b'[') => return self.open(false, at),
                (Expected::FirstItem | Expected::Value, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                    self.begin_token(*at, Expected::RestOfScalar);
                    return self.rest_of_scalar(piece, at);
                }
                (Expected::FirstName, b'}') | (Expected::FirstItem, b']') => return Ok(Some(self.close(at))),
                (Expected::CommaOrEnd, b'}') if is_object => return Ok(Some(self.close(at))),
                (Expected::CommaOrEnd, b']') if !is_object => return Ok(Some(self.close(at))),
                (Expected::Document, _) if self.is_marked(byte) => {}
                _ => return Err(Malformed),
            }
            *at += 1;
        }
        Ok(None)
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
    }

    fn begin_token(&mut self, at: usize, rest: Expected) {
        let written = if rest == Expected::RestOfName { &mut self.name } else { &mut self.value };
        written.begin(at);
        self.length = 0;
        self.is_escaped = false;
        self.expected = rest;
    }

    /// Reads on in a name, and takes its colon with it if that is next.
    fn rest_of_name(&mut self, piece: &[u8], at: &mut usize) -> Result<(), Malformed> {
        let (length, has_ended) = rest_of_string(piece, *at, &mut self.is_escaped, &mut self.name.has_escapes);
        self.length += length as u64;
        if self.length > MAX_NAME {
            return Err(Malformed);
        }
        *at += length;
        if has_ended {
            self.name.end(piece, *at);
            *at += 1;
            let has_colon = piece.get(*at) == Some(&b':');
            *at += usize::from(has_colon);
            self.expected = if has_colon { Expected::Value } else { Expected::Colon };
        }
        Ok(())
    }

    fn rest_of_text(&mut self, piece: &[u8], at: &mut usize) -> Option<Token> {
        let (length, has_ended) = rest_of_string(piece, *at, &mut self.is_escaped, &mut self.value.has_escapes);
        self.length += length as u64;
        *at += length;
        if !has_ended {
            return None;
        }
        self.value.end(piece, *at);
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

    fn open(&mut self, is_object: bool, at: &mut usize) -> Result<Option<Token>, Malformed> {
        if self.depth == MAX_DEPTH {
            return Err(Malformed);
        }
        *at += 1;
        self.objects = self.objects << 1 | u128::from(is_object);
        self.depth += 1;
        self.expected = if is_object { Expected::FirstName } else { Expected::FirstItem };
        Ok(Some(if is_object { Token::OpenObject } else { Token::OpenArray }))
    }

    fn close(&mut self, at: &mut usize) -> Token {
        *at += 1;
        self.objects >>= 1;
        self.depth = self.depth.saturating_sub(1);
        self.expected = if self.depth == 0 { Expected::Nothing } else { Expected::CommaOrEnd };
        Token::Close
    }

    fn is_marked(&mut self, byte: u8) -> bool {
        let is_marked = BYTE_ORDER_MARK.get(self.marked) == Some(&byte);
        self.marked += usize::from(is_marked);
        is_marked
    }
}

/// Returns the length of the rest of a string without its closing quote, and whether that is there.
#[inline]
fn rest_of_string(piece: &[u8], at: usize, is_escaped: &mut bool, has_escapes: &mut bool) -> (usize, bool) {
    let rest = piece.get(at..).unwrap_or_default();
    let mut length = usize::from(std::mem::take(is_escaped) && !rest.is_empty());
    loop {
        length += plain(rest.get(length..).unwrap_or_default());
        match rest.get(length) {
            Some(b'"') => return (length, true),
            None => return (length, false),
            Some(_) => {}
        }
        *has_escapes = true;
        if rest.len() == length + 1 {
            *is_escaped = true;
            return (length + 1, false);
        }
        length += 2;
    }
}

/// Returns how many bytes are neither a quote nor a backslash. Most strings are short, and read eight bytes at a time.
#[inline]
fn plain(bytes: &[u8]) -> usize {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let mut rest = bytes;
    for _ in 0..6 {
        let Some((word, behind)) = rest.split_first_chunk::<8>() else { break };
        let word = u64::from_le_bytes(*word);
        // The lowest byte that is zero has its highest bit set, and none below it has.
        let zero = |word: u64| word.wrapping_sub(LOW) & !word & HIGH;
        let found = zero(word ^ (LOW * u64::from(b'"'))) | zero(word ^ (LOW * u64::from(b'\\')));
        if found != 0 {
            return bytes.len() - rest.len() + (found.trailing_zeros() / 8) as usize;
        }
        rest = behind;
    }
    bytes.len() - rest.len() + memchr2(b'"', b'\\', rest).unwrap_or(rest.len())
}
