//! The subset of XHTML that FHIR allows in a narrative (R4, "Narrative", 2.4, invariant txt-1).

use crate::openemr::mend::narrative::markup::{Markup, Scan, is_quotable};

/// The most elements within each other.
pub(crate) const MAX_DEPTH: usize = 64;

/// The elements: those of chapters 7 to 11 and 15 of HTML 4.0, links and images.
const ELEMENTS: &[&str] = &[
    "a",
    "abbr",
    "acronym",
    "b",
    "big",
    "blockquote",
    "br",
    "caption",
    "cite",
    "code",
    "col",
    "colgroup",
    "dd",
    "dfn",
    "div",
    "dl",
    "dt",
    "em",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "i",
    "img",
    "li",
    "ol",
    "p",
    "pre",
    "q",
    "samp",
    "small",
    "span",
    "strong",
    "sub",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
    "tt",
    "ul",
    "var",
];

/// The attributes of any element.
const ATTRIBUTES: &[&str] = &[
    "abbr",
    "accesskey",
    "align",
    "axis",
    "char",
    "charoff",
    "class",
    "colspan",
    "dir",
    "headers",
    "id",
    "lang",
    "rowspan",
    "scope",
    "span",
    "style",
    "tabindex",
    "title",
    "valign",
    "width",
    "xml:lang",
];

const XHTML: &str = "http://www.w3.org/1999/xhtml";

/// Whether the text is one `div` of the subset.
#[must_use]
pub(crate) fn is_narrative(text: &str) -> bool {
    let mut opened: Vec<&str> = Vec::new();
    let mut has_ended = false;
    for part in Scan::of(text.trim_ascii()) {
        if has_ended || opened.len() > MAX_DEPTH || !allows(&part) {
            return false;
        }
        match part {
            Markup::Open { name, .. } if name == "div" || !opened.is_empty() => opened.push(name),
            Markup::Close { name, .. } if opened.last() == Some(&name) => {
                opened.pop();
                has_ended = opened.is_empty();
            }
            Markup::Text(_) | Markup::Comment(_) | Markup::Empty { .. } if !opened.is_empty() => {}
            _ => return false,
        }
    }
    has_ended
}

/// Whether the subset has this.
#[must_use]
pub(crate) fn allows(part: &Markup<'_>) -> bool {
    match part {
        Markup::Text(_) | Markup::Comment(_) => true,
        Markup::Open { name, attributes, .. } | Markup::Empty { name, attributes, .. } => {
            ELEMENTS.contains(name) && are_allowed(name, attributes)
        }
        Markup::Close { name, .. } => ELEMENTS.contains(name),
        Markup::Bad(_) => false,
    }
}

fn are_allowed(element: &str, attributes: &str) -> bool {
    let mut rest = attributes;
    let mut seen: Vec<&str> = Vec::new();
    loop {
        let trimmed = rest.trim_ascii_start();
        if trimmed.is_empty() {
            return true;
        }
        let Some((name, behind)) = trimmed.split_once('=') else { return false };
        let (name, behind) = (name.trim_ascii_end(), behind.trim_ascii_start());
        let Some(quote) = behind.chars().next().filter(|quote| matches!(quote, '"' | '\'')) else { return false };
        let Some((value, others)) = behind.get(1..).and_then(|behind| behind.split_once(quote)) else { return false };
        let is_apart = trimmed.len() < rest.len();
        if !is_apart || seen.contains(&name) || !is_quotable(value) || !is_allowed(element, name, value) {
            return false;
        }
        seen.push(name);
        rest = others;
    }
}

fn is_allowed(element: &str, name: &str, value: &str) -> bool {
    match (element, name) {
        (_, "xmlns") => value == XHTML,
        ("a", "href") => is_harmless(value, &["http", "https", "mailto", "tel"]),
        ("img", "src") => is_harmless(value, &["http", "https", "data"]),
        ("a", "charset" | "coords" | "hreflang" | "name" | "rel" | "rev" | "shape" | "type") => true,
        ("img", "alt" | "border" | "height" | "ismap" | "longdesc" | "usemap") => true,
        ("blockquote" | "q", "cite") => is_harmless(value, &["http", "https"]),
        ("table", "border" | "cellpadding" | "cellspacing" | "frame" | "rules" | "summary") => true,
        ("td" | "th", "nowrap") => true,
        _ => ATTRIBUTES.contains(&name),
    }
}

/// Whether a link leads to one of these schemes, or is relative. One with references to characters could hide another.
fn is_harmless(link: &str, schemes: &[&str]) -> bool {
    let before = link.split_once([':', '/', '?', '#']).map_or(link, |(before, _)| before);
    match link.get(before.len()..).is_some_and(|rest| rest.starts_with(':')) {
        true => schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case(before)),
        false => !before.contains('&'),
    }
}
