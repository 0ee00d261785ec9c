//! The condition of a conditional create (`If-None-Exist`; FHIR R4, "RESTful API", 3.1.0.8.1) as a search that OpenEMR can be
//! asked.
//!
//! A search that is wider than the condition finds somebody else, and one with a parameter that OpenEMR does not have finds
//! nobody: the resource is then created twice. So each parameter must be one by which OpenEMR filters as it stands there.
//!
//! Decision: `docs/decisions/33-conditional-create.md`.

use http::StatusCode;
use serde_json::Value;

use crate::fhir::capabilities::{Capabilities, TypeCapabilities};
use crate::fhir::id::is_path_id;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::prefer::Handling;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::http::query::{self, Parameter, as_uri};
use crate::openemr::request_parameters;
use crate::openemr::search::paging::Pager;
use crate::openemr::search::plan::{SearchContext, SearchPlan, Unusable, can_plan};

/// Parameters with an underscore that select resources. All others are about the answer.
const SELECTING: [&str; 2] = ["_id", "_lastUpdated"];
/// The longest name that is repeated, in bytes.
const LONGEST_NAME: usize = 64;
/// The types of identifiers that OpenEMR keeps of a new Patient.
const KEPT_IDENTIFIERS: [&str; 2] = ["PT", "SS"];

/// Why a conditional create is refused. The text is a sentence for the client; it names parameters, and repeats no values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadCondition {
    /// It is no query.
    #[error("The value of If-None-Exist is no query, such as identifier=12345: it has characters that are not percent-encoded.")]
    Malformed,
    /// Nothing is asked for.
    #[error("If-None-Exist is empty, or one of its parameters is: give it search parameters, such as identifier=12345.")]
    Empty,
    /// OpenEMR does not search the type by all of it.
    #[error(
        "OpenEMR cannot search {resource_type} by all that If-None-Exist asks for ({names}), so nothing was created. It takes: {known}."
    )]
    NotSearchable {
        /// The type.
        resource_type: &'static str,
        /// The parameters that are in the way.
        names: String,
        /// Those that the type has.
        known: String,
    },
    /// The type cannot be searched at all.
    #[error("OpenEMR cannot search {0}, so a conditional create is not possible, and nothing was created.")]
    NoSearch(&'static str),
    /// OpenEMR would not find the new resource by this identifier.
    #[error(
        "OpenEMR would not keep the identifier that If-None-Exist asks for, and the same request would create another resource, so \
         nothing was created. It keeps those of a Patient whose type has the code PT or SS, without their system: give the resource \
         this identifier with such a type, or ask for other parameters, such as family, given and birthdate."
    )]
    NotKept,
    /// There are resources with the value, and with another system.
    #[error(
        "There is a resource with an identifier of this value and another system. OpenEMR does not keep the two apart, so nothing was \
         created. Ask for the identifier without its system, or with the one that OpenEMR gives it."
    )]
    OtherSystem,
    /// More than one resource matches.
    #[error("More than one resource matches If-None-Exist, so nothing was created.")]
    Several,
}

impl From<BadCondition> for Rejection {
    fn from(bad: BadCondition) -> Self {
        let (status, code, reason) = match bad {
            BadCondition::Malformed | BadCondition::Empty => (StatusCode::BAD_REQUEST, IssueCode::Invalid, Reason::Parameter),
            BadCondition::NotSearchable { .. } | BadCondition::NoSearch(_) | BadCondition::NotKept => {
                (StatusCode::PRECONDITION_FAILED, IssueCode::NotSupported, Reason::Precondition)
            }
            BadCondition::OtherSystem => (StatusCode::PRECONDITION_FAILED, IssueCode::Duplicate, Reason::Precondition),
            BadCondition::Several => (StatusCode::PRECONDITION_FAILED, IssueCode::MultipleMatches, Reason::Precondition),
        };
        Self::new(status, code, reason, bad.to_string())
    }
}

/// A condition that OpenEMR can be asked.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    /// The form of the search.
    pub(crate) form: Vec<u8>,
    resource_type: &'static str,
    /// The identifiers that are asked for, one of which must match.
    identifiers: Vec<Token>,
}

/// The value of a token parameter: `value`, `system|value` or `|value`.
#[derive(Clone, PartialEq, Eq)]
struct Token {
    system: Option<String>,
    value: String,
}

