//! The parameters that may leave for OpenEMR, by the names as which PHP reads them.
//!
//! OpenEMR's rewrite rule appends the client's query to the one that names the route, and PHP keeps the last of equal names. So a
//! parameter of a client's can name another route or another site. An interaction whose parameters are known may have no others;
//! of the rest, those that mean something to OpenEMR itself are rejected.
//!
//! Decision: `docs/decisions/29-php-names.md`.

use http::StatusCode;

use crate::fhir::interaction::{Interaction, Kind};
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::openemr::php::name::is_plain;
use crate::openemr::php::variables::{MAX_INPUT_VARS, variables};
use crate::openemr::repeated::{MayRepeat, Repeated, distinct};

/// Names that mean something to OpenEMR, PHP or Symfony, whatever the route: where the request goes, who sends it, which session
/// it belongs to. Case counts for PHP; here it does not.
const OPENEMRS_OWN: [&str; 21] = [
    "_REWRITE_COMMAND",
    "site",
    "auth",
    "authUser",
    "authPass",
    "clearPass",
    "authProvider",
    "languageChoice",
    "new_login_session_management",
    "set_pid",
    "set_encounter",
    "csrf_token_form",
    "apicsrftoken",
    "_method",
    "_locale",
    "GLOBALS",
    "PHPSESSID",
    "OpenEMR",
    "PortalOpenEMR",
    "apiOpenEMR",
    "authserverOpenEMR",
];

/// FHIR R4, "RESTful API", 3.1.0.1.11: how the answer is written.
const RESULT: &[&str] = &["_format", "_pretty", "_summary", "_elements"];
/// The same, and the export of which a Binary is a file: the gateway's own.
pub(crate) const EXPORT_FILE: &[&str] = &["_format", "_pretty", "_summary", "_elements", "job"];
const CAPABILITIES: &[&str] = &["_format", "_pretty", "_summary", "_elements", "mode"];
const HISTORY: &[&str] = &["_format", "_pretty", "_summary", "_elements", "_count", "_since", "_at", "_list"];
/// FHIR Bulk Data Access, and `type`, which is what OpenEMR reads for `_type`.
const EXPORT: &[&str] = &[
    "_format",
    "_pretty",
    "_outputFormat",
    "_since",
    "_type",
    "type",
    "_typeFilter",
    "_elements",
    "patient",
    "includeAssociatedData",
    "organizeOutputBy",
];
/// Those of them that are lists, which FHIR Bulk Data Access lets a client repeat.
const EXPORT_LISTS: &[&str] = &["_type", "_typeFilter", "_elements", "patient", "includeAssociatedData"];
const EXPORT_STATUS: &[&str] = &["_format", "_pretty", "job"];
/// US Core, `$docref`.
const DOCREF: &[&str] = &["_format", "_pretty", "patient", "start", "end", "type", "on-demand", "profile"];

/// The reason why the parameters of a request are rejected. The text is a sentence for the client; it repeats nothing of the
/// request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadParameters {
    /// PHP would drop the last ones.
    #[error("A request may have {MAX_INPUT_VARS} parameters at most.")]
    TooMany,
    /// PHP reads an array, which OpenEMR's search ignores.
    #[error(
        "A parameter's name has brackets, which makes an array of it: OpenEMR would ignore it. Ask once, by the plain name; \
         values with commas between them mean or."
    )]
    Array,
    /// PHP reads the name as another one.
    #[error(
        "The name of a parameter has a blank, a bracket, a NUL or a dot where no parameter of FHIR's has one: OpenEMR would \
         read another name."
    )]
    NotPlain,
    /// A value without a name, which PHP drops.
    #[error("A parameter has a value and no name: OpenEMR would ignore it.")]
    NoName,
    /// One of [`OPENEMRS_OWN`].
    #[error("A parameter has a name by which OpenEMR itself is directed, which no client may do.")]
    OpenEmrsOwn,
    /// A name that the interaction does not have; with those that it has.
    #[error("A parameter is unknown here. This request may have: {}.", .0.join(", "))]
    Unknown(&'static [&'static str]),
    /// `_sort` with something else than names of search parameters.
    #[error("The value of _sort is no list of search parameters, such as -birthdate,family.")]
    SortKey,
    /// A name stands more than once.
    #[error(transparent)]
    Repeated(#[from] Repeated),
}

