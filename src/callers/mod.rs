//! The check of credentials, and the token server for clients: what of access control needs the network, the disk or the clock.

pub(crate) mod access_tokens;
mod assertion;
pub(crate) mod client_certificates;
pub(crate) mod credentials;
pub(crate) mod grant;
pub(crate) mod issued;
pub(crate) mod jwk_sets;
mod jws;
pub(crate) mod jwt;
pub(crate) mod key_file;
pub(crate) mod public_keys;
mod recent;
pub(crate) mod replay;
mod signing_key;
pub(crate) mod token_server;
mod used_assertion;
mod used_folder;
mod used_in_store;
