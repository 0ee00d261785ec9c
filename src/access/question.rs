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
    /// The value of If-None-Exist: a search in front of a create.
    pub(crate) if_none_exist: Option<&'a str>,
    /// The addresses of this server, with which references to its resources may begin; none of them ends with `/`.
    pub(crate) bases: &'a [String],
}
