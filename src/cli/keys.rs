//! `keys generate`, `keys jwks`, `keys kid`, `keys certificate`; `keys rotate` and `keys status` have files of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::ValueEnum;

use super::new_files::{PUBLIC, SECRET, Target, folder_of};
use super::outcome::{Failure, Outcome, failures, print, warn};
use crate::config::problem::shown_path;
use crate::keys::certificate::self_signed;
use crate::keys::generate::{NewKey, generate};
use crate::keys::{JwkSet, KidMethod, SigningKey, kid};

/// The option that names the folder, or the file, to write to.
const OUT: &str = "--out";

/// The subcommands of `keys`.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Keys {
    /// Make a signing key: private_key.pem, public_key.pem and jwks.json
    #[command(after_help = "Example:\n  openemr-gateway keys generate --out keys")]
    Generate {
        /// The folder to write to; created if it does not exist
        #[arg(long, value_name = "FOLDER", default_value = "keys")]
        out: PathBuf,
        /// The signature algorithm; OpenEMR accepts RS384 alone
        #[arg(long, value_enum, ignore_case = true, default_value = "RS384")]
        algorithm: AlgorithmName,
        /// The length of an RSA key in bits
        #[arg(long, value_enum, default_value = "3072")]
        bits: Bits,
        /// How the kid is computed
        #[arg(long, value_enum, default_value = "sha256-ne")]
        kid_method: KidMethod,
        /// Overwrite existing files
        #[arg(long)]
        force: bool,
    },
    /// Print the JWK Set of an existing key
    #[command(after_help = "Example:\n  openemr-gateway keys jwks --private-key keys/private_key.pem --out keys/jwks.json")]
    Jwks {
        #[command(flatten)]
        key: ExistingKey,
        /// The file to write to instead of standard output; it must not exist
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// The kid to write instead of a computed one
        #[arg(long, conflicts_with = "kid_method")]
        kid: Option<String>,
    },
    /// Print the kid of an existing key
    #[command(after_help = "Example:\n  openemr-gateway keys kid --private-key keys/private_key.pem")]
    Kid {
        #[command(flatten)]
        key: ExistingKey,
    },
    /// Make a self-signed certificate for trying out HTTPS, valid for one year
    #[command(after_help = "Example:\n  openemr-gateway keys certificate --host localhost --out certs")]
    Certificate {
        /// The host name or IP address that clients use
        #[arg(long, default_value = "localhost")]
        host: String,
        /// The folder to write to; created if it does not exist
        #[arg(long, value_name = "FOLDER", default_value = "certs")]
        out: PathBuf,
        /// Overwrite existing files
        #[arg(long)]
        force: bool,
    },
    /// Replace a site's signing key without downtime, with the gateway running
    #[command(after_help = "Example:\n  openemr-gateway keys rotate --config conf/gateway.yaml")]
    Rotate(super::keys_rotate::Rotate),
    /// Show which keys sign, and the progress of a rotation
    #[command(after_help = "Example:\n  openemr-gateway keys status --config conf/gateway.yaml")]
    Status(super::keys_status::Status),
}

/// The arguments that name an existing key.
#[derive(Debug, clap::Args)]
pub(super) struct ExistingKey {
    /// The private key in PEM: PKCS#8, PKCS#1 or SEC1
    #[arg(long, value_name = "FILE")]
    private_key: PathBuf,
    /// How the kid is computed
    #[arg(long, value_enum, default_value = "sha256-ne")]
    kid_method: KidMethod,
}

/// The signature algorithms by their names on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum AlgorithmName {
    /// RSA, the one that OpenEMR accepts.
    #[value(name = "RS384")]
    Rs384,
    /// ECDSA on P-384.
    #[value(name = "ES384")]
    Es384,
}

/// The lengths of new RSA keys in bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Bits {
    /// 2048 bits.
    #[value(name = "2048")]
    B2048,
    /// 3072 bits.
    #[value(name = "3072")]
    B3072,
    /// 4096 bits.
    #[value(name = "4096")]
    B4096,
}

