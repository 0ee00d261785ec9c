//! What of a kick-off is left out of its export, and told of.

use serde::{Deserialize, Serialize};

use crate::fhir::prefer::Handling;

/// A part of the request that is left out of the export, to be reported in the manifest. It quotes nothing that the client
/// wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LeftOut {
    /// A parameter of the IG that OpenEMR does not have.
    #[error("The parameter {0} is not supported and was left out.")]
    Parameter(String),
    /// A parameter that the IG does not have.
    #[error("A parameter is unknown and was left out.")]
    UnknownParameter,
    /// A type that the gateway's token does not grant.
    #[error("{0} is not exported: the gateway's token lacks the scope system/{0}.read.")]
    NotGranted(String),
    /// A type that the policy of the client does not let it export.
    #[error("{0} is not exported: the policy of the client lacks the scope system/{0}.rs.")]
    NotPermitted(String),
    /// A type that is not exported at this level.
    #[error("{0} is not exported at this level.")]
    NotExported(String),
    /// A type that OpenEMR does not export at any level; the client named it.
    #[error("{0} is not exported: OpenEMR's export does not have this type.")]
    Unsupported(String),
    /// A type that OpenEMR does not export at any level. The client named no types, and the token grants this one.
    #[error("{0} is not exported: OpenEMR's export does not have this type.")]
    UnsupportedUnnamed(String),
    /// A name in `_type` that is no resource type.
    #[error("_type has a name that is no resource type, which was left out.")]
    UnknownType,
    /// A parameter of a search in `_typeFilter` that selects nothing.
    #[error("The parameter {0} in _typeFilter selects nothing in an export and was left out.")]
    InFilter(String),
    /// A search in `_typeFilter` of a type that is not exported.
    #[error("The export does not hold {0}, so that the search of it in _typeFilter was left out.")]
    FilterOfOther(String),
    /// The Provenance of a type that `_typeFilter` is about, which cannot be told from that of the resources that are left; the client named
    /// Provenance.
    #[error("Provenance of {0} is not exported, because _typeFilter selects among {0}: export Provenance without it.")]
    FilteredProvenance(String),
    /// The same, and the client named no types.
    #[error("Provenance of {0} is not exported, because _typeFilter selects among {0}: export Provenance without it.")]
    FilteredProvenanceUnnamed(String),
}

impl LeftOut {
    /// Returns the sentence for a client whose kick-off is refused for it.
    #[must_use]
    pub(super) fn refusal(&self) -> String {
        match self {
            Self::Parameter(name) => {
                format!("The parameter {name} is not supported; with Prefer: handling=lenient the export leaves it out.")
            }
            Self::UnknownParameter => {
                "A parameter is unknown to this operation; with Prefer: handling=lenient the export leaves it out.".to_owned()
            }
            Self::UnknownType => "_type has a name that is no resource type.".to_owned(),
            Self::InFilter(name) => {
                format!(
                    "The parameter {name} in _typeFilter selects nothing in an export; with Prefer: handling=lenient it is left out."
                )
            }
            Self::FilterOfOther(name) => format!("_typeFilter has a search of {name}, which the export does not hold."),
            Self::NotGranted(_)
            | Self::NotPermitted(_)
            | Self::NotExported(_)
            | Self::Unsupported(_)
            | Self::UnsupportedUnnamed(_)
            | Self::FilteredProvenance(_)
            | Self::FilteredProvenanceUnnamed(_) => self.to_string(),
        }
    }

    /// Whether it is told of without being an error: the client named no types.
    #[must_use]
    pub(crate) fn is_unnamed(&self) -> bool {
        matches!(self, Self::UnsupportedUnnamed(_) | Self::FilteredProvenanceUnnamed(_))
    }

    /// Whether it is about `_typeFilter`, which earlier versions of the gateway do not have.
    #[must_use]
    pub(crate) fn is_of_filters(&self) -> bool {
        matches!(
            self,
            Self::InFilter(_) | Self::FilterOfOther(_) | Self::FilteredProvenance(_) | Self::FilteredProvenanceUnnamed(_)
        )
    }

    /// Whether it is about the policy of the client, which earlier versions of the gateway do not have.
    #[must_use]
    pub(crate) fn is_of_policies(&self) -> bool {
        matches!(self, Self::NotPermitted(_))
    }

    /// Whether it is a type that the client named, and that it may not have.
    #[must_use]
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self, Self::NotGranted(_) | Self::NotPermitted(_))
    }

    /// Whether it is a type that the client named.
    #[must_use]
    pub(super) fn is_named_type(&self) -> bool {
        matches!(self, Self::NotGranted(_) | Self::NotPermitted(_) | Self::NotExported(_) | Self::Unsupported(_))
    }

    /// Whether the kick-off is refused for it unless `handling` lets it be left out.
    #[must_use]
    pub(super) fn is_refused(&self, handling: Option<Handling>) -> bool {
        match self {
            Self::UnsupportedUnnamed(_) | Self::FilteredProvenanceUnnamed(_) => false,
            // The manifest says which type it is, so that one of many takes no other with it.
            Self::Unsupported(_) => handling == Some(Handling::Strict),
            _ => handling != Some(Handling::Lenient),
        }
    }
}
