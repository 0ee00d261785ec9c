//! Texts: names, addresses and others (FHIR R4, "Search", 3.1.1.4.8).
//!
//! Without a modifier, and with `:contains`, neither case nor accents count: letters are compared in lower case without the marks
//! that Unicode's canonical decomposition separates from them, for Latin, Greek and Cyrillic letters (`accents.txt`).

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::fhir::criteria::definition::DataType;
use crate::fhir::criteria::json::{Illegible, Json};
use crate::fhir::criteria::values::{Untestable, split, unescaped};

/// The longest text, in bytes, that is looked for anywhere in another, which takes longer with each of them.
const LONGEST_PART: usize = 256;

/// The parts of a HumanName that are searched.
const NAME: [&str; 5] = ["family", "given", "prefix", "suffix", "text"];
/// The parts of an Address that are searched.
const ADDRESS: [&str; 7] = ["line", "city", "district", "state", "postalCode", "country", "text"];

/// The texts of which an element must fit one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Texts {
    place: Place,
    /// Sorted. None of them begins with another, unless the whole text is compared.
    texts: Vec<String>,
}

/// Where in an element a text must stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// At its beginning.
    Start,
    /// Anywhere.
    Anywhere,
    /// It is the whole element, and case and accents count.
    Whole,
}

impl Texts {
    /// Reads the values of a parameter.
    ///
    /// # Errors
    /// One of them is empty, has an unknown escape, or is too long to be looked for anywhere.
    pub(super) fn read(place: Place, value: &str) -> Result<Self, Untestable> {
        let mut texts = Vec::new();
        for part in split(value, ',') {
            let text = unescaped(part)?;
            let text = if place == Place::Whole { text } else { folded(&text) };
            if text.is_empty() || place == Place::Anywhere && text.len() > LONGEST_PART {
                return Err(Untestable::Value);
            }
            texts.push(text);
        }
        texts.sort_unstable();
        match place {
            Place::Whole => texts.dedup(),
            Place::Start | Place::Anywhere => texts.dedup_by(|longer, shorter| longer.starts_with(shorter.as_str())),
        }
        Ok(Self { place, texts })
    }

    /// Whether an element fits one of them.
    ///
    /// # Errors
    /// The element cannot be read.
    pub(super) fn are_met_by(&self, element: &Json<'_>, data_type: DataType) -> Result<bool, Illegible> {
        let parts: &[&str] = match data_type {
            DataType::HumanName => &NAME,
            DataType::Address => &ADDRESS,
            _ => return Ok(matches!(element, Json::Text(text) if self.have(text))),
        };
        for part in parts {
            if element.items(part)?.iter().any(|item| matches!(item, Json::Text(text) if self.have(text))) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn have(&self, text: &str) -> bool {
        match self.place {
            Place::Whole => self.texts.binary_search_by(|known| known.as_str().cmp(text)).is_ok(),
            Place::Start => self.have_start_of(&folded(text)),
            Place::Anywhere => {
                let text = folded(text);
                text.char_indices().any(|(at, _)| self.have_start_of(text.get(at..).unwrap_or_default()))
            }
        }
    }

    /// Whether a text begins with one of them. Since none begins with another, only the last one before it in order can.
    fn have_start_of(&self, text: &str) -> bool {
        let behind = self.texts.partition_point(|known| known.as_str() <= text);
        behind.checked_sub(1).and_then(|at| self.texts.get(at)).is_some_and(|known| text.starts_with(known.as_str()))
    }
}

static ACCENTS: LazyLock<HashMap<char, char>> = LazyLock::new(|| {
    let lines = include_str!("accents.txt").lines().filter_map(|line| line.split_once(' '));
    lines.flat_map(|(base, accented)| accented.chars().zip(base.chars().cycle())).collect()
});

/// Returns a text in lower case and without accents.
fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    // By way of upper case, so that a sharp s is a double one, and a final sigma any.
    let lower = text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    let base = |character| ACCENTS.get(&character).copied().unwrap_or(character);
    lower.map(base).filter(|character| !is_mark(*character)).collect()
}

/// Whether a character is a combining mark (Unicode's blocks of diacritical marks).
fn is_mark(character: char) -> bool {
    matches!(character, '\u{300}'..='\u{36F}' | '\u{1AB0}'..='\u{1AFF}' | '\u{1DC0}'..='\u{1DFF}' | '\u{20D0}'..='\u{20FF}' | '\u{FE20}'..='\u{FE2F}')
}
