//! The published vulnerabilities of OpenEMR, as `docs/shields.yaml` lists them, held against a version.

use serde::{Deserialize, Deserializer};

use crate::diagnosis::outcome::{Finding, Step};
use crate::diagnosis::walk::Walk;

/// The list, as it is published with the documents.
const LIST: &str = include_str!("../../docs/shields.yaml");

/// The number of a release: up to four parts, of which missing ones are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Release([u32; 4]);

/// What is known of the release that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Running {
    /// This one.
    Exactly(Release),
    /// One that is not named: this one or a later one.
    AtLeast(Release),
}

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    vulnerabilities: Vec<Vulnerability>,
}

/// A published vulnerability.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Vulnerability {
    id: String,
    what: String,
    before: Option<Release>,
    up_to: Option<Release>,
    gateway: Gateway,
    by: Option<String>,
    /// For the tests of this file.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by tests and people"))]
    test: Option<String>,
    source: String,
}

/// What the gateway does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Gateway {
    Blocks,
    Cannot,
}

/// Whether a release is affected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Affected {
    Yes,
    Maybe,
    No,
}

impl Release {
    /// Reads a number such as `8.0.0.3`; `None` for anything else.
    #[must_use]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('.');
        let mut release = [0; 4];
        for part in &mut release {
            match parts.next() {
                Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => *part = text.parse().ok()?,
                Some(_) => return None,
                None => {}
            }
        }
        parts.next().is_none().then_some(Self(release))
    }
}

impl<'de> Deserialize<'de> for Release {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no release")))
    }
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [major, minor, patch, fix] = self.0;
        write!(f, "{major}.{minor}.{patch}")?;
        if fix > 0 { write!(f, ".{fix}") } else { Ok(()) }
    }
}

impl Vulnerability {
    fn affects(&self, running: Running) -> Affected {
        let has =
            |release: Release| self.before.is_none_or(|before| release < before) && self.up_to.is_none_or(|last| release <= last);
        match running {
            Running::Exactly(release) if has(release) => Affected::Yes,
            Running::AtLeast(release) if has(release) => Affected::Maybe,
            Running::Exactly(_) | Running::AtLeast(_) => Affected::No,
        }
    }

    /// Which release is free of it, as the end of a sentence.
    fn cure(&self) -> String {
        match (self.before, self.up_to) {
            (Some(before), _) => format!("upgrade OpenEMR to {before} or later"),
            (None, Some(last)) => format!("upgrade OpenEMR to a release after {last} that names {} as fixed", self.id),
            (None, None) => "upgrade OpenEMR".to_owned(),
        }
    }

    fn judge(&self, affected: Affected) -> Finding {
        let word = if affected == Affected::Yes { "this release has it" } else { "this release may have it" };
        let finding = match (self.gateway, &self.by) {
            (Gateway::Blocks, Some(by)) => Finding {
                details: vec![
                    format!("shield   {by}"),
                    format!("elsewhere  who reaches OpenEMR without the gateway is not held: {}", self.cure()),
                ],
                ..Finding::ok(format!("{word}, and the gateway blocks it"))
            },
            (Gateway::Blocks | Gateway::Cannot, _) => Finding::warning(format!("{word}, and the gateway cannot block it"))
                .cause("it is in OpenEMR's own pages, which do not pass the gateway")
                .remedy(self.cure()),
        };
        let mut finding = finding;
        finding.details.push(format!("source   {}", self.source));
        finding
    }
}

/// Records each vulnerability that the running release has, or may have.
pub(super) fn check(walk: &mut Walk<'_>, running: Running) {
    let List { vulnerabilities } = serde_yaml::from_str(LIST).expect("a test reads the list, which is part of the program");
    let (mut free, all) = (0, vulnerabilities.len());
    for vulnerability in vulnerabilities {
        let affected = vulnerability.affects(running);
        if affected == Affected::No {
            free += 1;
            continue;
        }
        let looking = walk.begin(Step::Vulnerability, format!("{}, {}", vulnerability.id, vulnerability.what));
        walk.end(looking, vulnerability.judge(affected));
    }
    let comparing = walk.begin(Step::Vulnerability, "compare with the published vulnerabilities");
    let found = format!("{free} of {all} do not concern this release");
    walk.end(comparing, Finding { details: vec![CURRENT.to_owned()], ..Finding::ok(found) });
}

/// What the list is worth.
const CURRENT: &str = "the list is as old as this program: see also  https://github.com/openemr/openemr/security/advisories";

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Vec<Vulnerability> {
        serde_yaml::from_str::<List>(LIST).unwrap_or_else(|error| panic!("docs/shields.yaml: {error}")).vulnerabilities
    }

    fn release(text: &str) -> Release {
        Release::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn the_list_says_of_each_which_releases_have_it_and_what_the_gateway_does() {
        let list = list();
        for one in &list {
            assert!(one.id.starts_with("CVE-") || one.id.starts_with("GHSA-"), "{}", one.id);
            assert!(one.source.starts_with("https://") && one.source.ends_with(&one.id), "{}", one.source);
            assert!(one.before.is_some() != one.up_to.is_some(), "{}: `before` or `up_to`", one.id);
            let is_blocked = one.gateway == Gateway::Blocks;
            assert_eq!((one.by.is_some(), one.test.is_some()), (is_blocked, is_blocked), "{}: `by` and `test`", one.id);
            assert!(!one.what.is_empty() && list.iter().filter(|other| other.id == one.id).count() == 1, "{}", one.id);
        }
    }

    #[test]
    fn each_shield_has_a_test_that_is_there() {
        for name in list().into_iter().filter_map(|one| one.test) {
            let mut parts: Vec<&str> = name.split("::").collect();
            let function = parts.pop().unwrap_or_default();
            let file = format!("{}/tests/it/{}.rs", env!("CARGO_MANIFEST_DIR"), parts.join("/"));
            let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(text.contains(&format!("#[test]\nfn {function}()")), "{name} is no test in {file}");
        }
    }

    #[test]
    fn releases_are_ordered_by_their_numbers() {
        assert!(release("7.0.4") < release("8.0.0") && release("8.0.0") < release("8.0.0.1"));
        assert!(release("8.0.0.3") < release("8.1.0") && release("8") == release("8.0.0.0"));
        for wrong in ["", "8.0.0.0.1", "8..1", "v8", "8.0-dev", "99999999999"] {
            assert_eq!(Release::parse(wrong), None, "{wrong}");
        }
        assert_eq!((release("8.0.0").to_string(), release("8.0.0.3").to_string()), ("8.0.0".into(), "8.0.0.3".into()));
    }

    #[test]
    fn a_release_has_what_was_mended_later() {
        let affects = |id: &str, running| list().iter().find(|one| one.id == id).map(|one| one.affects(running));
        for (id, running, affected) in [
            ("CVE-2026-24908", Running::Exactly(release("7.0.3")), Affected::Yes),
            ("CVE-2026-24908", Running::Exactly(release("8.0.0")), Affected::No),
            ("CVE-2026-24908", Running::AtLeast(release("7.0.4")), Affected::Maybe),
            ("CVE-2026-33915", Running::Exactly(release("8.0.0.2")), Affected::Yes),
            ("CVE-2026-33915", Running::Exactly(release("8.0.0.3")), Affected::No),
            ("CVE-2026-25745", Running::Exactly(release("8.0.0")), Affected::Yes),
            ("CVE-2026-25745", Running::Exactly(release("8.0.0.1")), Affected::No),
        ] {
            assert_eq!(affects(id, running), Some(affected), "{id} {running:?}");
        }
    }
}
