//! `keys status`: which key signs, and the progress of a rotation.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::keys_target::{Target, beside, files, signing_sites, state};
use super::outcome::{Outcome, print};
use crate::config::value::duration_text;
use crate::keys::rotation::{Rotation, Stage, Which};
use crate::keys::rotation_files::KeyFile;

/// The arguments of `keys status`.
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    #[command(flatten)]
    target: Target,
}

impl Status {
    /// Runs the command.
    ///
    /// # Errors
    /// An invalid configuration or state file.
    pub(super) fn run(self) -> Outcome {
        let config = self.target.load()?;
        let mut text = String::new();
        for site in &config.sites {
            if self.target.site.as_ref().is_some_and(|name| name != site.name.as_str()) {
                continue;
            }
            let files = files(site);
            let state = state(&files)?;
            let _ = writeln!(text, "site {}", site.name.as_str());
            let _ = writeln!(text, "  files       {}, {}", site.private_key_file.display(), site.jwks_file.display());
            let _ = writeln!(text, "  signs with  {} ({})", site.keys.kid, site.keys.key.algorithm());
            match &state.rotation {
                Some(rotation) => {
                    describe(&mut text, rotation, &signing_sites(&config, &files));
                    let next_set = beside(&site.jwks_file, &files.path(&KeyFile::NextSet));
                    let _ =
                        writeln!(text, "  new set     {next_set} (to register a client anew with, where its JWK Set is inline)");
                }
                None => {
                    let _ = writeln!(text, "  phase       idle: no rotation is in progress");
                }
            }
            if let (None, Some(last)) = (&state.rotation, &state.last) {
                let _ =
                    writeln!(text, "  last        rotated to {}; the old key was retired {}", last.kid, time(last.retired_at));
            }
        }
        print(&text)
    }
}

/// Writes the progress of a rotation and its next step.
pub(super) fn describe(text: &mut String, rotation: &Rotation, names: &[String]) {
    let phase = match rotation.stage {
        Stage::Published => format!("published: the new key is second in the JWK Set, since {}", time(rotation.published_at)),
        Stage::Switched { at } => format!("switched: the new key comes first, since {}", time(at)),
        Stage::Retiring => "retiring: the new key is alone".to_owned(),
    };
    let waiting: Vec<&str> = rotation.waiting(names).collect();
    let next = match (rotation.stage, rotation.retire_at(names)) {
        (Stage::Published, _) => format!("the new key comes first and signs: {}", time(rotation.switch_at)),
        (Stage::Switched { .. }, Some(at)) => format!("the old key is retired: {}", time(at)),
        (Stage::Switched { .. }, None) => {
            format!("the old key is retired {} after OpenEMR accepted the new one", duration_text(rotation.retire_after))
        }
        (Stage::Retiring, _) => "the new private key moves to the place of the old one: at once".to_owned(),
    };
    let noticed = rotation
        .noticed_at
        .map_or_else(|| "no running gateway has taken it up yet".to_owned(), |at| format!("has taken it up, {}", time(at)));
    let fetched = rotation.fetched_at.map_or_else(
        || "has not fetched the JWK Set since the new key was published".to_owned(),
        |at| format!("has fetched the JWK Set, {}", time(at)),
    );
    let accepted = match rotation.sites.values().filter_map(|standing| standing.accepted_at).max() {
        Some(at) if waiting.is_empty() => format!("has accepted the new key, {}", time(at)),
        _ if names.len() > 1 => format!("has yet to accept the new key of {}", sites_text(&waiting)),
        _ => "has not accepted the new key yet".to_owned(),
    };
    let lines = [
        ("old key", rotation.kid(Which::Old).to_owned()),
        ("new key", rotation.kid(Which::New).to_owned()),
        ("phase", phase),
        ("next", next),
        ("gateway", noticed),
        ("OpenEMR", fetched),
        ("", accepted),
    ];
    for (name, value) in lines {
        let _ = writeln!(text, "  {name:<11} {value}");
    }
    for (site, standing) in &rotation.sites {
        if standing.signs == Which::Old {
            let _ = writeln!(text, "  {:<11} refuses the new key of site {site}; the old one signs until it is accepted", "");
        }
    }
}

/// Lists sites, as in `sites a, b`.
pub(super) fn sites_text<T: AsRef<str>>(names: &[T]) -> String {
    let names: BTreeSet<&str> = names.iter().map(AsRef::as_ref).collect();
    let word = if names.len() == 1 { "site" } else { "sites" };
    format!("{word} {}", names.into_iter().collect::<Vec<_>>().join(", "))
}

/// Formats a time in UTC, and in the operator's zone if that is another.
pub(super) fn time(at: Timestamp) -> String {
    let at = Timestamp::from_second(at.as_second()).unwrap_or(at);
    let utc = at.strftime("%Y-%m-%d %H:%M:%S UTC");
    let local = at.to_zoned(TimeZone::system());
    if local.offset().is_zero() { utc.to_string() } else { format!("{utc} ({})", local.strftime("%H:%M:%S %Z")) }
}
