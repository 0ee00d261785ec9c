//! What a decision is about: a request as OpenEMR will see it, after PHP has read it.

use crate::fhir::interaction::Interaction;

/// A request, as far as the decision on it needs it.
#[derive(Debug, Clone)]
pub(crate) struct Question<'a> {
    /// The name of the site.
    pub(crate) site: &'a str,
    /// The interaction.
    pub(crate) interaction: Interaction,
    /// The path below the FHIR base, with its leading `/`; safe, as `Target::check` has it.
    pub(crate) path: &'a [u8],
    /// The parameters of the query and then of the form, decoded: names with their modifiers.
    pub(crate) parameters: Vec<(String, String)>,
    /// Whether there is an If-None-Exist: a search in front of a create.
    pub(crate) is_conditional: bool,
}

impl<'a> Question<'a> {
    /// A question about a request. `query`, without its `?`, and `form` have passed the checks of names that PHP reads otherwise
    /// (`openemr::request_parameters`), so that each parameter is what it is written as.
    #[must_use]
    pub(crate) fn new(site: &'a str, interaction: Interaction, path: &'a [u8], query: &[u8], form: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(query).chain(form_urlencoded::parse(form));
        let parameters = pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        Self { site, interaction, path, parameters, is_conditional: false }
    }

    /// The segments of the path.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &'a [u8]> {
        self.path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty())
    }
}