impl From<BadParameters> for Rejection {
    fn from(bad: BadParameters) -> Self {
        let code = match bad {
            BadParameters::TooMany => IssueCode::TooCostly,
            BadParameters::NotPlain | BadParameters::OpenEmrsOwn => IssueCode::Security,
            BadParameters::Unknown(_) | BadParameters::Array | BadParameters::Repeated(_) => IssueCode::NotSupported,
            BadParameters::SortKey | BadParameters::NoName => IssueCode::Value,
        };
        Self::new(StatusCode::BAD_REQUEST, code, Reason::Parameter, bad.to_string())
    }
}

/// Returns the names of the parameters that an interaction has; `None` where they cannot be known: of searches, whose plan knows
/// them, of conditional interactions, of operations that OpenEMR does not have, and of what is no interaction.
#[must_use]
pub(crate) fn known(interaction: Interaction) -> Option<&'static [&'static str]> {
    match interaction.kind {
        Kind::Capabilities => Some(CAPABILITIES),
        Kind::HistoryInstance | Kind::HistoryType | Kind::HistorySystem => Some(HISTORY),
        Kind::SmartConfiguration
        | Kind::Read
        | Kind::VersionRead
        | Kind::Create
        | Kind::Update
        | Kind::Patch
        | Kind::Delete
        | Kind::Batch => Some(RESULT),
        Kind::Export => Some(EXPORT),
        Kind::ExportStatus => Some(EXPORT_STATUS),
        Kind::Operation if interaction.operation == Some("docref") => Some(DOCREF),
        Kind::Operation
        | Kind::Search
        | Kind::SearchSystem
        | Kind::SearchCompartment
        | Kind::ConditionalUpdate
        | Kind::ConditionalPatch
        | Kind::ConditionalDelete
        | Kind::Other => None,
    }
}

/// Whether a name, as PHP reads it, means something to OpenEMR itself.
#[must_use]
pub(crate) fn is_openemrs_own(key: &[u8]) -> bool {
    OPENEMRS_OWN.iter().any(|own| key.eq_ignore_ascii_case(own.as_bytes()))
}

/// Checks the parameters of a query without its `?`, or of a form. `known`: the names that they may have; `None` where the gateway
/// cannot know them.
///
/// # Errors
/// The first parameter that must not reach OpenEMR.
pub(crate) fn check(text: &[u8], known: Option<&'static [&'static str]>) -> Result<(), BadParameters> {
    for (at, variable) in variables(text).enumerate() {
        // In a query, one is the route, which OpenEMR's rewrite rule puts before these.
        if at + 1 >= MAX_INPUT_VARS {
            return Err(BadParameters::TooMany);
        }
        let read = variable.read_name();
        let key = read.as_ref().map(|name| name.key.as_ref()).unwrap_or_default();
        if is_openemrs_own(key) {
            return Err(BadParameters::OpenEmrsOwn);
        }
        let name = variable.name.as_ref();
        if read.as_ref().is_some_and(|read| read.is_array) {
            return Err(BadParameters::Array);
        }
        if !is_plain(name.as_bytes()) {
            return Err(BadParameters::NotPlain);
        }
        if name.is_empty() && !variable.value.is_empty() {
            return Err(BadParameters::NoName);
        }
        if let Some(known) = known.filter(|known| !name.is_empty() && !known.contains(&name)) {
            return Err(BadParameters::Unknown(known));
        }
        if name.split(':').next() == Some("_sort") && !are_sort_keys(&variable.value) {
            return Err(BadParameters::SortKey);
        }
    }
    Ok(())
}

/// The names that may stand more than once with different values, because the gateway reads them all: in a search that it
/// plans, and in the kick-off of an export that it keeps.
#[must_use]
pub(crate) fn may_repeat(kind: Kind, by_gateway: bool) -> MayRepeat {
    match kind {
        Kind::Search if by_gateway => MayRepeat::Filters,
        Kind::Export if by_gateway => MayRepeat::Names(EXPORT_LISTS),
        _ => MayRepeat::Nothing,
    }
}

