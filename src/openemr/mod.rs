//! OpenEMR's dialect of FHIR, without a socket or a clock.
//!
//! | module | what it knows |
//! |---|---|
//! | `bundle` | how OpenEMR writes a search Bundle, and how that becomes a valid searchset |
//! | `created` | what OpenEMR answers to a create |
//! | `disclosure` | which of OpenEMR's texts may be shown to a client |
//! | `error` | OpenEMR's error answers, and the OperationOutcomes that replace them |
//! | `export` | the types of a bulk export, exported one after the other by OpenEMR |
//! | `offered` | what OpenEMR does, by its CapabilityStatement and by what that leaves out |
//! | `search` | which parameters OpenEMR understands, and how a search is put to it |
//! | `token_refusal` | which of OpenEMR's error bodies refuse the access token |
//! | `version` | the versions of OpenEMR that behave differently |

pub mod bundle;
pub mod created;
pub mod disclosure;
pub mod error;
pub mod export;
pub mod offered;
pub mod search;
pub mod token_refusal;
pub mod version;
