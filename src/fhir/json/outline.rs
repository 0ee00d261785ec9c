//! The outline of a JSON document that comes in pieces: the members of the objects that the reader enters. All other values are
//! passed over whole. White space and escapes are read as JSON has them (RFC 8259), and so is a byte order mark in front.

use std::borrow::Cow;

use crate::fhir::json::brackets::Brackets;
use crate::fhir::json::vector::before_quote_or_backslash;

/// The longest name of a member, in bytes as written.
const MAX_NAME: usize = 2048;

/// The most levels that can be entered.
const MAX_DEPTH: u32 = 32;

const BYTE_ORDER_MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// What comes next in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A member's name has been read.
    Name,
    /// A value of this shape begins here: it must be entered or passed over.
    Value(Shape),
    /// A part of the value that is passed over was read, or its end.
    Passed {
        /// Whether the value has ended.
        is_end: bool,
    },
    /// The innermost level that was entered has ended.
    Closed,
}

/// The kind of a value, as far as its first byte tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `{`
    Object,
    /// `[`
    Array,
    /// `"`
    String,
    /// A number, `true`, `false` or `null`.
    Other,
}

/// The document is no JSON, or has names that are too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// A position in a document.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    /// One bit for each level, the innermost in the lowest: whether it is an object.
    objects: u32,
    depth: u32,
    expected: Expected,
    passing: Option<Passing>,
    /// The name that was read last, as written, without its quotes.
    name: Vec<u8>,
    is_escaped: bool,
    marked: usize,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Expected {
    /// The document's own value, which may follow a byte order mark.
    #[default]
    Document,
    /// A name, or the end of an object that has just begun.
    FirstName,
    Name,
    /// The rest of a name.
    RestOfName,
    Colon,
    /// A value, or the end of an array that has just begun.
    FirstItem,
    Value,
    /// What the reader does with the value.
    Choice,
    CommaOrEnd,
    /// Nothing but white space.
    Nothing,
}

#[derive(Debug, Clone, Copy)]
enum Passing {
    /// The opening quote has been read.
    String,
    Brackets(Brackets),
    Scalar,
    /// A string of which nothing has been read.
    WholeString,
}

