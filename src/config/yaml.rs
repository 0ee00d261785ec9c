//! Reads a YAML document into a [`Node`], within bounds: its aliases are followed, and neither its depth nor its size can
//! exhaust memory.
//!
//! Decision: `docs/decisions/22-configuration.md`.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::node::{Entry, Node, Value};
use super::problem::Mark;

/// The most values that a file may hold once its aliases are followed; of a large file, one for each four of its bytes.
const MAX_NODES: usize = 50_000;
/// How deep mappings and lists may be nested. The configuration itself is five deep.
const MAX_DEPTH: usize = 64;

/// Why a text is not the YAML that a configuration is written in.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct YamlError {
    pub(super) mark: Mark,
    pub(super) message: String,
}

/// Reads one YAML document. An empty one is [`Value::Null`].
///
/// # Errors
/// The first place at which the text is not YAML, or goes beyond what a configuration may hold: tags, several documents,
/// aliases that lead to themselves or to too many values.
pub(super) fn parse(text: &str) -> Result<Node, YamlError> {
    let most = MAX_NODES.max(text.len() / 4);
    let mut reader = Reader { parser: Parser::new_from_str(text), anchors: HashMap::new(), read: 0, most };
    let mut root = None;
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamEnd => break,
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
            _ if root.is_some() => return Err(error(&span, "more than one document")),
            event => root = Some(reader.node(event, span, 0)?),
        }
    }
    Ok(root.unwrap_or_else(|| Node::new(Value::Null, Mark { line: 1, column: 1 })))
}

struct Reader<'t> {
    parser: Parser<'t, StrInput<'t>>,
    /// What anchors stand for, each with the number of values in it.
    anchors: HashMap<usize, (Node, usize)>,
    /// The values read so far.
    read: usize,
    /// How many there may be.
    most: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Span), YamlError> {
        match self.parser.next_event() {
            Some(event) => Ok(event?),
            None => Err(YamlError { mark: Mark { line: 1, column: 1 }, message: "the document has no end".to_owned() }),
        }
    }

    /// The value that begins with this event.
    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, YamlError> {
        if depth > MAX_DEPTH {
            return Err(error(&span, &format!("mappings and lists more than {MAX_DEPTH} deep")));
        }
        let before = self.read;
        self.count(1, &span)?;
        let (anchor, value) = match event {
            Event::Alias(anchor) => return self.alias(anchor, &span),
            Event::Scalar(text, style, anchor, tag) => (anchor, scalar(text.into_owned(), style, tag.as_deref(), &span)?),
            Event::SequenceStart(anchor, tag) => {
                refuse_foreign(tag.as_deref(), &span)?;
                (anchor, Value::List(self.list(depth)?))
            }
            Event::MappingStart(anchor, tag) => {
                refuse_foreign(tag.as_deref(), &span)?;
                (anchor, Value::Map(self.map(depth)?))
            }
            _ => return Err(error(&span, "a value was expected here")),
        };
        let node = Node::new(value, mark(&span.start));
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), self.read - before));
        }
        Ok(node)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, YamlError> {
        let mut nodes = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(nodes),
                (event, span) => nodes.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Vec<Entry>, YamlError> {
        let mut entries = Vec::new();
        loop {
            let (event, span) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(entries),
                event => event,
            };
            let key = self.node(event, span, depth + 1)?;
            let key = key.scalar().ok_or_else(|| error(&span, &format!("{} cannot be a key", key.kind())))?;
            let (event, value_span) = self.next()?;
            let node = self.node(event, value_span, depth + 1)?;
            entries.push(Entry { key, mark: Some(mark(&span.start)), node });
        }
    }

    fn alias(&mut self, anchor: usize, span: &Span) -> Result<Node, YamlError> {
        let Some((node, count)) = self.anchors.get(&anchor) else {
            return Err(error(span, "an alias that stands inside what it names"));
        };
        let (node, count) = (node.clone(), *count);
        self.count(count, span)?;
        Ok(node)
    }

    fn count(&mut self, values: usize, span: &Span) -> Result<(), YamlError> {
        self.read += values;
        if self.read > self.most {
            return Err(error(span, &format!("holds more than {} values", self.most)));
        }
        Ok(())
    }
}

impl From<ScanError> for YamlError {
    fn from(error: ScanError) -> Self {
        let message = match error.info() {
            "recursion limit exceeded" => "nested too deeply",
            info => info,
        };
        Self { mark: mark(error.marker()), message: message.to_owned() }
    }
}

fn error(span: &Span, message: &str) -> YamlError {
    YamlError { mark: mark(&span.start), message: message.to_owned() }
}

/// The parser counts lines from 1 and columns from 0.
fn mark(marker: &Marker) -> Mark {
    Mark { line: marker.line().max(1), column: marker.col() + 1 }
}

