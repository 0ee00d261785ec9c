//! Why the answer to a search does not go on.

use crate::fhir::body_step::Broken;
use crate::fhir::criteria::Illegible;
use crate::fhir::json::outline::Malformed;
use crate::fhir::reason::Reason;

/// Why a document does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is no Bundle of a search.
    NoBundle,
    /// There is no body.
    Empty,
    /// It is no JSON.
    Malformed,
    /// A member of the Bundle or of an entry comes twice: readers differ on which is meant.
    Twice,
    /// An entry tells too late what it is, or another value is too long.
    TooLong,
    /// A resource that has to be tested cannot be read.
    Illegible,
    /// OpenEMR sends a part of what has to be tested, and a link of its own to the rest.
    Incomplete,
    /// It ends too soon.
    CutShort,
    /// OpenEMR says that there are more matches, and sends those before the page alone.
    OutOfReach,
    /// The number of matches was asked for, and OpenEMR sends a part of them without telling it.
    NotCounted,
}

impl Fault {
    /// What is wrong, for the log and for the client.
    #[must_use]
    pub(crate) fn broken(self) -> Broken {
        let text = match self {
            Self::OutOfReach => {
                "OpenEMR does not send the matches of this page: ask for fewer, or follow the links of the first page."
            }
            Self::Incomplete => {
                "OpenEMR sends a part of the resources that the gateway has to test: narrow the search, or ask with _count."
            }
            Self::Illegible => "OpenEMR's answer to the search has a resource that could not be read.",
            Self::NotCounted => "OpenEMR sends a part of the matches, and does not tell how many there are.",
            _ => "OpenEMR's answer to the search could not be read as a Bundle.",
        };
        let reason = match self {
            Self::NoBundle => "the answer to the search is no Bundle",
            Self::Malformed => "the Bundle is not valid JSON",
            Self::Twice => "a member of the Bundle or of an entry comes twice",
            Self::TooLong => "a part of the Bundle is too long to be read",
            Self::Empty => "the answer to the search has no body",
            Self::Incomplete => "OpenEMR sends a part of what has to be tested",
            Self::Illegible => "a resource of the Bundle cannot be read",
            Self::CutShort => "the Bundle was cut short",
            Self::OutOfReach => "OpenEMR does not send the matches of this page",
            Self::NotCounted => "OpenEMR does not tell the number of matches",
        };
        let code = if self == Self::CutShort { Reason::CutShort } else { Reason::NotFhir };
        Broken { reason, text, code }
    }
}

impl From<Illegible> for Fault {
    fn from(_: Illegible) -> Self {
        Self::Illegible
    }
}

impl From<Malformed> for Fault {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}
