//! Who may call, and for what: clients, their credentials, policies in SMART scopes, and the decision on a request.
//!
//! Everything here is pure. Credentials are checked in the room `callers`, and decisions are carried out in `gateway`.

pub(crate) mod api_key;
mod belonging;
pub(crate) mod bench;
pub(crate) mod caller;
#[cfg(test)]
mod cases;
pub(crate) mod certificates;
pub(crate) mod clients;
pub(crate) mod compartment;
pub(crate) mod decision;
pub(crate) mod grants;
pub(crate) mod issuer;
pub(crate) mod line;
pub(crate) mod patients;
pub(crate) mod permitted;
pub(crate) mod policy;
pub(crate) mod question;
mod reach;
mod reference;
pub(crate) mod refusal;
pub(crate) mod remote_keys;
pub(crate) mod rule;
mod search;
pub(crate) mod table;

#[cfg(test)]
mod tests;
