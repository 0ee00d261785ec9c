//! The closed lists of words that labels come from.

/// The words of the labels that are known beforehand. A record names each by its number here.
#[derive(Debug)]
pub(crate) struct Lists {
    /// FHIR's codes of interactions.
    pub(crate) interactions: Vec<&'static str>,
    /// FHIR's resource types.
    pub(crate) types: &'static [&'static str],
    /// The codes of reasons.
    pub(crate) reasons: &'static [&'static str],
    /// The kinds of routes.
    pub(crate) routes: &'static [&'static str],
}
