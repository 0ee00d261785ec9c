//! SMART App Launch "Backend Services": client assertions, the token exchange, the life of a token.
//!
//! | file | what it is |
//! |---|---|
//! | [`assertion`] | claims to a signed client assertion |
//! | [`token_request`] | the form that is sent |
//! | [`token_response`] | status and body to a grant, or to an error that names the likely cause |
//! | [`token`] | an access token, ready to be stamped on requests |
//! | [`schedule`] | when to try next, and who may cause it: decisions without a clock |
//! | [`refresh_limit`] | how often callers can cause an exchange |
//! | [`skew`] | how far OpenEMR's clock is off ours |
//! | [`token_cell`] | what requests read, and how they wait for the first token |
//! | [`identity`] | what makes a token: site, client, scopes |
//! | [`discovery`] | the token endpoint, from a server's SMART configuration |
//! | [`exchange`] | a site's token endpoint, and one exchange with it |
//! | [`exchanged`] | the outcome of an exchange |
//! | `key_ring` | the key files that several sites may sign with |
//! | [`key_rings`] | all key rings, and the signers that share each |
//! | [`signer`] | which key signs a site's assertions, and the second try in a rotation |
//! | [`signing_keys`] | the signing key and the published set, as one value |
//! | [`key_keeper`] | the background service that follows a rotation |
//! | [`refresher`] | the background service: one task a site, single flight |
//! | [`scope_record`] | the scopes that are granted and of no use |

pub mod assertion;
pub mod discovery;
pub mod exchange;
pub mod exchanged;
pub mod identity;
pub mod key_keeper;
mod key_ring;
pub mod key_rings;
pub mod refresh_limit;
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