/// Checks that PHP reads each name once, in a query without its `?` and in a form. `may_repeat`: the names for which that does
/// not matter.
///
/// # Errors
/// A name that stands more than once, and says different things.
pub(crate) fn check_names(query: &[u8], form: &[u8], may_repeat: MayRepeat) -> Result<(), BadParameters> {
    if form.is_empty() && memchr::memchr(b'&', query).is_none() {
        return Ok(());
    }
    distinct(query, form, may_repeat)?;
    Ok(())
}

/// Whether a value of `_sort` is a list of names of search parameters, each with a `-` before it at most. OpenEMR has put other
/// text into its SQL (CVE-2026-24908). An empty value is ignored by everybody.
fn are_sort_keys(value: &str) -> bool {
    let is_key = |key: &str| {
        let name = key.strip_prefix('-').unwrap_or(key);
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    value.is_empty() || value.split(',').all(is_key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;
    use proptest::prelude::*;

    /// The spellings of one name that PHP reads as `_REWRITE_COMMAND`, or as an array of that name.
    const SPELLINGS: [&str; 14] = [
        "_REWRITE_COMMAND",
        "%5fREWRITE%5FCOMMAND",
        "_REWRITE.COMMAND",
        ".REWRITE.COMMAND",
        "_REWRITE%20COMMAND",
        "_REWRITE+COMMAND",
        "%20_REWRITE_COMMAND",
        "+%20_REWRITE%2eCOMMAND",
        "_REWRITE[COMMAND",
        "_REWRITE%5BCOMMAND",
        "_REWRITE_COMMAND%00x",
        "_REWRITE_COMMAND[]",
        "_REWRITE_COMMAND%5B0%5D[a]",
        "_rewrite_command",
    ];

    fn of(method: &Method, path: &str) -> Option<&'static [&'static str]> {
        known(Interaction::of(method, path.as_bytes()))
    }

    #[test]
    fn no_spelling_of_openemrs_own_names_passes() {
        for spelling in SPELLINGS {
            for query in [
                format!("{spelling}=default/fhir/metadata"),
                format!("_format=json&{spelling}=x"),
                format!("&&{spelling}&_pretty=true"),
            ] {
                for known in [None, Some(RESULT)] {
                    assert_eq!(check(query.as_bytes(), known), Err(BadParameters::OpenEmrsOwn), "{query}");
                }
            }
        }
        for own in OPENEMRS_OWN {
            for query in [format!("{own}=x"), format!("%20{own}=x"), format!("{own}[]=x"), format!("{own}%00=x")] {
                assert_eq!(check(query.as_bytes(), None), Err(BadParameters::OpenEmrsOwn), "{query}");
            }
        }
    }

    #[test]
    fn names_that_php_reads_as_others_do_not_pass() {
        for query in ["%20_count=5", ".count=5", "_count%00=5", "a[b=1", "a+b=1", "[]=1", "%00=1"] {
            assert_eq!(check(query.as_bytes(), None), Err(BadParameters::NotPlain), "{query}");
        }
        for query in ["birthdate[]=ge1960", "a=1&birthdate%5B0%5D=1", "a[b][c=1", "a.b[x]=1"] {
            assert_eq!(check(query.as_bytes(), None), Err(BadParameters::Array), "{query}");
        }
        for query in ["name=a%20b[%00]", "patient.name=x", "code:not-in=y", "=", "&&", "a;b=1", "_has:Observation:patient:code=1"]
        {
            assert_eq!(check(query.as_bytes(), None), Ok(()), "{query}");
        }
    }

    #[test]
    fn a_value_has_a_name() {
        for query in ["=x", "a=1&=x", "=x&a=1", "=%20"] {
            assert_eq!(check(query.as_bytes(), None), Err(BadParameters::NoName), "{query}");
        }
    }

    #[test]
    fn interactions_have_their_own_parameters_alone() {
        let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
        for (method, path, query, passes) in [
            (&get, "/Patient/1", "_format=json&_pretty=true&_summary=text&_elements=name", true),
            (&get, "/Patient/1", "_count=1", false),
            (&get, "/Patient/1", "_FORMAT=json", false),
            (&get, "/Patient/1", "", true),
            (&get, "/Patient/1/_history", "_count=1&_since=2024", true),
            (&get, "/metadata", "mode=full", true),
            (&post, "/Patient", "_pretty=true", true),
            (&put, "/Patient/1", "identifier=1", false),
            (&post, "/DocumentReference/$docref", "patient=1&start=2024", true),
            (&post, "/DocumentReference/$docref", "subject=1", false),
            (&get, "/Patient/$export", "_type=Patient", true),
            (&get, "/Patient/$export", "name=x", false),
            (&get, "/$bulkdata-status", "job=1", true),
            (&get, "/Patient/1/$everything", "anything=1", true),
            (&get, "/Patient", "anything=1", true),
        ] {
            assert_eq!(check(query.as_bytes(), of(method, path)).is_ok(), passes, "{method} {path}?{query}");
        }
        assert!(BadParameters::Unknown(RESULT).to_string().ends_with("_format, _pretty, _summary, _elements."));
    }

    #[test]
    fn sort_keys_are_names() {
        for good in ["", "birthdate", "-birthdate,family", "_lastUpdated", "-_id", "clinical-status,a_b"] {
            assert_eq!(check(format!("_sort={good}").as_bytes(), None), Ok(()), "{good}");
        }
        for bad in [
            "birthdate;DROP",
            "birthdate%20desc",
            "birthdate,(select%201)",
            "a'b",
            "a`b",
            "a/**/b",
            "--a",
            "-",
            ",",
            "a,",
            "1",
            "a.b",
            "%00",
            "a%00",
            "%C3%A4",
        ] {
            for query in [format!("_sort={bad}"), format!("_sort=a&_sort={bad}"), format!("_sort:asc={bad}")] {
                assert_eq!(check(query.as_bytes(), None), Err(BadParameters::SortKey), "{query}");
            }
        }
    }

    #[test]
    fn a_name_stands_once_but_where_the_gateway_reads_it() {
        let check = |query: &str, kind, by_gateway| check_names(query.as_bytes(), b"", may_repeat(kind, by_gateway));
        for (query, kind, by_gateway, passes) in [
            ("_since=1&_since=2", Kind::Export, true, false),
            ("_type=Patient&_type=Observation", Kind::Export, true, true),
            ("_type=Patient&_type=Observation", Kind::Export, false, false),
            ("_include=a&_include=b", Kind::Search, true, true),
            ("_include=a&_include=b", Kind::Search, false, false),
            ("birthdate=ge1960&birthdate=lt1980", Kind::Search, true, true),
            ("birthdate=ge1960&birthdate=lt1980", Kind::Search, false, false),
            ("_count=1&_count=2", Kind::Search, true, false),
            ("_pretty=true&_pretty=false", Kind::Read, false, false),
            ("_pretty=true&_pretty=true", Kind::Read, false, true),
            ("_format=json&_format=xml", Kind::Capabilities, true, false),
            ("patient=1&patient=2", Kind::Operation, false, false),
        ] {
            assert_eq!(check(query, kind, by_gateway).is_ok(), passes, "{query} {kind:?}");
        }
    }

    #[test]
    fn php_would_drop_what_is_too_much() {
        let many = |count: usize| vec!["a=1"; count].join("&");
        assert_eq!(check(many(MAX_INPUT_VARS - 1).as_bytes(), None), Ok(()));
        assert_eq!(check(many(MAX_INPUT_VARS).as_bytes(), None), Err(BadParameters::TooMany));
    }

    proptest! {
        /// What passes is, to PHP, a text of the name that is written (but for the dots of a chain), and none of OpenEMR's own.
        #[test]
        fn what_passes_is_what_php_reads(query in "([_.a-c\\[\\]= +&%]|%20|%00|%5B|%5D|site|auth|_sort){0,12}") {
            if check(query.as_bytes(), None).is_ok() {
                for variable in variables(query.as_bytes()) {
                    let Some(name) = variable.read_name() else { continue };
                    let key = String::from_utf8_lossy(&name.key).into_owned();
                    prop_assert!(!name.is_array);
                    prop_assert_eq!(&key, &variable.name.replace('.', "_"));
                    prop_assert!(key != "site" && key != "auth");
                }
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (check(&bytes, None), check(&bytes, Some(RESULT)));
        }
    }
}
