//! Where the upgrade socket of a gateway is: the name by which a new process finds the running one.
//!
//! Decision: `docs/decisions/31-upgrade.md`.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{self, Path, PathBuf};

use aws_lc_rs::digest;

use super::private_folder::{self, NotPrivate};
use crate::config::Config;
use crate::server::options::ConfigSource;

/// The most bytes in the path of a Unix socket on Linux (unix(7), without the NUL behind it).
const LONGEST_PATH: usize = 107;
/// How many bytes of the digest of a configuration's path are in the socket's name.
const NAME_BYTES: usize = 8;

/// Why there is no upgrade socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoSocket {
    /// Another user could take its place.
    #[error("server.upgrade_sock: {0}")]
    NotPrivate(#[from] NotPrivate),
    /// The system allows no such name.
    #[error("server.upgrade_sock: {} is longer than the {LONGEST_PATH} bytes that a socket's path may have", .0.display())]
    TooLong(PathBuf),
    /// Something else has the name.
    #[error("server.upgrade_sock: {} is there, and is no socket", .0.display())]
    OtherFile(PathBuf),
}

impl NoSocket {
    /// What an operator can do.
    #[must_use]
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::NotPrivate(_) => {
                "name a socket in a folder that belongs to this user or to root and in which nobody else can write, such as  mkdir -m 700 FOLDER  makes"
            }
            Self::TooLong(_) => "name a shorter path",
            Self::OtherFile(_) => "name a path that is not used for anything else",
        }
    }
}

/// The upgrade socket of one configuration.
#[derive(Debug, Clone)]
pub(crate) struct UpgradeSocket(Naming);

#[derive(Debug, Clone)]
enum Naming {
    /// By `server.upgrade_sock`.
    Configured(PathBuf),
    /// By the files of the configuration, in a private folder.
    Files(Vec<PathBuf>),
}

impl UpgradeSocket {
    /// The socket of a configuration; `None` when it has no file to be named by, as in the demo.
    #[must_use]
    pub(crate) fn of(config: &Config, source: Option<&ConfigSource>) -> Option<Self> {
        // A daemon may change its folder, which relative paths must outlive.
        let absolute = |path: &Path| path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let configured = Path::new(&config.server.upgrade_sock);
        if !configured.as_os_str().is_empty() {
            return Some(Self(Naming::Configured(absolute(configured))));
        }
        let ConfigSource { config, env_file } = source?;
        Some(Self(Naming::Files([Some(config), env_file.as_ref()].into_iter().flatten().map(|file| absolute(file)).collect())))
    }

    /// The path of the socket, in a folder that only this user and root can write to. Without a configured one that is the first
    /// of `$RUNTIME_DIRECTORY` and `$XDG_RUNTIME_DIR` that is private, and a folder in the temporary folder otherwise, which is
    /// made if it is not there.
    ///
    /// # Errors
    /// Other users can write to the folder, or it cannot be used.
    pub(crate) fn path(&self) -> Result<PathBuf, NoSocket> {
        let (path, own) = self.choose();
        match own {
            Some(own) => private_folder::make(&own, user())?,
            None => private_folder::check(parent(&path), user())?,
        }
        usable(path)
    }

    /// Checks the folder of a configured socket.
    ///
    /// # Errors
    /// As for [`path`](Self::path). Without a configured socket there is none: the gateway can run without upgrades.
    pub(crate) fn check_configured(&self) -> Result<(), NoSocket> {
        match &self.0 {
            Naming::Configured(_) => self.look().map(drop),
            Naming::Files(_) => Ok(()),
        }
    }

    /// The same, but makes no folder: when the gateway's own is missing, so is the socket.
    ///
    /// # Errors
    /// As for [`path`](Self::path), but for a folder that is missing and would be made.
    pub(crate) fn look(&self) -> Result<PathBuf, NoSocket> {
        let (path, own) = self.choose();
        match own {
            Some(own) if own.symlink_metadata().is_err() => {}
            Some(own) => private_folder::check_own(&own, user())?,
            None => private_folder::check(parent(&path), user())?,
        }
        usable(path)
    }