impl Outline {
    /// Reads on from `at`. `None` when more bytes are needed; all of `piece` has been read then.
    ///
    /// # Errors
    /// This is no JSON.
    pub(crate) fn next(&mut self, piece: &[u8], at: &mut usize) -> Result<Option<Event>, Malformed> {
        if let Some(passing) = self.passing {
            return Ok(self.pass_on(passing, piece, at));
        }
        while let Some(&byte) = piece.get(*at) {
            if self.expected == Expected::RestOfName {
                if self.rest_of_name(piece, at)? {
                    return Ok(Some(Event::Name));
                }
                continue;
            }
            if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                *at += 1;
                continue;
            }
            let is_object = self.objects & 1 == 1;
            match (self.expected, byte) {
                (Expected::FirstName | Expected::Name, b'"') => {
                    self.name.clear();
                    self.expected = Expected::RestOfName;
                }
                (Expected::Colon, b':') => self.expected = Expected::Value,
                (Expected::CommaOrEnd, b',') => self.expected = if is_object { Expected::Name } else { Expected::Value },
                (Expected::FirstName, b'}') | (Expected::FirstItem, b']') => return self.close(at),
                (Expected::CommaOrEnd, b'}') if is_object => return self.close(at),
                (Expected::CommaOrEnd, b']') if !is_object => return self.close(at),
                (Expected::Document, _) if self.is_marked(byte) => {}
                (Expected::Document | Expected::FirstItem | Expected::Value, _) => {
                    let shape = shape(byte).ok_or(Malformed)?;
                    self.expected = Expected::Choice;
                    return Ok(Some(Event::Value(shape)));
                }
                _ => return Err(Malformed),
            }
            *at += 1;
        }
        Ok(None)
    }

    /// The members of the value that begins here are read. It must be an object or an array, and its bracket is consumed.
    ///
    /// # Errors
    /// It is neither, or too deep.
    pub(crate) fn enter(&mut self, shape: Shape, at: &mut usize) -> Result<(), Malformed> {
        let is_object = match shape {
            Shape::Object => true,
            Shape::Array => false,
            Shape::String | Shape::Other => return Err(Malformed),
        };
        if self.depth == MAX_DEPTH {
            return Err(Malformed);
        }
        self.objects = self.objects << 1 | u32::from(is_object);
        self.depth += 1;
        self.expected = if is_object { Expected::FirstName } else { Expected::FirstItem };
        *at += 1;
        Ok(())
    }

    /// The value that begins here is passed over.
    pub(crate) fn pass(&mut self, shape: Shape) {
        self.passing = Some(match shape {
            Shape::Object | Shape::Array => Passing::Brackets(Brackets::default()),
            Shape::String => Passing::WholeString,
            Shape::Other => Passing::Scalar,
        });
    }

    /// The rest of the innermost object is passed over. Possible after one of its values.
    pub(crate) fn pass_rest(&mut self) {
        self.leave();
        self.passing = Some(Passing::Brackets(Brackets::within(1)));
    }

    /// The name that was read last; empty where it is no text.
    #[must_use]
    pub(crate) fn name(&self) -> Cow<'_, str> {
        if memchr::memchr(b'\\', &self.name).is_none() {
            return String::from_utf8_lossy(&self.name);
        }
        unescaped(&self.name).unwrap_or_default().into()
    }

    /// The name that was read last as it was written, without its quotes.
    #[must_use]
    pub(crate) fn written_name(&self) -> &[u8] {
        &self.name
    }

    /// Whether the document has ended. White space may follow.
    #[must_use]
    pub(crate) fn has_ended(&self) -> bool {
        self.expected == Expected::Nothing && self.passing.is_none()
    }

    fn is_marked(&mut self, byte: u8) -> bool {
        let is_marked = BYTE_ORDER_MARK.get(self.marked) == Some(&byte);
        self.marked += usize::from(is_marked);
        is_marked
    }

    fn rest_of_name(&mut self, piece: &[u8], at: &mut usize) -> Result<bool, Malformed> {
        let rest = piece.get(*at..).unwrap_or_default();
        let (length, has_ended) = rest_of_string(rest, &mut self.is_escaped);
        let text = rest.get(..length - usize::from(has_ended)).unwrap_or_default();
        if self.name.len() + text.len() > MAX_NAME {
            return Err(Malformed);
        }
        self.name.extend_from_slice(text);
        *at += length;
        if has_ended {
            self.expected = Expected::Colon;
        }
        Ok(has_ended)
    }

    fn close(&mut self, at: &mut usize) -> Result<Option<Event>, Malformed> {
        *at += 1;
        self.leave();
        Ok(Some(Event::Closed))
    }

    fn leave(&mut self) {
        self.objects >>= 1;
        self.depth = self.depth.saturating_sub(1);
        self.value_ended();
    }

    fn value_ended(&mut self) {
        self.expected = if self.depth == 0 { Expected::Nothing } else { Expected::CommaOrEnd };
    }

    fn pass_on(&mut self, passing: Passing, piece: &[u8], at: &mut usize) -> Option<Event> {
        let rest = piece.get(*at..).filter(|rest| !rest.is_empty())?;
        let (length, is_end) = match passing {
            Passing::WholeString => {
                self.passing = Some(Passing::String);
                let (length, is_end) = rest_of_string(rest.get(1..).unwrap_or_default(), &mut self.is_escaped);
                (1 + length, is_end)
            }
            Passing::String => rest_of_string(rest, &mut self.is_escaped),
            Passing::Scalar => {
                let is_over = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
                rest.iter().position(is_over).map_or((rest.len(), false), |length| (length, true))
            }
            Passing::Brackets(mut brackets) => {
                let end = brackets.end(rest);
                self.passing = Some(Passing::Brackets(brackets));
                end.map_or((rest.len(), false), |length| (length, true))
            }
        };
        *at += length;
        if is_end {
            self.passing = None;
            self.value_ended();
        }
        Some(Event::Passed { is_end })
    }
}

/// Returns the text of a string as it is written, without its quotes; `None` where that is no valid string.
#[must_use]
pub(crate) fn unescaped(written: &[u8]) -> Option<String> {
    serde_json::from_slice(&[b"\"", written, b"\""].concat()).ok()
}

fn shape(byte: u8) -> Option<Shape> {
    match byte {
        b'{' => Some(Shape::Object),
        b'[' => Some(Shape::Array),
        b'"' => Some(Shape::String),
        b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => Some(Shape::Other),
        _ => None,
    }
}