/// Only the tags of YAML itself have a meaning here.
fn refuse_foreign(tag: Option<&Tag>, span: &Span) -> Result<(), YamlError> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() => Err(error(span, &format!("the tag `{tag}`, which has no meaning here"))),
        _ => Ok(()),
    }
}

/// What a scalar stands for: YAML 1.2's core schema (section 10.3.2), in which `007`, `yes` and `12:30` are text.
fn scalar(text: String, style: ScalarStyle, tag: Option<&Tag>, span: &Span) -> Result<Value, YamlError> {
    refuse_foreign(tag, span)?;
    if style != ScalarStyle::Plain || tag.is_some_and(|tag| tag.suffix == "str") {
        return Ok(Value::Text(text));
    }
    Ok(match text.as_str() {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        number if is_number(number) => Value::Number(text),
        _ => Value::Text(text),
    })
}

fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = |prefix: &str, base: u32| {
        unsigned.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.chars().all(|digit| digit.is_digit(base)))
    };
    if digits("0x", 16) || digits("0o", 8) {
        return true;
    }
    let leading_zero = unsigned.len() > 1 && unsigned.bytes().all(|byte| byte.is_ascii_digit()) && unsigned.starts_with('0');
    let decimal = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'-' | b'+');
    !leading_zero && unsigned.bytes().all(decimal) && unsigned.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn value_of(text: &str) -> Value {
        let Value::Map(mut entries) = parse(&format!("a: {text}")).unwrap().value else { unreachable!() };
        entries.remove(0).node.value
    }

    #[test]
    fn keeps_duplicate_keys_and_positions() {
        let Value::Map(entries) = parse("a: 1\nb:\n  - x\na: true\n").unwrap().value else { unreachable!() };
        let keys: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(keys, ["a", "b", "a"]);
        let marks: Vec<String> = entries.iter().map(|entry| entry.mark.unwrap().to_string()).collect();
        assert_eq!(marks, ["1:1", "2:1", "4:1"]);
        let Some(Entry { node: Node { value: Value::List(nodes), .. }, .. }) = entries.get(1) else { unreachable!() };
        assert_eq!(nodes.first().unwrap(), &Node::new(Value::Text("x".to_owned()), Mark { line: 3, column: 5 }));
    }

    #[test]
    fn plain_scalars_have_the_types_of_the_core_schema() {
        for number in ["0", "12", "-3", "1.5", "1e3", "0x1f", "0o17", "-.5"] {
            assert_eq!(value_of(number), Value::Number(number.to_owned()));
        }
        for text in ["007", "yes", "5s", "1.2.3", "127.0.0.1:8000", "\"12\"", "'true'", "!!str 12", "e", ".", "0x"] {
            assert!(matches!(value_of(text), Value::Text(_)), "{text}");
        }
        assert_eq!((value_of("~"), value_of(""), value_of("null")), (Value::Null, Value::Null, Value::Null));
        assert_eq!((value_of("true"), value_of("False")), (Value::Bool(true), Value::Bool(false)));
    }

    #[test]
    fn aliases_are_followed() {
        let Value::Map(entries) = parse("a: &x [1, 2]\nb: *x\n").unwrap().value else { unreachable!() };
        assert_eq!(entries.first().unwrap().node, entries.last().unwrap().node);
    }

    #[test]
    fn refuses_alias_bombs_tags_and_depth() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..9 {
            let below = format!("*a{}, ", level - 1).repeat(10);
            bomb += &format!("a{level}: &a{level} [{}]\n", below.trim_end_matches(", "));
        }
        for (text, message) in [
            (bomb.as_str(), "holds more than 50000 values"),
            (&format!("[{}]", "x, ".repeat(60_000)), "holds more than 50000 values"),
            ("a: !include b\n", "the tag `!include`, which has no meaning here"),
            (&"[".repeat(100_000), "nested too deeply"),
            (&format!("{}{}", "[".repeat(70), "]".repeat(70)), "mappings and lists more than 64 deep"),
            (&"- ".repeat(1000), "mappings and lists more than 64 deep"),
            ("a: 1\n---\nb: 2\n", "more than one document"),
            ("a: &a [*a]", "an alias that stands inside what it names"),
            ("? [a]\n: b\n", "a list cannot be a key"),
        ] {
            assert_eq!(parse(text).unwrap_err().message, message);
        }
        let error = parse("a: 1\nb: [\n").unwrap_err();
        assert_eq!(error.mark.line, 3, "{error}");
    }

    proptest! {
        #[test]
        fn never_panics(text in "[a-c:,\\-&*!{}\\[\\]'\" \t\r\n|>?%@#0-9~é\u{feff}]{0,60}") {
            let _ = parse(&text);
        }
    }
}
