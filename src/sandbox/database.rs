//! The part of OpenEMR's database that its nodes share: the key that signs access tokens, the tokens, the trusted
//! clients and the used jtis.
//!
//! It is in memory for a single node, or in a folder for several processes and to survive a restart:
//!
//! | in the folder | what it is |
//! |---|---|
//! | `signing_key.der` | the key, in PKCS#8, made by the first node |
//! | `tokens/…` | one row for each token, as JSON |
//! | `trusted_clients/…`, `jtis/…` | one empty file for each row |
//!
//! The name of a row is the SHA-256 of its key, since clients choose keys. Every file appears whole or not at all, so
//! that a node can be killed at any moment. Clients and resources are not part of the database: each node makes its own
//! from its settings.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    digest,
    encoding::{AsDer, Pkcs8V1Der},
    rsa::KeySize,
    signature::RsaKeyPair,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::random::random_text;

/// The ways in which tokens are revoked.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Revocation {
    /// They are marked as revoked.
    ByAdmin,
    /// The trusted-user rows are deleted.
    TrustedUser,
    /// The tokens are deleted from the table.
    Unknown,
}

/// A row of the token table.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub(super) struct TokenRow {
    /// The site that the token was issued for.
    pub(super) site: String,
    /// When it expires, in seconds since 1970.
    pub(super) expires: f64,
    /// Whether an administrator revoked it.
    pub(super) revoked: bool,
}

/// The tables of a database in memory.
#[derive(Debug, Default)]
pub(super) struct Tables {
    tokens: HashMap<String, TokenRow>,
    trusted_clients: HashSet<String>,
    jtis: HashSet<String>,
}

/// The database. Its errors are those of the file system, which stand for a database that is down.
#[derive(Debug)]
pub(super) enum Database {
    /// Lost when the process ends.
    Memory(Mutex<Tables>),
    /// Shared by all processes with this folder.
    Folder(PathBuf),
}

const TOKENS: &str = "tokens";
const TRUSTED_CLIENTS: &str = "trusted_clients";
const JTIS: &str = "jtis";
const SIGNING_KEY: &str = "signing_key.der";

impl Database {
    /// Opens the database in `folder`, which is created if necessary, or a new one in memory.
    pub(super) fn open(folder: Option<&Path>) -> io::Result<Database> {
        let Some(folder) = folder else {
            return Ok(Database::Memory(Mutex::default()));
        };
        for table in [TOKENS, TRUSTED_CLIENTS, JTIS] {
            fs::create_dir_all(folder.join(table))?;
        }
        Ok(Database::Folder(folder.to_owned()))
    }

