//! SMART App Launch "Backend Services": client assertions, the token exchange, the life of a token.
//!
//! | file | what it is |
//! |---|---|
//! | [`assertion`] | claims to a signed client assertion |
//! | [`token_request`] | the form that is sent |
//! | [`token_response`] | status and body to a grant, or to an error that names the likely cause |
//! | [`token`] | an access token, ready to be set on requests |
//! | [`schedule`] | when the next exchange is: decisions without a clock |
//! | [`refresh_limit`] | how often callers can cause an exchange |
//! | [`skew`] | the difference between OpenEMR's clock and ours |
//! | [`token_cell`] | a site's token as requests read it |
//! | [`refresh_request`] | a request for a newer token |
//! | `token_task` | the task that keeps one token |
//! | [`identity`] | what must be equal for two sites to share a token |
//! | [`discovery`] | the token endpoint, from a server's SMART configuration |
//! | [`exchange`] | a site's token endpoint, and one exchange with it |
//! | [`exchanged`] | the outcome of an exchange |
//! | [`export_scopes`] | the scopes of a bulk export, and a token's set narrowed to one type |
//! | [`key_files`] | the files of a key rotation on the disk |
//! | `key_ring` | the key files that several sites may sign with |
//! | [`key_rings`] | all key rings, and the signers that share each |
//! | [`signer`] | which key signs a site's assertions, and the second try in a rotation |
//! | [`signing_keys`] | the signing key and the published set, as one value |
//! | [`key_keeper`] | the background service that follows a rotation |
//! | [`refresher`] | the background service that runs the tasks |
//! | [`scope`] | SMART scopes |
//! | [`scope_need`] | which scope a FHIR interaction needs |
//! | [`scope_record`] | the scopes that are granted and refused all the same |

pub mod assertion;
pub mod discovery;
pub mod exchange;
pub mod exchanged;
pub mod identity;
pub mod key_keeper;
mod key_ring;
pub mod key_rings;
pub mod refresh_limit;
pub mod refresh_request;
pub mod refresher;
pub mod schedule;
pub mod scope_record;
pub mod signer;
pub mod signing_keys;
pub mod skew;
pub mod token;
pub mod token_cell;
pub mod token_request;
pub mod token_response;
mod token_task;
