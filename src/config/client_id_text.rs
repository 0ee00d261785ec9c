//! Writes a client's id into the text of a configuration, at its place: comments and everything else stay as they are.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput};

use super::yaml;

/// Why the id cannot be written. The text completes a sentence that begins with the file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotWritten {
    /// The site, or the mapping above it, is written elsewhere or not at all.
    #[error("does not have the site written out: it comes from variables, or from an alias")]
    NoSite,
    /// The value has an anchor, a tag or `${…}`, or is an alias.
    #[error("has a client_id that comes from a variable, an anchor or an alias")]
    Indirect,
    /// Another place would change, too, or none would.
    #[error("has a client_id that cannot be replaced alone")]
    Unclear,
}

/// Returns the text with this id as `sites.{site}.client_id`. The value that is there is replaced; where the key is missing, it
/// becomes the first one of the site.
///
/// # Errors
/// A value that is not written out at its place.
pub(crate) fn with_client_id(text: &str, site: &str, id: &str) -> Result<String, NotWritten> {
    let edit = Finder { parser: Parser::new_from_str(text) }.find(site)?;
    let quoted = format!("\"{id}\"");
    let byte = |mark: Marker| text.char_indices().nth(mark.index()).map_or(text.len(), |(byte, _)| byte);
    let (from, to, new) = match edit {
        Edit::Replace(span) => {
            let (from, to) = (byte(span.start), byte(span.end));
            let old = text.get(from..to).ok_or(NotWritten::Unclear)?.trim_end();
            if old.contains("${") {
                return Err(NotWritten::Indirect);
            }
            (from, from + old.len(), quoted)
        }
        Edit::Fill(key) => {
            let after_key = byte(key.end);
            let colon = text.get(after_key..).and_then(|rest| rest.find(':')).ok_or(NotWritten::Unclear)?;
            let at = after_key + colon + 1;
            (at, at, format!(" {quoted}"))
        }
        Edit::Insert { mapping, before } => {
            let at = byte(before.start);
            let is_flow = text.get(byte(mapping.start)..).is_some_and(|rest| rest.starts_with('{'));
            let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
            let indent = " ".repeat(before.start.col());
            let behind = if is_flow { ", ".to_owned() } else { format!("{newline}{indent}") };
            (at, at, format!("client_id: {quoted}{behind}"))
        }
    };
    let head = text.get(..from).ok_or(NotWritten::Unclear)?;
    let tail = text.get(to..).ok_or(NotWritten::Unclear)?;
    let written = format!("{head}{new}{tail}");
    if says_what_is_meant(text, &written, site, id) { Ok(written) } else { Err(NotWritten::Unclear) }
}

/// Whether the second text is the first one with this id, and with nothing else that differs.
fn says_what_is_meant(before: &str, after: &str, site: &str, id: &str) -> bool {
    let tree = |text: &str| yaml::parse(text).ok().map(|node| node.to_yaml());
    let (Some(mut expected), Some(after)) = (tree(before), tree(after)) else { return false };
    let Some(site) = expected.get_mut("sites").and_then(|sites| sites.get_mut(site)).and_then(|site| site.as_mapping_mut())
    else {
        return false;
    };
    site.insert("client_id".into(), id.into());
    expected == after
}

/// What is to be done to the text.
enum Edit {
    /// Replace the value at this place.
    Replace(Span),
    /// Write a value behind this key, which has none.
    Fill(Span),
    /// Write key and value before this first key of the mapping.
    Insert { mapping: Span, before: Span },
}

/// Goes through the text to the value.
struct Finder<'t> {
    parser: Parser<'t, StrInput<'t>>,
}

impl<'t> Finder<'t> {
    fn find(mut self, site: &str) -> Result<Edit, NotWritten> {
        loop {
            match self.next()? {
                (Event::MappingStart(..), _) => break,
                (Event::Nothing | Event::StreamStart | Event::DocumentStart(_), _) => {}
                _ => return Err(NotWritten::NoSite),
            }
        }
        self.enter("sites")?;
        let mapping = self.enter(site)?;
        let mut first = None;
        loop {
            let (key, key_span) = match self.next()? {
                (Event::Scalar(key, ..), span) => (key.into_owned(), span),
                (Event::MappingEnd, _) => return Ok(Edit::Insert { mapping, before: first.ok_or(NotWritten::NoSite)? }),
                _ => return Err(NotWritten::Unclear),
            };
            first.get_or_insert(key_span);
            if key != "client_id" {
                self.skip()?;
                continue;
            }
            return match self.next()? {
                (Event::Scalar(text, ScalarStyle::Plain, 0, None), _) if text.is_empty() => Ok(Edit::Fill(key_span)),
                (Event::Scalar(_, ScalarStyle::Plain | ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted, 0, None), span)
                    if span.start.line() == span.end.line() =>
                {
                    Ok(Edit::Replace(span))
                }
                _ => Err(NotWritten::Indirect),
            };
        }
    }

