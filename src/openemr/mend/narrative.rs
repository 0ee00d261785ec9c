//! Narratives: `text.div` is XHTML of the subset that FHIR allows (R4, "Narrative", 2.4).
//!
//! OpenEMR writes names into it as they are. So `&` and `<` of a name make no XML of it, or markup.

mod markup;
mod subset;

use crate::openemr::mend::narrative::markup::{Markup, Scan, escaped};
use crate::openemr::mend::narrative::subset::{MAX_DEPTH, is_narrative};
use crate::openemr::mend::systems::text;

/// Returns what stands in the place of a `div`, in JSON; `None` where it is good, or where it cannot be told what it was meant to
/// be. `written`: as in the document, without its quotes.
#[must_use]
pub(crate) fn mended_narrative(written: &[u8]) -> Option<Vec<u8>> {
    if is_plain_name(written) {
        return None;
    }
    let div = text(written)?;
    if is_narrative(&div) {
        return None;
    }
    let mended = of_template(&div).or_else(|| with_its_own_markup(&div)).filter(|mended| is_narrative(mended))?;
    serde_json::to_vec(&mended).ok()
}

/// OpenEMR's template as its versions spell it in JSON: what is before a name, and what is behind it.
const TEMPLATES: [(&[u8], &[u8]); 3] = [
    (br"\u003Cdiv xmlns=\u0022http:\/\/www.w3.org\/1999\/xhtml\u0022\u003E \u003Cp\u003E", br"\u003C\/p\u003E\u003C\/div\u003E"),
    (br#"<div xmlns=\"http:\/\/www.w3.org\/1999\/xhtml\"> <p>"#, br"<\/p><\/div>"),
    (br#"<div xmlns=\"http://www.w3.org/1999/xhtml\"> <p>"#, br"</p></div>"),
];

/// Whether this is OpenEMR's template with a name of letters and blanks. That is most of them, and it is known without a look at
/// the text that is meant.
fn is_plain_name(written: &[u8]) -> bool {
    let name = TEMPLATES.iter().find_map(|(before, behind)| written.strip_prefix(*before)?.strip_suffix(*behind));
    let Some(mut rest) = name else { return false };
    while let Some((&byte, behind)) = rest.split_first() {
        rest = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b' ' | b'.' | b',' | b'-' => behind,
            // Letters of Latin-1.
            b'\\' => match behind.strip_prefix(b"u00").and_then(<[u8]>::split_first_chunk::<2>) {
                Some(([b'c'..=b'f', b'0'..=b'9' | b'a'..=b'f'], behind)) => behind,
                _ => return false,
            },
            _ => return false,
        };
    }
    true
}

/// The one paragraph that OpenEMR writes, with a name in it: whatever stands there is text.
fn of_template(div: &str) -> Option<String> {
    let begin = div.find('>')? + 1;
    let (open, inner) = div.split_at_checked(begin)?;
    let (inner, close) = inner.split_at_checked(inner.rfind("</div")?)?;
    let paragraph = inner.find("<p>").filter(|at| inner.get(..*at).is_some_and(|before| before.trim().is_empty()))? + 3;
    let end = inner.rfind("</p>").filter(|at| inner.get(at + 4..).is_some_and(|behind| behind.trim().is_empty()))?;
    let name = inner.get(paragraph..end)?;
    Some([open, inner.get(..paragraph)?, &escaped(name), inner.get(end..)?, close].concat())
}

/// The markup of the subset that is closed as it should be stays; everything else becomes text.
fn with_its_own_markup(div: &str) -> Option<String> {
    let parts: Vec<Markup<'_>> = Scan::of(div).collect();
    let mut keeps = vec![false; parts.len()];
    let mut opened: Vec<(usize, &str)> = Vec::new();
    for (at, part) in parts.iter().enumerate() {
        match part {
            Markup::Open { name, .. } if opened.len() < MAX_DEPTH && subset::allows(part) => opened.push((at, name)),
            Markup::Empty { .. } | Markup::Comment(_) => *keeps.get_mut(at)? = subset::allows(part),
            Markup::Close { name, .. } => {
                let Some(depth) = opened.iter().rposition(|(_, opened)| opened == name) else { continue };
                let (begin, _) = *opened.get(depth)?;
                opened.truncate(depth);
                (*keeps.get_mut(begin)?, *keeps.get_mut(at)?) = (true, true);
            }
            Markup::Open { .. } | Markup::Text(_) | Markup::Bad(_) => {}
        }
    }
    let parts = parts.iter().zip(keeps);
    Some(parts.map(|(part, keeps)| if keeps { part.written().to_owned() } else { escaped(part.written()) }).collect())
}

#[cfg(test)]
mod tests;