/// The resources that match a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Matches {
    /// None.
    None,
    /// One, with its id.
    One(String),
}

impl Condition {
    /// Reads the value of `If-None-Exist`, in which links are those of OpenEMR's by now. `bases`: see [`SearchContext::bases`].
    ///
    /// # Errors
    /// Why it cannot be asked; [`request_parameters::BadParameters`] where PHP would read it otherwise.
    pub(crate) fn read(
        value: &[u8],
        resource_type: &'static str,
        capabilities: &Capabilities,
        bases: &[String],
    ) -> Result<Self, Rejection> {
        let value = value.trim_ascii();
        let value = value.strip_prefix(b"?").unwrap_or(value);
        check_encoding(value)?;
        request_parameters::check(value, None)?;
        let query = as_uri(value);
        let parameters: Vec<Parameter<'_>> = query::parameters(query.as_bytes()).collect();
        if parameters.is_empty() || parameters.iter().any(|parameter| parameter.value.trim().is_empty()) {
            return Err(BadCondition::Empty.into());
        }
        let known = capabilities.types.get(resource_type).filter(|_| can_plan(Some(capabilities), resource_type));
        let Some(known) = known else { return Err(BadCondition::NoSearch(resource_type).into()) };
        let refused = |names: Vec<&str>| BadCondition::NotSearchable {
            resource_type,
            names: names.join(", "),
            known: selecting(known).collect::<Vec<_>>().join(", "),
        };
        let in_the_way: Vec<&str> = parameters
            .iter()
            .enumerate()
            .filter(|(at, one)| !is_filter(one, known) || parameters.iter().take(*at).any(|other| base(other) == base(one)))
            .map(|(_, one)| shown(one))
            .collect();
        if !in_the_way.is_empty() {
            return Err(refused(in_the_way).into());
        }
        let context = SearchContext {
            resource_type,
            capabilities: Some(capabilities),
            repairs: true,
            pager: Pager::Slice,
            keeps_pages: false,
            handling: Some(Handling::Strict),
            unusable: Unusable::Refuse,
            bases,
            permitted: None,
        };
        let with_modifiers = || {
            let all = parameters.iter().filter(|one| one.name.contains(':')).map(shown).collect::<Vec<_>>();
            refused(if all.is_empty() { parameters.iter().map(shown).collect() } else { all })
        };
        // Two are enough to know that there is more than one.
        let asked = format!("{query}&_count=2");
        let planned = match SearchPlan::new(asked.as_bytes(), b"", &context).map_err(Rejection::from) {
            Ok(Some(planned)) => planned,
            Err(rejection) if rejection.code != IssueCode::NotSupported => return Err(rejection),
            Ok(None) | Err(_) => return Err(with_modifiers().into()),
        };
        // Whatever the plan has made of it, no part of the condition is missing. What is tested on the entries of a searchset is
        // not tested here.
        let filters =
            query::parameters(&planned.sent).filter(|sent| !matches!(sent.name.as_ref(), "_count" | "_offset" | "_sort"));
        if filters.count() != parameters.len() || !planned.terms.criteria.is_empty() {
            return Err(with_modifiers().into());
        }
        let identifiers = parameters.iter().filter(|one| one.name == "identifier").flat_map(|one| one.value.split(','));
        Ok(Self { form: planned.sent, resource_type, identifiers: identifiers.map(Token::read).collect() })
    }

    /// Reads the Bundle that answers the search; `None` where it is none, or does not tell how many match.
    ///
    /// # Errors
    /// More than one resource matches, or one that OpenEMR does not keep apart from a match.
    pub(crate) fn matches(&self, body: &[u8]) -> Result<Option<Matches>, BadCondition> {
        let Ok(Value::Object(bundle)) = serde_json::from_slice(body) else { return Ok(None) };
        if bundle.get("resourceType").and_then(Value::as_str) != Some("Bundle") {
            return Ok(None);
        }
        let entries = bundle.get("entry").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let resources = entries.iter().filter_map(|entry| entry.get("resource"));
        let found: Vec<&Value> = resources.filter(|one| text(one, "resourceType") == Some(self.resource_type)).collect();
        let total = bundle.get("total").and_then(Value::as_u64).unwrap_or(0);
        match found.as_slice() {
            [] if total == 0 => Ok(Some(Matches::None)),
            [one] if total < 2 => match text(one, "id").filter(|id| is_path_id(id)) {
                _ if !self.has_identifier(one) => Err(BadCondition::OtherSystem),
                Some(id) => Ok(Some(Matches::One(id.to_owned()))),
                None => Ok(None),
            },
            // A page without a match of this type.
            [] => Ok(None),
            _ => Err(BadCondition::Several),
        }
    }

