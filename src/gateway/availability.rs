//! Whether OpenEMR can be reached at all: a request is refused at once while no node can.

use std::time::{Duration, Instant};

use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::gateway::destination::{FhirCall, FhirKind};
use crate::nodes::NoNode;

/// Why there is no node for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreachable {
    /// No node can be reached; it is worth trying again after this long.
    #[error("every node is ejected")]
    AllEjected(Duration),
    /// No node's name has ever been resolved.
    #[error("no node's name has been resolved")]
    NoAddress,
}

impl From<Unreachable> for Rejection {
    fn from(unreachable: Unreachable) -> Self {
        match unreachable {
            Unreachable::AllEjected(wait) => Self::unavailable(Reason::NoNode, wait, "OpenEMR cannot be reached at the moment."),
            Unreachable::NoAddress => Self::bad_gateway(IssueCode::Transient, Reason::NoNode, "OpenEMR cannot be found."),
        }
        .because(unreachable)
    }
}

impl From<NoNode> for Unreachable {
    fn from(none: NoNode) -> Self {
        match none {
            NoNode::AllOut(wait) => Self::AllEjected(wait),
            // The node on which the request was to be repeated has been ejected since.
            NoNode::NoneLeft => Self::AllEjected(Duration::ZERO),
        }
    }
}

/// Refuses a request at once when no node can be reached; not one that the gateway answers from what it keeps.
///
/// # Errors
/// [`Unreachable::AllEjected`]
pub(super) fn check(fhir: &FhirCall) -> Result<(), Unreachable> {
    if fhir.kind != FhirKind::Proxied {
        return Ok(());
    }
    fhir.site.nodes.rejects_for(Instant::now()).map_or(Ok(()), |wait| Err(Unreachable::AllEjected(wait)))
}
