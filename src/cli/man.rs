//! `man`: the manual pages.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man as Page;

use super::outcome::{Failure, Outcome, print};
use crate::config::problem::{shown, shown_path};

/// The arguments of `man`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  openemr-gateway man keys rotate | man -l -\n  openemr-gateway man --out /usr/local/share/man/man1"
)]
pub(super) struct Man {
    /// The command whose page is printed [default: openemr-gateway itself]
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    command: Vec<String>,
    /// The folder to write all pages to
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Overwrite existing files
    #[arg(long, requires = "out")]
    force: bool,
}

impl Man {
    /// Runs the command.
    ///
    /// # Errors
    /// A command that is not there, files that exist already or cannot be written.
    pub(super) fn run(self, mut commands: Command) -> Outcome {
        commands.build();
        let Some(folder) = self.out else {
            let found = self.command.iter().try_fold(&commands, |at, name| at.find_subcommand(name).ok_or((at, name)));
            let command = found.map_err(|(at, name)| {
                let names: Vec<&str> = at.get_subcommands().map(Command::get_name).collect();
                let message = format!("there is no command `{}`", shown(name));
                vec![if names.is_empty() {
                    Failure::new(message, format!("{} has none below it", at.get_name()))
                } else {
                    Failure::new(message, format!("name one of  {}", names.join(", ")))
                }]
            })?;
            return print(&page(command, &name(&commands, &self.command)).map_err(unwritable)?);
        };
        let mut pages = Vec::new();
        collect(&commands, "", &mut pages).map_err(unwritable)?;
        write_all(&folder, &pages, self.force)?;
        print(&format!("wrote {} pages to {}\n", pages.len(), shown(&folder.display().to_string())))
    }
}

fn unwritable(error: io::Error) -> Vec<Failure> {
    vec![Failure::of(format_args!("the page cannot be written: {error}"))]
}

/// The name of a page: the words of its command with hyphens between them.
fn name(commands: &Command, words: &[String]) -> String {
    std::iter::once(commands.get_name()).chain(words.iter().map(String::as_str)).collect::<Vec<_>>().join("-")
}

fn page(command: &Command, name: &str) -> io::Result<String> {
    let mut page = Vec::new();
    Page::new(command.clone()).title(name.to_ascii_uppercase()).render(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// Collects the pages of a command and of those below it, each with its file's name.
fn collect(command: &Command, above: &str, pages: &mut Vec<(String, String)>) -> io::Result<()> {
    let hyphen = if above.is_empty() { "" } else { "-" };
    let name = format!("{above}{hyphen}{}", command.get_name());
    pages.push((format!("{name}.1"), page(command, &name)?));
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        collect(below, &name, pages)?;
    }
    Ok(())
}

fn write_all(folder: &Path, pages: &[(String, String)], force: bool) -> Outcome {
    fs::create_dir_all(folder).map_err(|error| {
        vec![Failure::new(format!("{} cannot be created: {error}", shown_path(folder)), "name another folder with --out")]
    })?;
    for (name, page) in pages {
        let path = folder.join(name);
        let file = OpenOptions::new().write(true).create(true).truncate(true).create_new(!force).open(&path);
        file.and_then(|mut file| file.write_all(page.as_bytes())).map_err(|error| {
            vec![match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    Failure::new(format!("{} already exists", shown_path(&path)), "overwrite it with --force")
                }
                _ => Failure::new(format!("{} cannot be written: {error}", shown_path(&path)), "name another folder with --out"),
            }]
        })?;
    }
    Ok(())
}
