//! A check of a set-up, step by step from the configuration to a patient: what was done, what came back, and what mends it.
//!
//! It goes the way of the running gateway, with the same client, the same exchange and the same words for causes. It changes
//! nothing here; at OpenEMR it gets one token a site. No resource is shown, only how many there are.
//!
//! | file | what it is |
//! |---|---|
//! | `outcome` | what a step found: `Outcome`, `Verdict`, and the class of a failure |
//! | `walk` | the steps so far, and who watches them |
//! | `subject` | what is checked: a configured site, or an address alone |
//! | `site` | the steps of one site, in their order |
//! | `local` | the configuration, files, permissions and keys |
//! | `reach` | name, connection, TLS |
//! | `certificate` | the certificates that a server presents |
//! | `discovered` | the SMART configuration, and the clock |
//! | `token` | the token exchange, and the scopes |
//! | `statement` | the CapabilityStatement, the version, and what is known of it |
//! | `shields` | published vulnerabilities, and what the gateway does about them |
//! | `counts` | one search for each type |
//! | `bundle` | what the answer to a search says of itself |
//! | `answer` | answers of no use, and none |

mod answer;
mod bundle;
pub(crate) mod certificate;
mod counts;
mod discovered;
pub(crate) mod local;
pub(crate) mod outcome;
mod reach;
pub(crate) mod shields;
pub(crate) mod site;
mod statement;
pub(crate) mod subject;
mod token;
pub(crate) mod walk;
