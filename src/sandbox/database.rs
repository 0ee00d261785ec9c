//! OpenEMR's database, as far as the nodes of one OpenEMR share it: the key that signs access tokens, the tokens, the
//! trusted clients, the used jtis.
//!
//! In memory for one node alone, or a folder for several processes and for what outlives a restart:
//!
//! | in the folder | what it is |
//! |---|---|
//! | `signing_key.der` | the key, in PKCS#8, made by whichever node comes first |
//! | `tokens/…` | a row a token, as JSON |
//! | `trusted_clients/…`, `jtis/…` | an empty file a row |
//!
//! A row is named by the SHA-256 of what it is about, which callers choose. Every file appears whole or not at all, so
//! that a node can be killed at any moment. The clients and the resources are no part of it: each node makes its own
//! from what it is started with.

use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::Mutex,
};

use aws_lc_rs::{
    digest,
    encoding::{AsDer, Pkcs8V1Der},
    rsa::KeySize,
    signature::RsaKeyPair,
};
use serde::{Deserialize, Serialize};

use super::{answer::random_text, faults::lock};

/// The ways in which tokens are taken back.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Revocation {
    /// Marked as revoked.
    ByAdmin,
    /// The trusted-user rows are deleted.
    TrustedUser,
    /// The tokens are deleted from the table.
    Unknown,
}

/// What is known about an access token.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct TokenRow {
    /// The site it was issued for.
    pub site: String,
    /// In seconds since 1970.
    pub expires: f64,
    /// Taken back by an administrator.
    pub revoked: bool,
}

/// The tables of a node that is alone.
#[derive(Debug, Default)]
pub struct Tables {
    tokens: HashMap<String, TokenRow>,
    trusted_clients: HashSet<String>,
    jtis: HashSet<String>,
}

/// The database. Errors are those of the file system; OpenEMR's counterpart is a database that is down.
#[derive(Debug)]
pub enum Database {
    /// Gone with the process.
    Memory(Mutex<Tables>),
    /// Shared by every process that is given this folder.
    Folder(PathBuf),
}

const TOKENS: &str = "tokens";
const TRUSTED_CLIENTS: &str = "trusted_clients";
const JTIS: &str = "jtis";
const SIGNING_KEY: &str = "signing_key.der";

impl Database {
    /// The database in `folder`, which is made if need be, or one in memory.
    pub fn open(folder: Option<&Path>) -> io::Result<Database> {
        let Some(folder) = folder else {
            return Ok(Database::Memory(Mutex::default()));
        };
        for table in [TOKENS, TRUSTED_CLIENTS, JTIS] {
            fs::create_dir_all(folder.join(table))?;
        }
        Ok(Database::Folder(folder.to_owned()))
    }

    /// The 2048-bit RSA key that signs access tokens; made at the first call.
    pub fn signing_key(&self) -> io::Result<RsaKeyPair> {
        let make = || RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| io::Error::other("no RSA key could be made"));
        let Database::Folder(folder) = self else {
            return make();
        };
        let file = folder.join(SIGNING_KEY);
        if !file.try_exists()? {
            let der: Pkcs8V1Der<'_> = make()?.as_der().map_err(|_| io::Error::other("the RSA key cannot be written"))?;
            let draft = draft(folder);
            fs::write(&draft, der.as_ref())?;
            // Unlike a rename, a link does not replace the key of a node that was quicker.
            let linked = fs::hard_link(&draft, &file);
            fs::remove_file(&draft)?;
            match linked {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        RsaKeyPair::from_pkcs8(&fs::read(&file)?).map_err(|reason| io::Error::other(format!("{SIGNING_KEY}: {reason}")))
    }

    /// Whether that jti was used before, by whichever client.
    pub fn is_used(&self, jti: &str) -> io::Result<bool> {
        match self {
            Database::Memory(tables) => Ok(lock(tables).jtis.contains(jti)),
            Database::Folder(folder) => row(folder, JTIS, jti).try_exists(),
        }
    }

    /// Uses a jti up; false when somebody was quicker. Never emptied, as in OpenEMR.
    pub fn use_up(&self, jti: &str) -> io::Result<bool> {
        match self {
            Database::Memory(tables) => Ok(lock(tables).jtis.insert(jti.to_owned())),
            Database::Folder(folder) => match fs::File::create_new(row(folder, JTIS, jti)) {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(error),
            },
        }
    }

    /// Enters a token and, as its trusted user, the client it is issued to.
    pub fn enter(&self, token: &str, token_row: TokenRow, client: &str, now: f64) -> io::Result<()> {
        match self {
            Database::Memory(tables) => {
                let mut tables = lock(tables);
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

    /// What is known about a token.
    pub fn token(&self, token: &str) -> io::Result<Option<TokenRow>> {
        match self {
            Database::Memory(tables) => Ok(lock(tables).tokens.get(token).cloned()),
            Database::Folder(folder) => read(&row(folder, TOKENS, token)),
        }
    }

    /// Whether the client has a trusted-user row.
    pub fn is_trusted(&self, client: &str) -> io::Result<bool> {
        match self {
            Database::Memory(tables) => Ok(lock(tables).trusted_clients.contains(client)),
            Database::Folder(folder) => row(folder, TRUSTED_CLIENTS, client).try_exists(),
        }
    }

    /// Takes back every token issued so far, for all nodes.
    pub fn revoke_all(&self, how: Revocation) -> io::Result<()> {
        match self {
            Database::Memory(tables) => {
                let mut tables = lock(tables);
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

/// A name that no other process chooses, beside the tables.
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
            assert!(one.use_up(&jti).unwrap());
            assert!(other.is_used(&jti).unwrap());
            assert!(!other.use_up(&jti).unwrap());
            let enter = || one.enter("../token", row_of("default"), "client", 0.0).unwrap();
            enter();
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
        assert!(database.use_up("jti").is_err());
        assert!(database.enter("token", row_of("default"), "client", 0.0).is_err());
    }
}
