//! Narratives: `text.div` is XHTML of the subset that FHIR allows (R4, "Narrative", 2.4).
//!
//! OpenEMR writes names into it as they are. So `&` and `<` of a name make no XML of it, or markup.

mod markup;
mod subset;

use crate::openemr::mend::narrative::markup::{Markup, Scan, escaped};
use crate::openemr::mend::narrative::subset::is_narrative;
use crate::openemr::mend::systems::text;

/// Returns what stands in the place of a `div`, in JSON; `None` where it is good, or where it cannot be told what it was meant to
/// be. `written`: as in the document, without its quotes.
#[must_use]
pub(crate) fn mended_narrative(written: &[u8]) -> Option<Vec<u8>> {
    let div = text(written)?;
    if is_narrative(&div) {
        return None;
    }
    let mended = of_template(&div).or_else(|| with_its_own_markup(&div)).filter(|mended| is_narrative(mended))?;
    serde_json::to_vec(&mended).ok()
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
            Markup::Open { name, .. } if subset::allows(part) => opened.push((at, name)),
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