impl Keys {
    /// Runs the command.
    ///
    /// # Errors
    /// Files that cannot be read or written.
    pub(super) fn run(self) -> Outcome {
        match self {
            Self::Generate { out, algorithm, bits, kid_method, force } => {
                let kind = match (algorithm, bits) {
                    (AlgorithmName::Es384, _) => NewKey::P384,
                    (AlgorithmName::Rs384, Bits::B2048) => NewKey::Rsa2048,
                    (AlgorithmName::Rs384, Bits::B3072) => NewKey::Rsa3072,
                    (AlgorithmName::Rs384, Bits::B4096) => NewKey::Rsa4096,
                };
                generate_files(&out, kind, kid_method, force)
            }
            Self::Jwks { key, out, kid } => {
                let (key, computed) = key.read()?;
                let set = JwkSet::of(&key, &kid.unwrap_or(computed)).to_json_pretty();
                match out {
                    None => print(&set),
                    Some(file) => new_file(&file, set.as_bytes()),
                }
            }
            Self::Kid { key } => print(&format!("{}\n", key.read()?.1)),
            Self::Certificate { host, out, force } => certificate_files(&host, &out, force),
            Self::Rotate(command) => command.run(),
            Self::Status(command) => command.run(),
        }
    }
}

impl ExistingKey {
    fn read(&self) -> Result<(SigningKey, String), Vec<Failure>> {
        let (key, warnings) = crate::config::read_private_key(&self.private_key).map_err(failures)?;
        warn(warnings);
        let kid = kid(key.public_key(), self.kid_method);
        Ok((key, kid))
    }
}

/// Makes a key and its files; prints the files and the kid.
pub(super) fn generate_files(out: &Path, kind: NewKey, kid_method: KidMethod, force: bool) -> Outcome {
    let names = ["private_key.pem", "public_key.pem", "jwks.json"].map(|name| out.join(name));
    prepare(out, &names, force)?;
    let new = generate(kind)
        .map_err(|error| vec![Failure::new(error, "try again; if it fails again, the machine's random source may be broken")])?;
    let kid = kid(new.key.public_key(), kid_method);
    let set = JwkSet::of(&new.key, &kid).to_json_pretty();
    let [private, public, jwks] = names;
    Target { folder: out, option: OUT }.write(
        &[
            (&private, new.private_pem.as_bytes(), SECRET),
            (&public, new.public_pem.as_bytes(), PUBLIC),
            (&jwks, set.as_bytes(), PUBLIC),
        ],
        force,
    )?;
    print(&format!("kid: {kid}\n"))
}

fn certificate_files(host: &str, out: &Path, force: bool) -> Outcome {
    let new = self_signed(host, SystemTime::now())
        .map_err(|error| vec![Failure::new(error, "name a host such as localhost, or an IP address")])?;
    let stem = host.replace('*', "_").replace(':', "-");
    let names = [out.join(format!("{stem}.pem")), out.join(format!("{stem}-key.pem"))];
    prepare(out, &names, force)?;
    let [certificate, key] = names;
    let files: [(&PathBuf, &[u8], u32); 2] =
        [(&key, new.private_key_pem.as_bytes(), SECRET), (&certificate, new.certificate_pem.as_bytes(), PUBLIC)];
    Target { folder: out, option: OUT }.write(&files, force)
}

/// Writes a public file that must not exist yet: what is there can be anything, such as the private key.
fn new_file(file: &Path, bytes: &[u8]) -> Outcome {
    let target = Target { folder: folder_of(file), option: OUT };
    target.create_folder()?;
    if fs::symlink_metadata(file).is_ok() {
        return Err(vec![Failure::new(
            format!("{} already exists", shown_path(file)),
            "name another file with --out, or move this one away",
        )]);
    }
    target.write(&[(&file.to_owned(), bytes, PUBLIC)], false)
}

/// Creates the folder, and fails if a file exists already and is not to be overwritten.
fn prepare(out: &Path, names: &[PathBuf], force: bool) -> Outcome {
    Target { folder: out, option: OUT }.create_folder()?;
    // `symlink_metadata`, since a dangling link is in the way as well.
    let existing = names.iter().filter(|name| !force && fs::symlink_metadata(name).is_ok());
    let failures: Vec<Failure> = existing.map(|name| exists(name)).collect();
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

fn exists(name: &Path) -> Failure {
    Failure::new(
        format!("{} already exists", shown_path(name)),
        "name another folder with --out, or overwrite it with --force (a key that is registered at OpenEMR is lost then)",
    )
}
