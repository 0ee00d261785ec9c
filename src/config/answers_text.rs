//! Values that the command line or a person gives, read as the configuration reads them: with the same checks and the same words.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::host_pattern::HostPattern;
use super::node::{Node, Value};
use super::problem::{Findings, Place, Problem, Source};
use super::setting::Setting;
use super::site_name::{ClientId, SiteName};
use crate::scopes::scope::Scopes;

/// Reads `scopes`: names of resource types, which stand for their `system/Type.read`, and whole scopes, with blanks or commas between
/// them.
///
/// # Errors
/// Every problem, at this option.
pub(crate) fn scopes_of(text: &str, option: &str) -> Result<Scopes, Vec<Problem>> {
    let scope = |word: &str| if word.contains(['/', '.']) { word.to_owned() } else { format!("system/{word}.read") };
    read(list(text, scope), option)
}

/// Reads the address of a listener.
///
/// # Errors
/// Every problem, at this option.
pub(crate) fn address_of(text: &str, option: &str) -> Result<SocketAddr, Vec<Problem>> {
    read(Value::Text(text.to_owned()), option)
}

/// Reads networks or single addresses, with blanks or commas between them.
///
/// # Errors
/// Every problem, at this option; an address that is written as a network is one.
pub(crate) fn networks_of(text: &str, option: &str) -> Result<Vec<String>, Vec<Problem>> {
    let networks: Vec<IpNet> = read(list(text, str::to_owned), option)?;
    if networks.is_empty() {
        let problem = Place::whole(Source::CommandLine).member(option).problem("names no network");
        return Err(vec![problem.remedy("write it like  10.20.0.0/16")]);
    }
    Ok(networks.iter().map(IpNet::to_string).collect())
}

/// Reads names by which the gateway may be called, with blanks or commas between them.
///
/// # Errors
/// Every problem, at this option.
pub(crate) fn hosts_of(text: &str, option: &str) -> Result<Vec<String>, Vec<Problem>> {
    read::<Vec<HostPattern>>(list(text, str::to_owned), option)?;
    Ok(words(text).map(str::to_owned).collect())
}

/// Reads the id of a client at OpenEMR.
///
/// # Errors
/// Every problem, at this option.
pub(crate) fn client_id_of(text: &str, option: &str) -> Result<String, Vec<Problem>> {
    read(Value::Text(text.to_owned()), option).map(|ClientId(id)| id)
}

/// Reads OpenEMR's site id.
///
/// # Errors
/// Every problem, at this option.
pub(crate) fn site_name_of(text: &str, option: &str) -> Result<SiteName, Vec<Problem>> {
    read(Value::Text(text.to_owned()), option)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', ',', '\t']).filter(|word| !word.is_empty())
}

fn list(text: &str, value: impl Fn(&str) -> String) -> Value {
    Value::List(words(text).map(|word| Node { value: Value::Text(value(word)), ..Node::nothing() }).collect())
}

/// Reads a value of which nothing is to be odd, either: what would be a warning later on can still be answered otherwise.
fn read<T: Setting>(value: Value, option: &str) -> Result<T, Vec<Problem>> {
    let mut findings = Findings::default();
    let node = Node { value, ..Node::nothing() };
    let read = T::read(&node, &Place::whole(Source::CommandLine).member(option), &mut findings);
    let Findings { mut problems, warnings, .. } = findings;
    problems.extend(warnings.into_iter().map(|warning| warning.0));
    read.filter(|_| problems.is_empty()).ok_or(problems)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_named_by_types_or_whole() {
        let scopes = scopes_of("Patient, Observation system/Encounter.rs Patient", "--scopes").unwrap();
        assert_eq!(scopes.to_string(), "system/Patient.read system/Observation.read system/Encounter.rs");
        for (text, words) in [
            ("", "is empty"),
            ("Patients", "did you mean `system/Patient.read`?"),
            ("system/*.read", "wildcard"),
            ("openid.x", "is not a system scope"),
        ] {
            let problems = scopes_of(text, "--scopes").unwrap_err();
            let said: String = problems.iter().map(ToString::to_string).collect();
            assert!(said.contains(words) && said.contains("--scopes"), "{text}: {said}");
        }
    }

    #[test]
    fn what_would_be_a_warning_is_refused() {
        assert_eq!(networks_of("10.0.0.0/8 ::1/128", "--allow-from"), Ok(vec!["10.0.0.0/8".to_owned(), "::1/128".to_owned()]));
        for text in ["", "10.0.0.5/8", "open", "10.0.0.0/33"] {
            assert!(networks_of(text, "--allow-from").is_err(), "{text}");
        }
        assert!(hosts_of("gateway, *.example.org", "--hosts").is_ok());
        assert!(hosts_of("a b/c", "--hosts").is_err());
        assert!(client_id_of("<id>", "--client-id").is_err());
    }
}
