//! What the body of a good answer must be: a page, a message of PHP's or an error object with status 200 is no answer.
//!
//! Decision: `docs/decisions/15-errors.md`.

use http::Method;
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use pingora::http::ResponseHeader;

use crate::fhir::interaction::{Interaction, Kind};
use crate::fhir::link_text::LinkText;
use crate::fhir::media_type::essence;
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::fhir::root::Root;
use crate::gateway::response_head::{is_html, is_json};

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// A FHIR resource in JSON.
    Resource,
    /// One of this type.
    ResourceOf(&'static str),
    /// An object that is no error: what OpenEMR answers to writes and operations, and what other specifications define.
    Object {
        /// Whether there may be no body.
        or_nothing: bool,
    },
    /// A Binary in FHIR JSON, or a document in JSON as it was stored.
    Document,
    /// A document of which there is no media type: a Binary in FHIR JSON, or nothing, which means that there is no such Binary.
    UnknownDocument,
}

/// What came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// What was due.
    Fhir,
    /// Nothing, where that may be.
    Nothing,
    /// A document as it was stored.
    Document,
}

/// Why an answer with a good status is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotDue {
    /// Nothing came.
    #[error("OpenEMR answered with an empty body where FHIR was due")]
    Nothing,
    /// A web page, or a message of PHP's.
    #[error("OpenEMR answered with text that is no JSON (a message of PHP's, or a web page) where FHIR was due")]
    NotJson,
    /// JSON that is no object.
    #[error("OpenEMR answered with JSON that is no object where FHIR was due")]
    NoObject,
    /// One of OpenEMR's error objects.
    #[error("OpenEMR answered with one of its error objects, and a status that says all is well")]
    ErrorObject,
    /// Another object.
    #[error("OpenEMR answered with an object without resourceType where a FHIR resource was due")]
    NoResource,
    /// The body ended within the object.
    #[error("the body of the answer was cut short")]
    CutShort,
    /// A resource of another type than the one that was read.
    #[error("OpenEMR answered with a resource of another type than was asked for")]
    OtherType,
    /// A body in a media type that is none of FHIR's.
    #[error("OpenEMR answered in a media type that is not FHIR's")]
    MediaType,
    /// A part of an answer, which nobody asked for.
    #[error("OpenEMR answered with a part of what was asked for")]
    Part,
    /// A Binary without body and Content-Type.
    #[error("OpenEMR has no such Binary")]
    NoBinary,
}

impl From<NotDue> for Rejection {
    fn from(not: NotDue) -> Self {
        let text = match not {
            NotDue::NoBinary => {
                let text = "OpenEMR has no Binary at this address.";
                return Self::new(StatusCode::NOT_FOUND, IssueCode::NotFound, Reason::NotFound, text);
            }
            NotDue::Nothing => "OpenEMR's answer is empty.",
            NotDue::NotJson | NotDue::NoObject | NotDue::NoResource | NotDue::MediaType => {
                "OpenEMR answered with something that is not FHIR."
            }
            NotDue::ErrorObject => "OpenEMR failed, and did not say so in the status of its answer.",
            NotDue::CutShort => "OpenEMR's answer ended too soon.",
            NotDue::OtherType => "OpenEMR answered with a resource of another type than was asked for.",
            NotDue::Part => "OpenEMR answered with a part of what was asked for.",
        };
        Self::bad_gateway(IssueCode::Exception, if not == NotDue::CutShort { Reason::CutShort } else { Reason::NotFhir }, text)
            .because(not)
    }
}

impl Due {
    /// Decides from the head of a good answer what its body must be; `None` where anything may come. `sent`: the method that went
    /// to OpenEMR. `must_be_json`: the body is changed on its way, or the search is not the client's own.
    ///
    /// # Errors
    /// Whatever the body is, it is not what is due.
    pub(super) fn of(
        head: &ResponseHeader,
        interaction: Interaction,
        sent: &Method,
        must_be_json: bool,
    ) -> Result<Option<Self>, NotDue> {
        if !head.status.is_success() || *sent == Method::HEAD {
            return Ok(None);
        }
        let due = match Self::of_interaction(interaction, head.status) {
            // The Bundle of an operation.
            Self::Object { .. } if must_be_json => Self::Resource,
            due => due,
        };
        if due == Self::Document {
            return Self::of_document(head);
        }
        if head.status == StatusCode::PARTIAL_CONTENT {
            return Err(NotDue::Part);
        }
        let may_be_json = is_json(head) || media_type_is_open(head);
        match due {
            Self::Resource | Self::ResourceOf(_) if !may_be_json && !must_be_json && is_fhir_xml(head) => Ok(None),
            Self::Resource | Self::ResourceOf(_) if !may_be_json => Err(NotDue::MediaType),
            // An operation may answer with a document.
            Self::Object { .. } if !may_be_json && !is_html(head) => Ok(None),
            Self::Object { .. } if is_html(head) => Err(NotDue::NotJson),
            due => Ok(Some(due)),
        }
    }

