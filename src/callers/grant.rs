//! The scopes that a client gets: those of its policy, narrowed to those that it asks for (SMART App Launch 2.2, "Scopes for
//! requesting FHIR Resources"). Pure.

use std::fmt::Write as _;

use crate::access::line::Line;
use crate::access::policy::Policy;
use crate::access::rule::{Letter, Rule};

/// The scopes that are granted: each that the policy has whole in the spelling in which it was asked for, and of the others as much
/// as the policy has. What cannot be read as a scope, and what the policy has nothing of, is left out.
#[must_use]
pub(super) fn granted(policy: &Policy, asked: &[String]) -> Vec<String> {
    let mut granted: Vec<String> = Vec::new();
    for scope in asked {
        let Ok(rule) = Rule::parse(scope, Line::default()) else { continue };
        let scopes = match policy.rules.iter().any(|known| covers(known, &rule)) {
            true => vec![scope.clone()],
            false => policy.narrowed_to(std::slice::from_ref(&rule)).rules.iter().map(scope_text).collect(),
        };
        for scope in scopes {
            if !granted.contains(&scope) {
                granted.push(scope);
            }
        }
    }
    granted
}

/// The rules that a token's scopes stand for, in any order.
#[must_use]
pub(crate) fn rules(scope: &str) -> Vec<Rule> {
    scope.split_ascii_whitespace().filter_map(|scope| Rule::parse(scope, Line::default()).ok()).collect()
}

/// Whether one rule alone permits all that another one does.
fn covers(rule: &Rule, other: &Rule) -> bool {
    (rule.resource_type.is_none() || rule.resource_type == other.resource_type)
        && other.letters.and(rule.letters) == other.letters
        && rule.constraints.iter().all(|constraint| other.constraints.contains(constraint))
}

/// A rule as a scope in the v2 syntax.
#[must_use]
pub(crate) fn scope_text(rule: &Rule) -> String {
    let mut text = format!("system/{}.", rule.resource_type.unwrap_or("*"));
    text.extend(Letter::ALL.into_iter().filter(|letter| rule.letters.has(*letter)).map(Letter::name));
    for (index, constraint) in rule.constraints.iter().enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        text.push_str(&constraint.name);
        text.push('=');
        push_encoded(&mut text, &constraint.value);
    }
    text
}

/// What has a meaning in a query, or may not stand in a scope (RFC 6749 section 3.3), is percent-encoded.
fn push_encoded(text: &mut String, value: &str) {
    for byte in value.bytes() {
        match byte {
            b'%' | b'&' | b'#' | b'+' | b'"' | b'\\' | ..=b' ' | 0x7f.. => {
                // Writing to a string cannot fail.
                let _ = write!(text, "%{byte:02X}");
            }
            _ => text.push(char::from(byte)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::rule::{Constraint, Letters};

    fn rule(resource_type: Option<&'static str>, letters: &[Letter], constraints: &[(&str, &str)]) -> Rule {
        let constraint = |(name, value): &(&str, &str)| Constraint { name: (*name).to_owned(), value: (*value).to_owned() };
        Rule {
            resource_type,
            letters: letters.iter().fold(Letters::default(), |letters, letter| letters.with(*letter)),
            constraints: constraints.iter().map(constraint).collect(),
            line: Line::default(),
        }
    }

    #[test]
    fn a_rule_is_written_as_a_scope_that_rfc_6749_allows() {
        use Letter::{Create, Delete, Read, Search, Update};
        for (rule, text) in [
            (rule(Some("Patient"), &[Search, Read], &[]), "system/Patient.rs"),
            (rule(None, &[Create, Read, Update, Delete, Search], &[]), "system/*.cruds"),
            (rule(Some("Goal"), &[Read], &[("a", "http://x.org/s|b,c"), ("d", "e")]), "system/Goal.r?a=http://x.org/s|b,c&d=e"),
            (rule(Some("Goal"), &[Read], &[("a", "b c%&#+\"\\é")]), "system/Goal.r?a=b%20c%25%26%23%2B%22%5C%C3%A9"),
        ] {
            assert_eq!(scope_text(&rule), text);
        }
    }

    #[test]
    fn one_rule_covers_another_by_type_letters_and_constraints() {
        use Letter::{Read, Search};
        let wide = rule(None, &[Read, Search], &[]);
        let patients = rule(Some("Patient"), &[Read], &[]);
        let narrow = rule(Some("Patient"), &[Read], &[("a", "b")]);
        let narrower = rule(Some("Patient"), &[Read], &[("a", "b"), ("c", "d")]);
        let ordered = [&wide, &patients, &narrow, &narrower];
        for (index, one) in ordered.iter().enumerate() {
            for (other_index, other) in ordered.iter().enumerate() {
                assert_eq!(covers(one, other), index <= other_index, "{one:?} {other:?}");
            }
        }
    }
}
