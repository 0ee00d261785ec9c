//! The ways in which a base URL can be written in a body, and what can stand before and after it.
//!
//! A character may be an escape of JSON (`\/`, `\u002f`), scheme and host may be in any case (RFC 3986 section 6.2.2.1), and the
//! scheme's default port may be written out.

/// The most bytes in which one character is written.
const LONGEST_ESCAPE: usize = 6;
/// The number of marks that may follow a base before the text goes on.
const MOST_MARKS: usize = 8;
/// The number of bytes before a URL that are looked at: an escape, and the backslashes that could make it none.
pub(super) const LOOK_BACK: usize = 24;

/// One base, as its characters are.
#[derive(Debug)]
pub(super) struct Base {
    /// Scheme and host in lower case.
    text: Box<[u8]>,
    /// The number of bytes whose case does not count: those of scheme, host and port.
    any_case: usize,
    /// The common spellings, with plain slashes and with escaped ones.
    plain: Box<[u8]>,
    escaped: Box<[u8]>,
    /// Where the anchor is in each of the three.
    anchor: Anchor,
}

/// The place of the part of a base by which it is found.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    at: usize,
    at_in_escaped: usize,
    length: usize,
}

/// How the slashes of a URL are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spelling {
    Plain,
    Escaped,
}

/// What a text begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    /// The base, which ends here.
    With(usize),
    /// Something else.
    Not,
    /// What could become the base when more comes.
    Perhaps,
}

/// The next character of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// An ASCII character, or [`NOT_ASCII`], and where the next begins.
    Char(u8, usize),
    /// There is none, or not the whole of it.
    Cut,
}

/// Stands for every character that is not ASCII.
const NOT_ASCII: u8 = 0x80;
/// Stands for the escapes of control characters, quotes and backslashes, and for what is none.
const OTHER_ESCAPE: u8 = b'"';

impl Base {
    /// Prepares a base: `authority` with the port, if any is written.
    pub(super) fn new(scheme: &str, authority: &str, path: &str) -> Self {
        let text = format!("{}://{}{path}", scheme, authority.to_ascii_lowercase());
        let any_case = text.len() - path.len();
        let plain = format!("{scheme}://{authority}{path}");
        let (at, length) = anchor(&text, scheme.len(), any_case);
        let slashes_before = plain.as_bytes().iter().take(at).filter(|byte| **byte == b'/').count();
        Self {
            any_case,
            escaped: escaped(plain.as_bytes()),
            plain: plain.into_bytes().into(),
            text: text.into_bytes().into(),
            anchor: Anchor { at, at_in_escaped: at + slashes_before, length },
        }
    }

    /// The text by which the base is found.
    pub(super) fn anchor(&self) -> &[u8] {
        let Anchor { at, length, .. } = self.anchor;
        self.text.get(at..at + length).unwrap_or_default()
    }

    /// The length of the base without escapes.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// The most bytes in which the base is written, together with what decides where it ends.
    pub(super) fn longest(&self) -> usize {
        (self.text.len() + MOST_MARKS + 1) * LONGEST_ESCAPE
    }

    /// Returns where the base stands whose anchor is at this place, and how it is written.
    pub(super) fn around(&self, bytes: &[u8], anchor_at: usize) -> Option<(usize, usize, Spelling)> {
        let common = |text: &[u8], at: usize| {
            let start = anchor_at.checked_sub(at)?;
            bytes.get(start..)?.starts_with(text).then_some((start, start + text.len()))
        };
        if let Some((start, end)) = common(&self.escaped, self.anchor.at_in_escaped) {
            return Some((start, end, Spelling::Escaped));
        }
        if let Some((start, end)) = common(&self.plain, self.anchor.at) {
            return Some((start, end, Spelling::Plain));
        }
        let mut start = anchor_at;
        for place in (0..self.anchor.at).rev() {
            start = self.step_back(bytes, start, place)?;
        }
        match self.begins_from(bytes, anchor_at + self.anchor.length, self.anchor.at + self.anchor.length) {
            Begins::With(end) => {
                let is_escaped = bytes.get(start..end).is_some_and(|text| text.contains(&b'\\'));
                Some((start, end, if is_escaped { Spelling::Escaped } else { Spelling::Plain }))
            }
            Begins::Not | Begins::Perhaps => None,
        }
    }

    /// Whether a text begins with the base.
    pub(super) fn begins(&self, bytes: &[u8], at: usize) -> Begins {
        self.begins_from(bytes, at, 0)
    }

    fn begins_from(&self, bytes: &[u8], at: usize, first: usize) -> Begins {
        let mut at = at;
        for place in first..self.text.len() {
            match next(bytes, at) {
                Next::Char(byte, behind) if self.is(place, byte) => at = behind,
                Next::Char(..) => return Begins::Not,
                Next::Cut => return Begins::Perhaps,
            }
        }
        Begins::With(at)
    }

    fn is(&self, place: usize, byte: u8) -> bool {
        let byte = if place < self.any_case { byte.to_ascii_lowercase() } else { byte };
        self.text.get(place) == Some(&byte)
    }