    fn of_interaction(interaction: Interaction, status: StatusCode) -> Self {
        use Kind::*;
        match interaction.kind {
            Read | VersionRead if interaction.resource_type == Some("Binary") => Self::Document,
            Read | VersionRead => interaction.resource_type.map_or(Self::Resource, Self::ResourceOf),
            Capabilities | Search | SearchSystem | SearchCompartment | HistoryInstance | HistoryType | HistorySystem | Batch => {
                Self::Resource
            }
            SmartConfiguration => Self::Object { or_nothing: false },
            Create | Update | ConditionalUpdate | Patch | ConditionalPatch => {
                Self::Object { or_nothing: status != StatusCode::OK }
            }
            Delete | ConditionalDelete | Export | ExportStatus | Operation | Other => Self::Object { or_nothing: true },
        }
    }

    fn of_document(head: &ResponseHeader) -> Result<Option<Self>, NotDue> {
        match head.headers.contains_key(CONTENT_TYPE) {
            false => Ok(Some(Self::UnknownDocument)),
            true if head.status == StatusCode::PARTIAL_CONTENT => Err(NotDue::Part),
            true if is_native(head) => Ok(None),
            true => Ok(is_json(head).then_some(Self::Document)),
        }
    }

    /// Judges a body.
    ///
    /// # Errors
    /// It is not what is due.
    pub(super) fn judge(self, root: Root) -> Result<Came, NotDue> {
        match (self, root) {
            (_, Root::CutShort) => Err(NotDue::CutShort),
            (Self::UnknownDocument, Root::Empty) => Err(NotDue::NoBinary),
            (Self::Document | Self::UnknownDocument, Root::Resource(Some("Binary"))) => Ok(Came::Fhir),
            (Self::Document, Root::Resource(_) | Root::OtherJson | Root::Object { is_error: false }) => Ok(Came::Document),
            (Self::ResourceOf(due), Root::Resource(came)) if came != Some(due) => Err(NotDue::OtherType),
            (Self::Resource | Self::ResourceOf(_) | Self::Object { .. }, Root::Resource(_)) => Ok(Came::Fhir),
            (Self::Object { .. }, Root::Object { is_error: false }) => Ok(Came::Fhir),
            (Self::Object { or_nothing: true }, Root::Empty) => Ok(Came::Nothing),
            (_, Root::Object { is_error: true }) => Err(NotDue::ErrorObject),
            (_, Root::Empty) => Err(NotDue::Nothing),
            (_, Root::NotJson) => Err(NotDue::NotJson),
            (Self::Resource | Self::ResourceOf(_) | Self::Object { .. }, Root::OtherJson) => Err(NotDue::NoObject),
            (Self::Resource | Self::ResourceOf(_), Root::Object { is_error: false }) => Err(NotDue::NoResource),
            (Self::UnknownDocument, Root::OtherJson | Root::Resource(_) | Root::Object { is_error: false }) => {
                Err(NotDue::MediaType)
            }
        }
    }
}

/// Whether this is a good answer to a read of Binary with a document as it was stored, as far as the head tells. It belongs to
/// its author and may be signed: nothing is changed in it.
#[must_use]
pub(super) fn is_stored_document(head: &ResponseHeader, interaction: Interaction) -> bool {
    head.status.is_success() && Due::of_interaction(interaction, head.status) == Due::Document && is_native(head)
}

fn is_native(head: &ResponseHeader) -> bool {
    let kind = head.headers.get(CONTENT_TYPE).map_or(LinkText::Other, |value| LinkText::of(value.as_bytes()));
    match kind {
        LinkText::Ndjson => false,
        _ => head.headers.contains_key(CONTENT_DISPOSITION) || !is_json(head),
    }
}

/// Whether the head does not say what the body is, or says no more than that it is text.
#[must_use]
pub(super) fn media_type_is_open(head: &ResponseHeader) -> bool {
    let essence = head.headers.get(CONTENT_TYPE).map(|value| essence(value.as_bytes()));
    essence.is_none_or(|essence| essence.is_empty() || essence.eq_ignore_ascii_case(b"text/plain"))
}

