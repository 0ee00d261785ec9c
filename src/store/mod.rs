//! The store that several gateways share: one connection to a server that speaks the Redis protocol, on which scripts are run.
//!
//! A command either has its answer within the configured time or is an error. While the store is known to be away, commands fail at
//! once: nothing waits in a queue for it, and nothing is sent a second time.
//!
//! | module | what it is |
//! |---|---|
//! | `shared_store` | the store as its users see it |
//! | `script`, `reply`, `store_error` | what is run, what comes back, and what can go wrong |
//! | `link` | the state of the connection: who opens it, who waits for it, and when it is tried again |
//! | `connection`, `watched_stream` | one connection: TCP, TLS, password, and a limit on what it brings |
//!
//! Decision: `docs/decisions/56-shared-store.md`.

mod connection;
mod link;
pub(crate) mod reply;
pub(crate) mod script;
pub(crate) mod shared_store;
pub(crate) mod store_error;
mod watched_stream;

#[cfg(test)]
pub(crate) mod tests;
