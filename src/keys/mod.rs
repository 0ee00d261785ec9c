//! Signing keys, JWK Sets, key ids, and the rotation of a key with its files.
//!
//! | module | what it is |
//! |---|---|
//! | `signing_key`, `der` | private keys that sign client assertions, read from PEM |
//! | `key_error` | why a file holds no usable signing key |
//! | `not_pem` | what stands where a private key in PEM was due |
//! | `secret_pem` | PEM text whose copies are zeroed |
//! | `secret_file` | a file with a secret that the gateway makes for itself |
//! | `generate`, `certificate` | new keys, and self-signed certificates |
//! | `jwk_set`, `kid` | JWK Sets and key ids |
//! | `byte_order_mark` | what is passed over before JSON and YAML |
//! | `rotation` | the rotation of a key as a state machine, without a clock or a file |
//! | `rotation_state` | how its state is written |
//! | `rotation_files` | what a state means for the files of a rotation |
//! | `key_files` | these files on the disk |

mod byte_order_mark;
pub(crate) mod certificate;
mod der;
pub(crate) mod generate;
pub(crate) mod jwk_set;
pub(crate) mod key_error;
pub(crate) mod key_files;
mod kid;
pub(crate) mod not_pem;
pub(crate) mod rotation;
pub(crate) mod rotation_files;
mod rotation_state;
pub(crate) mod secret_file;
pub(crate) mod secret_pem;
pub(crate) mod signing_key;

pub(crate) use byte_order_mark::without_byte_order_mark;
pub(crate) use jwk_set::Jwk;
pub use jwk_set::JwkSet;
pub(crate) use kid::{KidMethod, kid, sha256, sha256_hex, thumbprint};
pub use signing_key::{Algorithm, SigningKey};
