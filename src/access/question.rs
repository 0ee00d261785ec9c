//! What a decision is about: a request as OpenEMR will see it, after PHP has read it.

use http::{HeaderMap, Method};

use crate::fhir::if_none_exist::IF_NONE_EXIST;
use crate::fhir::interaction::{Interaction, Kind};
use crate::fhir::prefer::Handling;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::openemr::php::variables::variables;
use crate::openemr::request_parameters::{self, BadParameters};

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

/// A request as it came, of which a [`Question`] is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The name of the site.
    pub(crate) site: &'a str,
    /// The method.
    pub(crate) method: &'a Method,
    /// The path below the FHIR base, with its leading `/`; safe, as `Target::check` has it.
    pub(crate) path: &'a [u8],
    /// The query, with its `?` or without.
    pub(crate) query: &'a [u8],
    /// The form in the body; empty where there is none.
    pub(crate) form: &'a [u8],
    /// The fields.
    pub(crate) fields: &'a HeaderMap,
    /// The addresses of this server; none of them ends with `/`.
    pub(crate) bases: &'a [String],
    /// Whether the gateway plans searches, so that it reads each of several parameters of one name (`repairs.search`).
    pub(crate) plans_searches: bool,
}

/// Why nothing can be decided on a request. The text is a sentence for the client; it repeats nothing of the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// PHP reads a parameter otherwise than it is written.
    #[error(transparent)]
    Parameters(#[from] BadParameters),
    /// There is more than one If-None-Exist, or it is no text.
    #[error("The request has more than one If-None-Exist, or one that cannot be read.")]
    Condition,
}

impl From<Unreadable> for Rejection {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Parameters(bad) => bad.into(),
            Unreadable::Condition => Self::invalid(Reason::Parameter, unreadable.to_string()),
        }
    }
}

impl<'a> Question<'a> {
    /// Reads a request as PHP and OpenEMR will.
    ///
    /// # Errors
    /// OpenEMR would read something else than what is written.
    pub(crate) fn read(asked: &Asked<'a>) -> Result<Self, Unreadable> {
        let interaction = Interaction::of(asked.method, asked.path);
        let query = asked.query.strip_prefix(b"?").unwrap_or(asked.query);
        let by_gateway = asked.plans_searches || interaction.kind != Kind::Search;
        let may_repeat = request_parameters::may_repeat(interaction.kind, by_gateway);
        let known = known(interaction);
        request_parameters::check(query, known)?;
        request_parameters::check(asked.form, known)?;
        request_parameters::check_names(query, asked.form, may_repeat)?;
        // A lenient export leaves out the types that it may not have, and tells of them.
        let is_lenient = interaction.kind == Kind::Export && is_lenient(asked.fields);
        let is_decided_here = |name: &str| !(is_lenient && matches!(name, "_type" | "type"));
        let all = variables(query).chain(variables(asked.form)).filter(|one| is_decided_here(&one.name));
        Ok(Self {
            site: asked.site,
            interaction,
            path: asked.path,
            parameters: all.map(|one| (one.name.into_owned(), one.value.into_owned())).collect(),
            if_none_exist: condition(asked.fields)?,
            bases: asked.bases,
        })
    }
}

/// The names that parameters may have; `None` where what the gateway answers itself knows them.
fn known(interaction: Interaction) -> Option<&'static [&'static str]> {
    match (interaction.kind, interaction.resource_type) {
        (Kind::Capabilities | Kind::SmartConfiguration | Kind::Export | Kind::ExportStatus, _) => None,
        (Kind::Read, Some("Binary")) => Some(request_parameters::EXPORT_FILE),
        _ => request_parameters::known(interaction),
    }
}

fn is_lenient(fields: &HeaderMap) -> bool {
    let lines = fields.get_all("prefer").iter().map(http::HeaderValue::as_bytes);
    Handling::named(lines) == Some(Handling::Lenient)
}

/// The value of If-None-Exist.
fn condition(fields: &HeaderMap) -> Result<Option<&str>, Unreadable> {
    let mut values = fields.get_all(&IF_NONE_EXIST).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => std::str::from_utf8(value.as_bytes()).map(Some).map_err(|_| Unreadable::Condition),
        (Some(_), Some(_)) => Err(Unreadable::Condition),
    }
}