/// Returns the length of the rest of a string, with its closing quote, and whether it ends there. `is_escaped`: whether the piece before
/// it ended in a backslash that escapes what follows.
pub(crate) fn rest_of_string(rest: &[u8], is_escaped: &mut bool) -> (usize, bool) {
    let mut length = usize::from(std::mem::take(is_escaped) && !rest.is_empty());
    loop {
        length += before_quote_or_backslash(rest.get(length..).unwrap_or_default());
        match rest.get(length) {
            Some(b'"') => return (length + 1, true),
            None => return (length, false),
            Some(_) => {}
        }
        if rest.len() == length + 1 {
            *is_escaped = true;
            return (length + 1, false);
        }
        length += 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The events of a document in these pieces: objects at a depth below `deep` are entered, and the rest of one of `short`.
    fn events(pieces: &[&[u8]], deep: u32) -> Result<Vec<String>, Malformed> {
        let mut outline = Outline::default();
        let mut events = Vec::new();
        let mut passed = Vec::new();
        for piece in pieces {
            let mut at = 0;
            loop {
                let begin = at;
                let Some(event) = outline.next(piece, &mut at)? else { break };
                match event {
                    Event::Name => events.push(format!("name {}", outline.name())),
                    Event::Value(shape @ (Shape::Object | Shape::Array)) if outline.depth < deep => {
                        outline.enter(shape, &mut at)?;
                        events.push(format!("{shape:?}"));
                    }
                    Event::Value(shape) => outline.pass(shape),
                    Event::Passed { is_end } => {
                        passed.extend_from_slice(&piece[begin..at]);
                        if is_end {
                            events.push(String::from_utf8(std::mem::take(&mut passed)).unwrap());
                        }
                    }
                    Event::Closed => events.push("end".to_owned()),
                }
            }
        }
        if outline.has_ended() { Ok(events) } else { Err(Malformed) }
    }

    #[test]
    fn what_a_document_is_made_of_however_it_is_written() {
        let expected = ["Object", "name a", "1", "name b\"", "Array", r#"{"x":[]}"#, r#""\"]""#, "end", "name é", "null", "end"];
        for text in [
            r#"{"a":1,"b\"":[{"x":[]},"\"]"],"é":null}"#,
            "\u{feff} {\r\n\t\"\\u0061\" : 1 , \"b\\u0022\" : [ {\"x\":[]} , \"\\\"]\" ] , \"\\u00e9\" :null } \n",
        ] {
            for cut in 0..=text.len() {
                let (first, second) = text.as_bytes().split_at(cut);
                assert_eq!(events(&[first, second], 2).unwrap(), expected, "{cut} of {text}");
            }
        }
    }

    #[test]
    fn what_is_no_json_is_told_from_it() {
        for text in [
            "",
            "{",
            "[1",
            "{]",
            "[}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "[1,]",
            "[,]",
            "{a:1}",
            "[1 2]",
            "[]]",
            "{} x",
            "<br>",
            "x",
            "\u{feff}",
            "{\"a\" \"b\"}",
            "\u{feff}\u{feff}{}",
            "{'a':1}",
            "{\"a\":1 \"b\":2}",
        ] {
            assert_eq!(events(&[text.as_bytes()], 9), Err(Malformed), "{text}");
        }
        let long = format!("{{\"{}\":1}}", "n".repeat(MAX_NAME + 1));
        assert_eq!(events(&[long.as_bytes()], 9), Err(Malformed));
        assert_eq!(events(&["[".repeat(99).as_bytes()], 99), Err(Malformed));
    }

    #[test]
    fn the_rest_of_an_object_can_be_left() {
        let text = br#"{"a":{"b":1,"c":{"d":"}"}} ,"e":2}"#;
        let mut outline = Outline::default();
        let mut at = 0;
        let mut names = Vec::new();
        while let Some(event) = outline.next(text, &mut at).unwrap() {
            match event {
                Event::Value(shape @ Shape::Object) => outline.enter(shape, &mut at).unwrap(),
                Event::Value(shape) => outline.pass(shape),
                Event::Passed { is_end: true } if names == ["a", "b"] => {
                    names.push(String::new());
                    outline.pass_rest();
                }
                Event::Name => names.push(outline.name().into_owned()),
                Event::Passed { .. } | Event::Closed => {}
            }
        }
        assert!(outline.has_ended());
        assert_eq!(names, ["a", "b", "", "e"]);
    }

    proptest! {
        #[test]
        fn every_split_tells_the_same(text in "[\\[\\]{}:,\" \\\\a1]{0,40}", cut in any::<prop::sample::Index>(), deep in 0..4_u32) {
            let bytes = text.as_bytes();
            let (first, second) = bytes.split_at(cut.index(bytes.len() + 1));
            prop_assert_eq!(events(&[first, second], deep), events(&[bytes], deep));
        }
    }
}