    /// Where the character at `place` of the base begins that ends before `at`.
    fn step_back(&self, bytes: &[u8], at: usize, place: usize) -> Option<usize> {
        if let Some(escape) = at.checked_sub(LONGEST_ESCAPE)
            && let Next::Char(byte, end) = next(bytes, escape)
            && end == at
            && self.is(place, byte)
        {
            return Some(escape);
        }
        let start = at.checked_sub(1)?;
        let byte = *bytes.get(start)?;
        if !self.is(place, byte) {
            return None;
        }
        let is_escaped_slash = byte == b'/' && start.checked_sub(1).and_then(|before| bytes.get(before)) == Some(&b'\\');
        Some(start - usize::from(is_escaped_slash))
    }
}

/// Chooses the part by which a base is found: the longest segment of its path, which is written like that by everybody and rare in
/// a body; without one the colon after the scheme. Returns where it begins and its length.
fn anchor(text: &str, scheme: usize, path: usize) -> (usize, usize) {
    let mut at = path;
    let mut best = (scheme, 1);
    for segment in text.get(path..).unwrap_or_default().split('/') {
        if segment.len() >= best.1 && !segment.is_empty() && (best.0 == scheme || segment.len() > best.1) {
            best = (at, segment.len());
        }
        at += segment.len() + 1;
    }
    best
}

/// Writes a text with escaped slashes.
pub(super) fn escaped(text: &[u8]) -> Box<[u8]> {
    let mut out = Vec::with_capacity(text.len() + 8);
    for byte in text {
        if *byte == b'/' {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.into()
}

fn next(bytes: &[u8], at: usize) -> Next {
    match bytes.get(at) {
        None => Next::Cut,
        Some(b'\\') => match bytes.get(at + 1) {
            None => Next::Cut,
            Some(b'/') => Next::Char(b'/', at + 2),
            Some(b'u') => unicode(bytes, at),
            Some(_) => Next::Char(OTHER_ESCAPE, at + 2),
        },
        Some(byte) if byte.is_ascii() => Next::Char(*byte, at + 1),
        Some(_) => Next::Char(NOT_ASCII, at + 1),
    }
}

/// The character of an escape such as `\u002f`.
fn unicode(bytes: &[u8], at: usize) -> Next {
    let mut value = 0_u32;
    for place in at + 2..at + LONGEST_ESCAPE {
        match bytes.get(place).map(|byte| char::from(*byte).to_digit(16)) {
            None => return Next::Cut,
            Some(None) => return Next::Char(OTHER_ESCAPE, place),
            Some(Some(digit)) => value = value << 4 | digit,
        }
    }
    let byte = u8::try_from(value).ok().filter(u8::is_ascii).unwrap_or(NOT_ASCII);
    Next::Char(byte, at + LONGEST_ESCAPE)
}

/// Whether a base that ends at `at` is the whole of a path, or is followed by more segments: not where its last segment goes on
/// (RFC 3986 section 3.3). Marks may follow it where a sentence or a list goes on behind them. `None` when more must come to tell.
pub(super) fn ends(bytes: &[u8], at: usize, is_end: bool) -> Option<bool> {
    let mut at = at;
    for marks in 0..=MOST_MARKS {
        match next(bytes, at) {
            Next::Cut => return is_end.then_some(true),
            Next::Char(byte, behind) if is_mark(byte) => at = behind,
            Next::Char(byte, _) => return Some(!goes_on(byte) && (marks == 0 || !b"/?#".contains(&byte))),
        }
    }
    Some(false)
}

/// Whether a character of a segment can also be a mark of the text around it.
fn is_mark(byte: u8) -> bool {
    b"-._~!$*+=:@".contains(&byte)
}

/// Whether a character continues a segment wherever it stands.
fn goes_on(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= NOT_ASCII || byte == b'%'
}

/// Whether a URL can begin at `start`, which it cannot within a word that could be a longer scheme (RFC 3986 section 3.1).
/// `before` holds the bytes before `bytes`.
pub(super) fn url_begins(bytes: &[u8], before: &[u8], start: usize) -> bool {
    // The byte that many places before `start`; none before the first byte of the body.
    let back = |places: usize| match start.checked_sub(places) {
        Some(at) => bytes.get(at).copied(),
        None => before.len().checked_sub(places - start).and_then(|at| before.get(at).copied()),
    };
    let is_of_a_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let Some(previous) = back(1).filter(is_of_a_word) else { return true };
    // A backslash that another one escapes begins no escape.
    let escapes = |places: usize| {
        let backslashes = (places..LOOK_BACK).take_while(|places| back(*places) == Some(b'\\')).count();
        backslashes % 2 == 1
    };
    if b"bfnrt".contains(&previous) && escapes(2) {
        return true;
    }
    if back(5) != Some(b'u') || !escapes(6) {
        return false;
    }
    let mut digits = (1..=4).rev().map(|places| back(places).and_then(|byte| char::from(byte).to_digit(16)));
    let value = digits.try_fold(0, |value, digit| Some(value << 4 | digit?));
    value.is_some_and(|value| u8::try_from(value).is_ok_and(|byte| !is_of_a_word(&byte)) || value >= u32::from(NOT_ASCII))
}
