//! References: to which resource an element leads (FHIR R4, "Search", 3.1.1.4.12).

use crate::fhir::criteria::definition::{DataType, Definition};
use crate::fhir::criteria::json::{Illegible, Json};
use crate::fhir::criteria::values::{Untestable, split, unescaped};
use crate::fhir::resource_type;

/// The resources of which an element must lead to one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct References {
    /// The types that are meant by the parameter; empty for any.
    targets: Vec<&'static str>,
    /// Those of this server, by id and type, sorted. One without a type may be of any.
    local: Vec<(String, Option<&'static str>)>,
    /// Absolute URLs, sorted.
    absolute: Vec<String>,
}

impl References {
    /// Reads the values of a parameter. `modifier` is the type that a modifier names.
    ///
    /// # Errors
    /// One of them is no reference, or the modifier is none of the types that it can lead to.
    pub(super) fn read(definition: &Definition, modifier: Option<&str>, value: &str) -> Result<Self, Untestable> {
        let mut targets = definition.targets.clone();
        if let Some(modifier) = modifier {
            let named = resource_type::known(modifier.as_bytes()).ok_or(Untestable::Modifier)?;
            if !targets.is_empty() && !targets.contains(&named) {
                return Err(Untestable::Modifier);
            }
            targets = vec![named];
        }
        let (mut local, mut absolute) = (Vec::new(), Vec::new());
        for part in split(value, ',') {
            let part = unescaped(part)?;
            if is_absolute(&part) {
                if modifier.is_some() {
                    return Err(Untestable::Value);
                }
                absolute.push(part);
                continue;
            }
            let (named, id) = match part.split_once('/') {
                Some((named, id)) => (Some(resource_type::known(named.as_bytes()).ok_or(Untestable::Value)?), id),
                None => (None, part.as_str()),
            };
            let contradicts = modifier.is_some() && named.is_some_and(|named| !targets.contains(&named));
            if id.is_empty() || id.contains(['/', '#', '|']) || contradicts {
                return Err(Untestable::Value);
            }
            local.push((id.to_owned(), named));
        }
        local.sort_unstable();
        local.dedup();
        absolute.sort_unstable();
        absolute.dedup();
        Ok(Self { targets, local, absolute })
    }

    /// Whether an element leads to one of them.
    ///
    /// # Errors
    /// The element cannot be read.
    pub(super) fn are_met_by(&self, element: &Json<'_>, data_type: DataType) -> Result<bool, Illegible> {
        Ok(match (data_type, element) {
            (DataType::Reference, _) => element.text("reference")?.is_some_and(|reference| self.have(reference)),
            (DataType::Canonical, Json::Text(url)) => {
                // A search for no version means any.
                let versionless = url.split_once('|').map_or(&**url, |(url, _)| url);
                self.have(url) || self.have(versionless)
            }
            _ => false,
        })
    }

    fn have(&self, reference: &str) -> bool {
        // A search for no version means any.
        let versionless = reference.split_once("/_history/").map_or(reference, |(reference, _)| reference);
        let mut segments = versionless.rsplit('/');
        let (id, named) = (segments.next().unwrap_or_default(), segments.next());
        if !self.targets.is_empty() && !named.is_some_and(|named| self.targets.contains(&named)) {
            return false;
        }
        if is_absolute(reference) {
            let is_known = |url: &str| self.absolute.binary_search_by(|known| known.as_str().cmp(url)).is_ok();
            return is_known(reference) || is_known(versionless);
        }
        let Some(named) = named.filter(|_| segments.next().is_none()) else { return false };
        let is_known = |named| self.local.binary_search_by(|(known, of)| known.as_str().cmp(id).then(of.cmp(&named))).is_ok();
        is_known(None) || is_known(Some(named))
    }
}

/// Whether a reference is no relative one.
fn is_absolute(reference: &str) -> bool {
    reference.contains("://") || reference.starts_with("urn:")
}