    /// Checks that OpenEMR will find the new resource by the condition, where that asks for an identifier: else the same request
    /// creates another one. `body`: the resource; `None` where it was not read whole.
    ///
    /// # Errors
    /// It will not.
    pub(crate) fn check_new(&self, body: Option<&[u8]>) -> Result<(), BadCondition> {
        if self.resource_type != "Patient" || self.identifiers.is_empty() {
            return Ok(());
        }
        let resource: Value = body.and_then(|body| serde_json::from_slice(body).ok()).unwrap_or_default();
        let identifiers = resource.get("identifier").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let asked = |one: &&Value| self.identifiers.iter().any(|token| token.value == text(one, "value").unwrap_or_default());
        let codings = |one: &&Value| one.pointer("/type/coding").and_then(Value::as_array).cloned().unwrap_or_default();
        let is_kept = |one: &&Value| {
            codings(one).iter().any(|coding| text(coding, "code").is_some_and(|code| KEPT_IDENTIFIERS.contains(&code)))
        };
        if identifiers.iter().filter(asked).any(|one| is_kept(&one)) { Ok(()) } else { Err(BadCondition::NotKept) }
    }

    fn has_identifier(&self, resource: &Value) -> bool {
        let all = resource.get("identifier").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        self.identifiers.is_empty() || all.iter().any(|one| self.identifiers.iter().any(|token| token.is_of(one)))
    }
}

impl Token {
    fn read(text: &str) -> Self {
        match text.split_once('|') {
            Some((system, value)) => Self { system: Some(system.to_owned()), value: value.to_owned() },
            None => Self { system: None, value: text.to_owned() },
        }
    }

    /// Whether an identifier is this one. OpenEMR has compared the values by its own rules.
    fn is_of(&self, identifier: &Value) -> bool {
        self.system.as_deref().is_none_or(|system| text(identifier, "system").unwrap_or_default() == system)
    }
}

/// Checks that a query is percent-encoded UTF-8.
fn check_encoding(query: &[u8]) -> Result<(), BadCondition> {
    let is_escape =
        |at: usize| matches!(query.get(at + 1..), Some([high, low, ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit());
    let is_encoded = memchr::memchr_iter(b'%', query).all(is_escape);
    let is_text = !query::parameters(query).any(|one| [&one.name, &one.value].iter().any(|text| text.contains('\u{fffd}')));
    let is_printable = query.iter().all(|byte| byte.is_ascii_graphic());
    if is_encoded && is_text && is_printable { Ok(()) } else { Err(BadCondition::Malformed) }
}

/// The name of a parameter without its modifier.
fn base<'a>(parameter: &'a Parameter<'_>) -> &'a str {
    parameter.name.split(':').next().unwrap_or_default()
}

/// Whether OpenEMR filters by a parameter as it stands there. It ignores the system of a token, and reads no escapes.
fn is_filter(parameter: &Parameter<'_>, known: &TypeCapabilities) -> bool {
    let name = base(parameter);
    let has_value = |text: &str| !text.trim().is_empty() && !text.ends_with('|');
    let is_token = parameter.name == "identifier";
    selecting(known).any(|known| known == name)
        && !parameter.value.contains('\\')
        && (is_token || !parameter.value.contains('|'))
        && parameter.value.split(',').all(has_value)
}

/// The parameters by which OpenEMR selects resources of a type.
fn selecting(known: &TypeCapabilities) -> impl Iterator<Item = &str> {
    let names = known.search_parameters.iter().map(String::as_str);
    names.filter(|name| !name.starts_with('_') || SELECTING.contains(name))
}

/// The name of a parameter as it is repeated to the client.
fn shown<'a>(parameter: &'a Parameter<'_>) -> &'a str {
    let name = parameter.name.as_ref();
    let is_name = name.len() <= LONGEST_NAME && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-:.".contains(&byte));
    if is_name { name } else { "a name that is none of FHIR's" }
}

fn text<'a>(value: &'a Value, member: &str) -> Option<&'a str> {
    value.get(member).and_then(Value::as_str)
}

#[cfg(test)]
mod tests;
