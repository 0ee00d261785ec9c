//! The resource in the body of a create or an update, made one that OpenEMR takes. Nothing is lost by that unless the client has
//! agreed to it (`Prefer: handling=lenient`), and then the answer says what.
//!
//! Decision: `docs/decisions/34-submitted-resources.md`.

use bytes::Bytes;
use http::StatusCode;
use pingora::http::RequestHeader;

use crate::fhir::interaction::Kind;
use crate::fhir::json::member_search::MemberSearch;
use crate::fhir::operation_outcome::{Issue, IssueCode, Severity};
use crate::fhir::prefer::Handling;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::gateway::adapted::Adapted;
use crate::gateway::call::Call;
use crate::gateway::destination::FhirCall;
use crate::gateway::negotiation::preferences;
use crate::gateway::write_answer;
use crate::openemr::submitted::{Names, Submitted, is_looked_at};

/// The most paths that are named.
const MOST_NAMED: usize = 20;

/// Why a resource is not sent to OpenEMR.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotTaken {
    /// It has extensions that change the meaning of what they stand in.
    #[error("the resource has modifier extensions")]
    Modifiers(Vec<String>),
    /// It has extensions that OpenEMR does not have.
    #[error("the resource has extensions that would be lost")]
    Extensions(Vec<String>),
    /// None of its names is the official one.
    #[error("the resource has no official name")]
    NoOfficialName(String),
    /// It has extensions, and is too long to be changed.
    #[error("a long resource has extensions")]
    TooLong,
}

impl From<NotTaken> for Rejection {
    fn from(refused: NotTaken) -> Self {
        let of = |code, text: String| Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, Reason::Resource, text);
        match refused {
            NotTaken::Modifiers(paths) => of(
                IssueCode::Extension,
                format!("OpenEMR takes no modifierExtension, and none can be left out: {}.", named(&paths)),
            )
            .about(paths),
            NotTaken::Extensions(paths) => of(
                IssueCode::Extension,
                format!(
                    "OpenEMR takes no extensions, and these would be lost: {}. Nothing was changed. Send the resource without them, or \
                     with Prefer: handling=lenient, which leaves them out. Those that OpenEMR has itself may stay in an update.",
                    named(&paths)
                ),
            )
            .about(paths),
            NotTaken::NoOfficialName(path) => of(
                IssueCode::BusinessRule,
                "OpenEMR takes the official name alone, and the uses of the names say that none is. Nothing was changed. Give one the \
                 use official, or send Prefer: handling=lenient, with which the first one is sent as that."
                    .to_owned(),
            )
            .about(vec![path]),
            NotTaken::TooLong => of(
                IssueCode::Extension,
                "OpenEMR takes no extensions, and they can be left out of a resource of up to 64 KiB only. Nothing was changed."
                    .to_owned(),
            ),
        }
    }
}

/// Makes the resource one that OpenEMR takes. What was not read whole is checked on its way, for extensions alone.
///
/// # Errors
/// Something would be lost, and the client has not agreed to that.
pub(super) async fn adapt(head: &RequestHeader, call: &Call, fhir: &mut FhirCall) -> Result<(), NotTaken> {
    let Some(resource_type) = fhir.interaction.resource_type.filter(|name| is_meant(fhir, name)) else { return Ok(()) };
    let Some(body) = fhir.plan.body.as_ref().or(fhir.plan.read.as_ref()) else {
        fhir.plan.refuses_extensions = true;
        return Ok(());
    };
    let Some(mut resource) = Submitted::read(body, resource_type) else { return Ok(()) };
    let is_lenient = Handling::named(preferences(&head.headers)) == Some(Handling::Lenient);
    let mut adapted = Adapted::default();
    leave_extensions_out(&mut resource, is_lenient, call, fhir, &mut adapted).await?;
    name_officially(&mut resource, resource_type, is_lenient, &mut adapted)?;
    if !adapted.notes.is_empty() {
        fhir.plan.body = Some(Bytes::from(resource.body()));
        fhir.plan.adapted = Some(Box::new(adapted));
    }
    Ok(())
}

fn is_meant(fhir: &FhirCall, resource_type: &str) -> bool {
    fhir.repairs().writes && matches!(fhir.interaction.kind, Kind::Create | Kind::Update) && is_looked_at(resource_type)
}

async fn leave_extensions_out(
    resource: &mut Submitted,
    is_lenient: bool,
    call: &Call,
    fhir: &FhirCall,
    adapted: &mut Adapted,
) -> Result<(), NotTaken> {
    let modifiers = resource.modifiers();
    if !modifiers.is_empty() {
        return Err(NotTaken::Modifiers(modifiers));
    }
    let all = resource.extensions();
    if all.is_empty() {
        return Ok(());
    }
    let held = match (fhir.interaction.kind, std::str::from_utf8(fhir.path_sent())) {
        (Kind::Update, Ok(path)) => write_answer::read(path, call, &fhir.site).await,
        _ => None,
    };
    let changed = resource.changed_extensions(held.as_deref());
    if !changed.is_empty() && !is_lenient {
        return Err(NotTaken::Extensions(changed));
    }
    resource.leave_out_extensions();
    adapted.is_lossy |= !changed.is_empty();
    adapted.notes.push(if changed.is_empty() {
        note(
            Severity::Information,
            IssueCode::Informational,
            "OpenEMR has these extensions already; they were not sent to it.",
            all,
        )
    } else {
        note(Severity::Warning, IssueCode::Extension, "OpenEMR takes no extensions: these were left out.", changed)
    });
    Ok(())
}

fn name_officially(
    resource: &mut Submitted,
    resource_type: &str,
    is_lenient: bool,
    adapted: &mut Adapted,
) -> Result<(), NotTaken> {
    let at = match resource.names() {
        Names::AsTheyAre => return Ok(()),
        Names::Official(at) => at,
        Names::NoneOfficial if is_lenient => {
            adapted.is_lossy = true;
            0
        }
        Names::NoneOfficial => return Err(NotTaken::NoOfficialName(format!("{resource_type}.name"))),
    };
    resource.make_official(at);
    let text = "OpenEMR takes the official name alone: this one was sent as that.";
    adapted.notes.push(note(Severity::Information, IssueCode::Informational, text, vec![format!("{resource_type}.name[{at}]")]));
    Ok(())
}

/// The search for extensions in a resource that was not read whole.
#[must_use]
pub(super) fn extension_search() -> Box<MemberSearch> {
    Box::new(MemberSearch::new(&["extension", "modifierExtension"]))
}

/// Looks at a piece of such a resource.
///
/// # Errors
/// It has an extension.
pub(super) fn refuse_extensions(search: &mut MemberSearch, piece: &[u8]) -> Result<(), NotTaken> {
    if search.feed(piece) { Err(NotTaken::TooLong) } else { Ok(()) }
}

fn note(severity: Severity, code: IssueCode, text: &str, paths: Vec<String>) -> Issue {
    Issue { severity, expression: paths, ..Issue::error(code, text) }
}

/// Paths in a sentence.
fn named(paths: &[String]) -> String {
    let shown = paths.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if paths.len() > MOST_NAMED { format!("{shown} and {} more", paths.len() - MOST_NAMED) } else { shown }
}