    /// Enters the mapping that is the value of `name` in the mapping that was entered last.
    fn enter(&mut self, name: &str) -> Result<Span, NotWritten> {
        loop {
            match self.next()? {
                (Event::Scalar(key, ..), _) if key == name => {
                    return match self.next()? {
                        (Event::MappingStart(..), span) => Ok(span),
                        _ => Err(NotWritten::NoSite),
                    };
                }
                (Event::Scalar(..), _) => self.skip()?,
                _ => return Err(NotWritten::NoSite),
            }
        }
    }

    /// Passes over one value.
    fn skip(&mut self) -> Result<(), NotWritten> {
        let mut depth = 0_usize;
        loop {
            match self.next()?.0 {
                Event::MappingStart(..) | Event::SequenceStart(..) => depth += 1,
                Event::MappingEnd | Event::SequenceEnd => depth = depth.saturating_sub(1),
                Event::StreamEnd => return Err(NotWritten::Unclear),
                _ => {}
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), NotWritten> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(_)) | None => Err(NotWritten::Unclear),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "s9X42a-_";

    #[test]
    fn only_the_id_changes() {
        for (before, after) in [
            (
                "# é\nsites:\n  default:  # ours\n    client_id: <the id>   # from OpenEMR\n    kid: x\n",
                "# é\nsites:\n  default:  # ours\n    client_id: \"s9X42a-_\"   # from OpenEMR\n    kid: x\n",
            ),
            ("sites: {default: {client_id: 'a', kid: x}}", "sites: {default: {client_id: \"s9X42a-_\", kid: x}}"),
            ("sites:\n  default:\n    client_id:\n    kid: x", "sites:\n  default:\n    client_id: \"s9X42a-_\"\n    kid: x"),
            (
                "sites:\n  default:\n    client_id: # later\n    kid: x",
                "sites:\n  default:\n    client_id: \"s9X42a-_\" # later\n    kid: x",
            ),
            ("sites:\r\n  default:\r\n    kid: x\r\n", "sites:\r\n  default:\r\n    client_id: \"s9X42a-_\"\r\n    kid: x\r\n"),
            (
                "{\"sites\": {\"default\": {\"kid\": \"x\"}}}",
                "{\"sites\": {\"default\": {client_id: \"s9X42a-_\", \"kid\": \"x\"}}}",
            ),
            (
                "sites:\n  other: {client_id: a}\n  default: {client_id: b}\n",
                "sites:\n  other: {client_id: a}\n  default: {client_id: \"s9X42a-_\"}\n",
            ),
        ] {
            assert_eq!(with_client_id(before, "default", ID).as_deref(), Ok(after), "{before}");
        }
    }

    #[test]
    fn what_stands_elsewhere_is_left_alone() {
        for (text, why) in [
            ("sites:\n  default:\n    client_id: ${CLIENT}\n", NotWritten::Indirect),
            ("x: &id a\nsites:\n  default:\n    client_id: *id\n", NotWritten::Indirect),
            ("sites:\n  default:\n    client_id: &id a\n", NotWritten::Indirect),
            ("sites:\n  default:\n    client_id: |\n      a\n", NotWritten::Indirect),
            ("sites:\n  a: &s {client_id: b}\n  default: *s\n", NotWritten::NoSite),
            ("sites:\n  default: &s {client_id: b}\n  b: *s\n", NotWritten::Unclear),
            ("sites:\n  b: {client_id: b}\n", NotWritten::NoSite),
            ("routes: {}\n", NotWritten::NoSite),
            ("", NotWritten::NoSite),
        ] {
            assert_eq!(with_client_id(text, "default", ID), Err(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "(sites:|  default:|    client_id:|[ \\n{}:&*'\"#é|>-]|a){0,20}") {
            let _ = with_client_id(&text, "default", ID);
        }
    }
}
