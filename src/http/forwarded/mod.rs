//! What proxies in front of the gateway report of a client: `X-Forwarded-*` or `Forwarded` (RFC 7239), believed only as far as
//! it comes from trusted proxies.
//!
//! Each proxy appends the address that it was called from, so that a list is read from its end. The last entry was written by
//! the connected peer; the one before it by the address in the last; and so on for as long as these are trusted. The first
//! address that is not trusted is the client's, and the client can have made up whatever stands before it.
//!
//! Proxies write one family of fields and pass the other on as the client sent it, so that only the family counts that the
//! configuration names. Where an entry that counts is missing or cannot be read, the client is a [`client::Client::Stranger`]; a proxy
//! is never taken for the client.
//!
//! Decision: `docs/decisions/18-proxies.md`.

pub(crate) mod called_at;
pub(crate) mod client;
mod element;
pub(crate) mod hops;
mod spelling;
mod traces;
pub(crate) mod trusted_proxy;

#[cfg(test)]
mod tests;