    /// The path, and the folder to be made for it.
    fn choose(&self) -> (PathBuf, Option<PathBuf>) {
        let files = match &self.0 {
            Naming::Configured(path) => return (path.clone(), None),
            Naming::Files(files) => files,
        };
        let name = file_name(files);
        let given = given_folders(|variable| env::var_os(variable));
        match given.into_iter().find(|folder| private_folder::check(folder, user()).is_ok()) {
            Some(folder) => (folder.join(name), None),
            None => {
                let own = env::temp_dir().join(format!("openemr-gateway-{}", user()));
                (own.join(name), Some(own))
            }
        }
    }
}

/// The user that this process acts as.
#[must_use]
pub(super) fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether a process of that user may take part in an upgrade of this one.
#[must_use]
pub(super) fn is_trusted(uid: u32) -> bool {
    uid == user() || uid == 0
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// Checks the path itself: a socket takes the place of one that was left behind, and of nothing else.
fn usable(path: PathBuf) -> Result<PathBuf, NoSocket> {
    if path.as_os_str().len() > LONGEST_PATH {
        return Err(NoSocket::TooLong(path));
    }
    match fs::symlink_metadata(&path) {
        Ok(found) if !found.file_type().is_socket() => Err(NoSocket::OtherFile(path)),
        _ => Ok(path),
    }
}

/// The folders that the service manager or the session made for this user's programs.
fn given_folders(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    // systemd separates several folders by colons.
    let of_service = variable("RUNTIME_DIRECTORY").and_then(|folders| env::split_paths(&folders).next());
    let of_session = variable("XDG_RUNTIME_DIR").map(PathBuf::from);
    [of_service, of_session].into_iter().flatten().filter(|folder| folder.is_absolute()).collect()
}

/// A name from the paths of the configuration's files, so that two gateways of one user do not meet. Symbolic links are followed
/// at each use: after a change of releases both processes find the same file.
fn file_name(files: &[PathBuf]) -> String {
    let mut paths = Vec::new();
    for file in files {
        let file = file.canonicalize().unwrap_or_else(|_| file.clone());
        paths.extend_from_slice(file.as_os_str().as_bytes());
        paths.push(0);
    }
    let digest = digest::digest(&digest::SHA256, &paths);
    let name = hex::encode(digest.as_ref().get(..NAME_BYTES).unwrap_or_default());
    format!("openemr-gateway-{name}.sock")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn each_configuration_has_a_name_of_its_own_however_it_is_reached() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        for file in ["a.yaml", "b.yaml", ".env"] {
            fs::write(path(file), "").expect("a file");
        }
        symlink(path("a.yaml"), path("link.yaml")).expect("a link");
        let name = |files: &[&str]| file_name(&files.iter().map(|file| path(file)).collect::<Vec<_>>());
        assert_eq!(name(&["a.yaml"]), name(&["link.yaml"]));
        assert_ne!(name(&["a.yaml"]), name(&["b.yaml"]));
        assert_ne!(name(&["a.yaml"]), name(&["a.yaml", ".env"]));
        assert_eq!(name(&["missing.yaml"]), name(&["missing.yaml"]));
    }

    #[test]
    fn the_service_managers_folder_comes_before_the_sessions() {
        let variables = |runtime: Option<&str>, session: Option<&str>| {
            let (runtime, session) = (runtime.map(OsString::from), session.map(OsString::from));
            given_folders(move |name| if name == "RUNTIME_DIRECTORY" { runtime.clone() } else { session.clone() })
        };
        let paths = |folders: &[&str]| folders.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(variables(Some("/run/a:/run/b"), Some("/run/user/1")), paths(&["/run/a", "/run/user/1"]));
        assert_eq!(variables(None, Some("/run/user/1")), paths(&["/run/user/1"]));
        assert_eq!(variables(Some(""), Some("relative")), paths(&[]));
    }
}