fn is_fhir_xml(head: &ResponseHeader) -> bool {
    head.headers.get(CONTENT_TYPE).is_some_and(|value| LinkText::of(value.as_bytes()) == LinkText::Xml)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::gateway::response_head::tests::head;

    fn due(path: &str, status: u16, content_type: &str) -> Result<Option<Due>, NotDue> {
        let field = ("Content-Type", content_type);
        let fields = if content_type.is_empty() { &[][..] } else { &[field] };
        Due::of(&head(status, fields), Interaction::of(&Method::GET, path.as_bytes()), &Method::GET, false)
    }

    #[test]
    fn a_resource_is_due_where_one_was_asked_for() {
        for (path, content_type, expected) in [
            ("/Patient", "application/json", Ok(Some(Due::Resource))),
            ("/Patient/1", "application/fhir+json; charset=utf-8", Ok(Some(Due::ResourceOf("Patient")))),
            ("/Patient/1", "text/json", Ok(Some(Due::ResourceOf("Patient")))),
            ("/Patient/1", "", Ok(Some(Due::ResourceOf("Patient")))),
            ("/Patient/1", "text/plain", Ok(Some(Due::ResourceOf("Patient")))),
            ("/Patient/1", "text/html", Err(NotDue::MediaType)),
            ("/Patient/1", "application/pdf", Err(NotDue::MediaType)),
            ("/Patient/1", "application/fhir+xml", Ok(None)),
            ("/.well-known/smart-configuration", "application/json", Ok(Some(Due::Object { or_nothing: false }))),
            ("/Patient/$anything", "application/pdf", Ok(None)),
            ("/Patient/$anything", "text/html", Err(NotDue::NotJson)),
            ("/Binary/1", "application/json", Ok(Some(Due::Document))),
            ("/Binary/1", "", Ok(Some(Due::UnknownDocument))),
            ("/Binary/1", "text/xml", Ok(None)),
            ("/Binary/1", "application/fhir+ndjson", Ok(None)),
        ] {
            assert_eq!(due(path, 200, content_type), expected, "{path} {content_type}");
        }
        assert_eq!(due("/Patient/1", 206, "application/json"), Err(NotDue::Part));
        assert_eq!(due("/Patient/1", 404, "text/html"), Ok(None));
    }

    #[test]
    fn every_body_is_judged() {
        let binary = Root::Resource(Some("Binary"));
        let object = Root::Object { is_error: false };
        let error = Root::Object { is_error: true };
        for (due, root, expected) in [
            (Due::Resource, binary, Ok(Came::Fhir)),
            (Due::Resource, Root::Resource(None), Ok(Came::Fhir)),
            (Due::Resource, object, Err(NotDue::NoResource)),
            (Due::Resource, error, Err(NotDue::ErrorObject)),
            (Due::Resource, Root::OtherJson, Err(NotDue::NoObject)),
            (Due::Resource, Root::NotJson, Err(NotDue::NotJson)),
            (Due::Resource, Root::Empty, Err(NotDue::Nothing)),
            (Due::Resource, Root::CutShort, Err(NotDue::CutShort)),
            (Due::Object { or_nothing: false }, object, Ok(Came::Fhir)),
            (Due::Object { or_nothing: true }, Root::Empty, Ok(Came::Nothing)),
            (Due::Object { or_nothing: false }, Root::Empty, Err(NotDue::Nothing)),
            (Due::Object { or_nothing: true }, error, Err(NotDue::ErrorObject)),
            (Due::Object { or_nothing: true }, Root::NotJson, Err(NotDue::NotJson)),
            (Due::Document, binary, Ok(Came::Fhir)),
            (Due::Document, Root::Resource(Some("Patient")), Ok(Came::Document)),
            (Due::Document, object, Ok(Came::Document)),
            (Due::Document, error, Err(NotDue::ErrorObject)),
            (Due::Document, Root::NotJson, Err(NotDue::NotJson)),
            (Due::UnknownDocument, Root::Empty, Err(NotDue::NoBinary)),
            (Due::UnknownDocument, binary, Ok(Came::Fhir)),
            (Due::UnknownDocument, object, Err(NotDue::MediaType)),
        ] {
            assert_eq!(due.judge(root), expected, "{due:?} {root:?}");
        }
    }

    #[test]
    fn a_stored_document_is_told_from_a_resource_by_its_head() {
        for (content_type, disposition, native) in [
            ("application/json", false, false),
            ("application/json", true, true),
            ("application/fhir+json", false, false),
            ("text/xml", false, true),
            ("text/plain", false, true),
            ("application/fhir+ndjson", true, false),
        ] {
            let fields = [("Content-Type", content_type), ("Content-Disposition", "attachment")];
            let fields = if disposition { &fields[..] } else { &fields[..1] };
            assert_eq!(is_native(&head(200, fields)), native, "{content_type} {disposition}");
        }
    }
}
