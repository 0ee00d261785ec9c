//! What XHTML is made of.

/// A part of a text that should be XHTML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Markup<'a> {
    /// Text, with references to characters.
    Text(&'a str),
    /// `<name …>`
    Open { written: &'a str, name: &'a str, attributes: &'a str },
    /// `<name …/>`
    Empty { written: &'a str, name: &'a str, attributes: &'a str },
    /// `</name>`
    Close { written: &'a str, name: &'a str },
    /// `<!--…-->`
    Comment(&'a str),
    /// What is none of these.
    Bad(&'a str),
}

impl<'a> Markup<'a> {
    /// The part as it is written.
    #[must_use]
    pub(crate) fn written(&self) -> &'a str {
        match self {
            Self::Text(written) | Self::Comment(written) | Self::Bad(written) => written,
            Self::Open { written, .. } | Self::Empty { written, .. } | Self::Close { written, .. } => written,
        }
    }
}

/// Reads one part after the other.
#[derive(Debug)]
pub(crate) struct Scan<'a>(&'a str);

impl<'a> Scan<'a> {
    /// Begins at the beginning.
    #[must_use]
    pub(crate) fn of(text: &'a str) -> Self {
        Self(text)
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = Markup<'a>;

    fn next(&mut self) -> Option<Markup<'a>> {
        let part = match self.0.chars().next()? {
            '<' => tag(self.0).unwrap_or(Markup::Bad("<")),
            '&' => {
                let length = reference(self.0);
                let (length, is_one) = length.map_or((1, false), |length| (length, true));
                let written = self.0.get(..length)?;
                if is_one { Markup::Text(written) } else { Markup::Bad(written) }
            }
            _ => {
                let end = self.0.find(['<', '&']).unwrap_or(self.0.len());
                let written = self.0.get(..end)?;
                if is_text(written) { Markup::Text(written) } else { Markup::Bad(written) }
            }
        };
        self.0 = self.0.get(part.written().len()..)?;
        Some(part)
    }
}

/// The text with all markup as text. References to characters stay.
#[must_use]
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for (at, character) in text.char_indices() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' if text.get(at..).and_then(reference).is_none() => out.push_str("&amp;"),
            character => out.push(character),
        }
    }
    out
}

/// The length of a reference to a character at the front, which XML knows without a DTD.
fn reference(text: &str) -> Option<usize> {
    let end = text.bytes().take(12).position(|byte| byte == b';')?;
    let is_one = match text.get(1..end)? {
        "amp" | "lt" | "gt" | "quot" | "apos" => true,
        name => {
            let number = match (name.strip_prefix("#x"), name.strip_prefix('#')) {
                (Some(digits), _) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => u32::from_str_radix(digits, 16),
                (None, Some(digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse(),
                _ => return None,
            };
            number.ok().and_then(char::from_u32).is_some_and(is_of_xml)
        }
    };
    is_one.then_some(end + 1)
}

/// Whether XML may have the character (XML 1.0 section 2.2).
fn is_of_xml(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{FFFD}' | '\u{10000}'..)
}

/// Whether text without markup may stand between tags.
fn is_text(text: &str) -> bool {
    text.chars().all(is_of_xml) && !text.contains("]]>")
}

/// Whether text may stand between quotes.
pub(crate) fn is_quotable(text: &str) -> bool {
    Scan::of(text).all(|part| matches!(part, Markup::Text(_)))
}

/// The tag or comment at the front.
fn tag(text: &str) -> Option<Markup<'_>> {
    if let Some(comment) = text.strip_prefix("<!--") {
        let end = comment.find("--").filter(|end| comment.get(*end..).is_some_and(|rest| rest.starts_with("-->")))?;
        return is_text(comment.get(..end)?).then_some(Markup::Comment(text.get(..end + 7)?));
    }
    let is_close = text.starts_with("</");
    let begin = if is_close { 2 } else { 1 };
    let behind = text.get(begin..)?;
    let length = behind.find(|character: char| !character.is_ascii_alphanumeric()).unwrap_or(behind.len());
    let name = behind.get(..length).filter(|name| name.starts_with(|first: char| first.is_ascii_alphabetic()))?;
    let rest = behind.get(length..)?;
    let end = end_of_tag(rest)?;
    let written = text.get(..begin + length + end + 1)?;
    let attributes = rest.get(..end)?;
    Some(match (is_close, attributes.strip_suffix('/')) {
        (true, _) if attributes.trim_ascii().is_empty() => Markup::Close { written, name },
        (true, _) => return None,
        (false, Some(attributes)) => Markup::Empty { written, name, attributes },
        (false, None) => Markup::Open { written, name, attributes },
    })
}

/// Where the `>` is that ends a tag, which may also stand between quotes.
fn end_of_tag(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, character) in text.char_indices() {
        match (quote, character) {
            (None, '>') => return Some(at),
            (None, '<') => return None,
            (None, '"' | '\'') => quote = Some(character),
            (Some(open), character) if open == character => quote = None,
            _ => {}
        }
    }
    None
}
