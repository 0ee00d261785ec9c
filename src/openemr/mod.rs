//! OpenEMR's dialect of FHIR, without a socket or a clock.
//!
//! | module | what it knows |
//! |---|---|
//! | `breakages` | searches that OpenEMR announces and does wrong |
//! | `bundle` | how OpenEMR writes a search Bundle, and how that becomes a valid searchset |
//! | `created` | what OpenEMR answers to a create |
//! | `disclosure` | which of OpenEMR's texts may be shown to a client |
//! | `error` | OpenEMR's error answers, and the OperationOutcomes that replace them |
//! | `export` | how OpenEMR exports in bulk, and the plan that exports one type after the other |
//! | `invented_times` | the types whose `meta.lastUpdated` OpenEMR makes up |
//! | `mend` | what is not valid in OpenEMR's resources, mended |
//! | `offered` | which interactions OpenEMR offers, announced or not |
//! | `php` | how PHP reads the names of parameters, and which bodies it reads as forms |
//! | `repeated` | parameters that PHP reads as one |
//! | `request_parameters` | which parameters may reach OpenEMR |
//! | `search` | what of a search OpenEMR is asked, what the gateway tests and what is refused, and how OpenEMR pages |
//! | `statement` | what OpenEMR's CapabilityStatement says of searches, corrected |
//! | `token_rejection` | which of OpenEMR's error answers reject the access token |
//! | `version` | the versions of OpenEMR that behave differently |

pub(crate) mod breakages;
pub(crate) mod bundle;
pub(crate) mod created;
mod disclosure;
pub(crate) mod error;
pub(crate) mod export;
pub(crate) mod invented_times;
pub(crate) mod mend;
pub(crate) mod offered;
pub(crate) mod php;
pub(crate) mod repeated;
pub(crate) mod request_parameters;
pub(crate) mod search;
pub(crate) mod statement;
pub(crate) mod submitted;
pub(crate) mod token_rejection;
pub(crate) mod version;
