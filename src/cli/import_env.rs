//! `import-env`: makes a configuration of the Python proxy's variables.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use super::outcome::{Failure, Outcome, failures, print, say, warn};
use crate::config::problem::{shown, shown_path};
use crate::config::{Imported, import_env};

/// The arguments of `import-env`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  openemr-gateway import-env .env --out conf/gateway.yaml")]
pub(super) struct ImportEnv {
    /// The file of KEY=VALUE lines
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The file to write to instead of standard output; it must not exist
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Overwrite an existing file
    #[arg(long, requires = "out")]
    force: bool,
}

impl ImportEnv {
    /// Runs the command.
    ///
    /// # Errors
    /// Every problem of the variables, and of the files that they name; a file that exists or cannot be written.
    pub(super) fn run(self) -> Outcome {
        let Imported { yaml, unknown, warnings } = import_env(&self.file).map_err(failures)?;
        warn(warnings);
        for name in unknown {
            say(format!(
                "warning: {}: {}: no key of the gateway has this variable; it was left out",
                self.file.display(),
                shown(&name)
            ));
        }
        let Some(out) = &self.out else { return print(&yaml) };
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).create_new(!self.force).mode(0o600);
        options.open(out).and_then(|mut file| file.write_all(yaml.as_bytes())).map_err(|error| {
            vec![match error.kind() {
                ErrorKind::AlreadyExists => {
                    Failure::new(format!("{} already exists", shown_path(out)), "name another file, or overwrite it with --force")
                }
                _ => Failure::new(format!("{} cannot be written: {error}", shown_path(out)), "name another file with --out"),
            }]
        })?;
        print(&format!("wrote {}\n", shown(&out.display().to_string())))
    }
}
