//! Private keys, JWK Sets, key ids and the rotation of keys: bytes in, keys out. No files, no sockets.

mod byte_order_mark;
pub mod certificate;
mod der;
pub mod generate;
pub mod jwk_set;
pub mod key_files;
pub mod kid;
pub mod pem;
pub mod rotation;
pub mod rotation_files;
pub mod rotation_state;

pub use byte_order_mark::without_byte_order_mark;
pub use jwk_set::{Jwk, JwkSet, JwkSetError};
pub use kid::{KidMethod, kid};
pub use pem::{Algorithm, KeyError, PublicKey, SigningKey};