    /// Returns the 2048-bit RSA key that signs access tokens; makes it at the first call.
    pub(super) fn signing_key(&self) -> io::Result<RsaKeyPair> {
        let make = || RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| io::Error::other("no RSA key could be made"));
        let Database::Folder(folder) = self else {
            return make();
        };
        let file = folder.join(SIGNING_KEY);
        if !file.try_exists()? {
            let der: Pkcs8V1Der<'_> = make()?.as_der().map_err(|_| io::Error::other("the RSA key cannot be written"))?;
            let draft = draft(folder);
            fs::write(&draft, der.as_ref())?;
            // Unlike a rename, a link does not replace the key of a node that was faster.
            let linked = fs::hard_link(&draft, &file);
            fs::remove_file(&draft)?;
            match linked {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        RsaKeyPair::from_pkcs8(&fs::read(&file)?).map_err(|reason| io::Error::other(format!("{SIGNING_KEY}: {reason}")))
    }

    /// Returns whether a jti was used before, by any client.
    pub(super) fn is_used(&self, jti: &str) -> io::Result<bool> {
        match self {
            Database::Memory(tables) => Ok(tables.lock().jtis.contains(jti)),
            Database::Folder(folder) => row(folder, JTIS, jti).try_exists(),
        }
    }

    /// Marks a jti as used; returns false when it was used already. The table is never emptied, as in OpenEMR.
    pub(super) fn mark_used(&self, jti: &str) -> io::Result<bool> {
        match self {
            Database::Memory(tables) => Ok(tables.lock().jtis.insert(jti.to_owned())),
            Database::Folder(folder) => match fs::File::create_new(row(folder, JTIS, jti)) {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(error),
            },
        }
    }

    /// Inserts a token, and its client as a trusted user.
    pub(super) fn insert(&self, token: &str, token_row: TokenRow, client: &str, now: f64) -> io::Result<()> {
        match self {
            Database::Memory(tables) => {
                let mut tables = tables.lock();
                tables.tokens.retain(|_, row| row.expires > now);
                tables.tokens.insert(token.to_owned(), token_row);
                tables.trusted_clients.insert(client.to_owned());
                Ok(())
            }
            Database::Folder(folder) => {
                replace(folder, &row(folder, TOKENS, token), &token_row)?;
                fs::File::create(row(folder, TRUSTED_CLIENTS, client)).map(drop)
            }
        }
    }

    /// Returns the row of a token.
    pub(super) fn token(&self, token: &str) -> io::Result<Option<TokenRow>> {
        match self {
            Database::Memory(tables) => Ok(tables.lock().tokens.get(token).cloned()),
            Database::Folder(folder) => read(&row(folder, TOKENS, token)),
        }
    }

    /// Returns whether a client has a trusted-user row.
    pub(super) fn is_trusted(&self, client: &str) -> io::Result<bool> {
        match self {
            Database::Memory(tables) => Ok(tables.lock().trusted_clients.contains(client)),
            Database::Folder(folder) => row(folder, TRUSTED_CLIENTS, client).try_exists(),
        }
    }

    /// Revokes every token issued so far, for all nodes.
    pub(super) fn revoke_all(&self, how: Revocation) -> io::Result<()> {
        match self {
            Database::Memory(tables) => {
                let mut tables = tables.lock();
                match how {
                    Revocation::ByAdmin => tables.tokens.values_mut().for_each(|row| row.revoked = true),
                    Revocation::TrustedUser => tables.trusted_clients.clear(),
                    Revocation::Unknown => tables.tokens.clear(),
                }
                Ok(())
            }
            Database::Folder(folder) => {
                let table = if how == Revocation::TrustedUser { TRUSTED_CLIENTS } else { TOKENS };
                for entry in fs::read_dir(folder.join(table))? {
                    let file = entry?.path();
                    if how != Revocation::ByAdmin {
                        fs::remove_file(file)?;
                    } else if let Some(token_row) = read(&file)? {
                        replace(folder, &file, &TokenRow { revoked: true, ..token_row })?;
                    }
                }
                Ok(())
            }
        }
    }
}

fn row(folder: &Path, table: &str, name: &str) -> PathBuf {
    let hash = digest::digest(&digest::SHA256, name.as_bytes());
    let name: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    folder.join(table).join(name)
}

/// Returns the name of a temporary file beside the tables that no other process uses.
fn draft(folder: &Path) -> PathBuf {
    folder.join(format!("draft-{}", random_text(16)))
}

fn replace(folder: &Path, file: &Path, token_row: &TokenRow) -> io::Result<()> {
    let draft = draft(folder);
    fs::write(&draft, serde_json::to_vec(token_row)?)?;
    fs::rename(draft, file)
}

fn read(file: &Path) -> io::Result<Option<TokenRow>> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use aws_lc_rs::signature::KeyPair;

    use super::*;

    fn row_of(site: &str) -> TokenRow {
        TokenRow { site: site.to_owned(), expires: 1e12, revoked: false }
    }

    #[test]
    fn what_one_node_writes_every_node_reads() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (Database::open(Some(folder.path())).unwrap(), Database::open(Some(folder.path())).unwrap());
        for (one, other) in [(&one, &other), (&other, &one)] {
            let jti = random_text(8);
            assert!(!other.is_used(&jti).unwrap());
            assert!(one.mark_used(&jti).unwrap());
            assert!(other.is_used(&jti).unwrap());
            assert!(!other.mark_used(&jti).unwrap());
            let insert = || one.insert("../token", row_of("default"), "client", 0.0).unwrap();
            insert();
            assert_eq!(other.token("../token").unwrap(), Some(row_of("default")));
            assert!(other.is_trusted("client").unwrap());
            other.revoke_all(Revocation::ByAdmin).unwrap();
            assert!(one.token("../token").unwrap().unwrap().revoked);
            other.revoke_all(Revocation::TrustedUser).unwrap();
            assert!(!one.is_trusted("client").unwrap());
            other.revoke_all(Revocation::Unknown).unwrap();
            assert_eq!(one.token("../token").unwrap(), None);
        }
    }

    #[test]
    fn nodes_that_start_together_sign_with_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let keys: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let start = || Database::open(Some(folder.path())).unwrap().signing_key().unwrap().public_key().as_ref().to_vec();
            let nodes: Vec<_> = (0..3).map(|_| scope.spawn(start)).collect();
            nodes.into_iter().map(|node| node.join().unwrap()).collect()
        });
        assert!(keys.windows(2).all(|pair| pair[0] == pair[1]));
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 4, "a draft was left behind");
    }

    #[test]
    fn a_folder_that_is_gone_is_an_error_and_no_refusal() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(Some(folder.path())).unwrap();
        folder.close().unwrap();
        assert!(database.mark_used("jti").is_err());
        assert!(database.insert("token", row_of("default"), "client", 0.0).is_err());
    }
}
