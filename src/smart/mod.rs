//! SMART App Launch "Backend Services": client assertions, the token exchange, the life of a token.
//!
//! | file | what it is |
//! |---|---|
//! | `assertion` | claims to a signed client assertion |
//! | `token_request` | the form that is sent |
//! | `token_response` | status and body to a grant, or to an error that names the likely cause |
//! | `token` | an access token, ready to be set on requests |
//! | `schedule` | when the next exchange is: decisions without a clock |
//! | `refresh_limit` | how often callers can cause an exchange |
//! | `skew` | the difference between OpenEMR's clock and ours |
//! | `token_cell` | a site's token as requests read it |
//! | `refresh_request` | a request for a newer token |
//! | `token_task` | the task that keeps one token |
//! | `past_exchange` | the latest exchanges and how they ended |
//! | `identity` | what must be equal for two sites to share a token |
//! | `discovery` | the token endpoint, from a server's SMART configuration |
//! | `registration` | the registration of a client at OpenEMR |
//! | `exchange` | a site's token endpoint, and one exchange with it |
//! | `exchanged` | the outcome of an exchange |
//! | `remedy` | what to do about an exchange that brought no token |
//! | `key_ring` | the key files that several sites may sign with |
//! | `key_rings` | all key rings, and the signers that share each |
//! | `signer` | which key signs a site's assertions, and the second try in a rotation |
//! | `signing_keys` | the signing key and the published set, as one value |
//! | `key_keeper` | the background service that follows a rotation |
//! | `refresher` | the background service that runs the tasks |
//! | `bench` | a token, for the benchmark of its read |
//! | `scope_record` | the scopes that are granted and refused all the same |

mod assertion;
pub(crate) mod bench;
pub(crate) mod discovery;
pub(crate) mod exchange;
pub(crate) mod exchanged;
pub(crate) mod identity;
pub(crate) mod key_keeper;
mod key_ring;
pub(crate) mod key_rings;
pub(crate) mod past_exchange;
mod refresh_limit;
pub(crate) mod refresh_request;
pub(crate) mod refresher;
pub(crate) mod registration;
pub(crate) mod remedy;
pub(crate) mod schedule;
pub(crate) mod scope_record;
pub(crate) mod signer;
mod signing_keys;
pub(crate) mod skew;
pub(crate) mod token;
pub(crate) mod token_cell;
pub(crate) mod token_failure;
mod token_request;
pub(crate) mod token_response;
mod token_task;
