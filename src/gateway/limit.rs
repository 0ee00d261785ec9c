//! What a client that may not have everything gets of an answer, and may send.
//!
//! Decision: `docs/decisions/37-policies.md`.

use http::StatusCode;

use crate::access::decision::{Decision, Verdict};
use crate::access::refusal::Refusal;
use crate::fhir::criteria::Illegible;
use crate::fhir::interaction::{Interaction, Kind};
use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::fhir::resource_test::Permitted;

/// The limits of one request.
#[derive(Debug, Default)]
pub(super) struct Limit {
    /// The test that every resource must pass that is found, read or sent; `None` where the client may have all that it asks for.
    pub(super) test: Option<Permitted>,
    /// The parameters that are added to a search.
    pub(super) narrowing: Vec<(String, String)>,
    /// Whether the resource that is there must pass the test before it is changed or deleted.
    pub(super) tests_existing: bool,
    /// The test of the types that a search brings, for a client that may have all resources of these.
    pub(super) types: Option<Permitted>,
    /// The test of what the answer to a write shows: who may write a resource need not be one who may read it.
    pub(super) shown: Option<Permitted>,
}

/// Why a client does not get an answer, or may not send a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotPermitted {
    /// The answer would have to be tested, and it is not known how.
    #[error("the answer would have to be tested resource by resource")]
    Untested,
    /// There is no such resource, or none that the client may have: it must not be told which.
    #[error("there is no such resource, or the policy of the client does not permit it")]
    Unknown(&'static str),
    /// The resource in the body is outside the policy.
    #[error("the policy of the client does not permit the resource in the body")]
    Body,
    /// A body that was not read whole.
    #[error("a body that has to be tested is longer than what is kept of one")]
    TooLong,
    /// The resource in the body cannot be read.
    #[error("the resource in the body cannot be read")]
    IllegibleBody,
    /// OpenEMR's resource cannot be read.
    #[error("a resource that has to be tested cannot be read")]
    Illegible,
}

impl From<NotPermitted> for Rejection {
    fn from(not: NotPermitted) -> Self {
        match not {
            NotPermitted::Untested => Self::by_policy(
                "This client may have a part of the resources alone, and the gateway cannot limit this answer to it.",
            ),
            NotPermitted::Unknown(resource_type) => {
                let text = format!("OpenEMR has no {resource_type} at this address.");
                Self::new(StatusCode::NOT_FOUND, IssueCode::NotFound, Reason::Policy, text)
            }
            NotPermitted::Body => Self::by_policy("The resource in the body is none that the policy of this client permits."),
            NotPermitted::TooLong => {
                let text = "A client that may write some resources alone sends one of 64 KiB at most.";
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, IssueCode::TooLong, Reason::BodyTooLarge, text)
            }
            NotPermitted::IllegibleBody => Self::new(
                StatusCode::BAD_REQUEST,
                IssueCode::Structure,
                Reason::Resource,
                "The resource in the body cannot be read, or has a member twice on which the policy of this client depends.",
            ),
            NotPermitted::Illegible => Self::bad_gateway(
                IssueCode::Exception,
                Reason::NotFhir,
                "OpenEMR's answer has a resource that could not be read.",
            )
            .because(not),
        }
    }
}

impl From<Illegible> for NotPermitted {
    fn from(_: Illegible) -> Self {
        Self::Illegible
    }
}

impl Limit {
    /// The limits that a decision sets. `shown`: the test of what may be read, for the answer to a write.
    ///
    /// # Errors
    /// The request is refused.
    pub(super) fn of(decision: Decision, shown: Option<Permitted>) -> Result<Self, Refusal> {
        let (narrowing, test) = match decision.verdict {
            Verdict::Allow => (Vec::new(), None),
            Verdict::Narrow(narrowing, test) => (narrowing, Some(test)),
            Verdict::Check(test) => (Vec::new(), Some(test)),
            Verdict::Refuse(refusal) => return Err(refusal),
        };
        Ok(Self { test, narrowing, tests_existing: decision.tests_existing, types: None, shown })
    }

    /// Whether what the client gets depends on what is read in it.
    #[must_use]
    pub(super) fn reads(&self) -> bool {
        self.test.is_some() || self.shown.is_some()
    }

    /// Whether nothing is limited.
    #[must_use]
    pub(super) fn is_none(&self) -> bool {
        self.test.is_none() && self.types.is_none() && self.shown.is_none()
    }
}

/// Whether the gateway tests what such a request finds, reads or sends.
#[must_use]
pub(super) fn can_test(interaction: Interaction) -> bool {
    match interaction.kind {
        Kind::Search | Kind::Read | Kind::Create | Kind::Update | Kind::Delete => interaction.resource_type.is_some(),
        Kind::Operation => is_docref(interaction),
        _ => false,
    }
}

/// Whether it is `DocumentReference/$docref`, whose answer is a Bundle of DocumentReferences.
#[must_use]
pub(super) fn is_docref(interaction: Interaction) -> bool {
    (interaction.kind, interaction.resource_type, interaction.operation)
        == (Kind::Operation, Some("DocumentReference"), Some("docref"))
}
