//! Decides whether a text of OpenEMR's may be shown to a client. Only sentences for people may: none with markup, with names
//! of classes, files, tables or machines, or with anything that looks like a secret.
//!
//! In doubt a text is not shown. The client then gets a sentence of the gateway's own, and the log has OpenEMR's.
//!
//! Decision: `docs/decisions/15-errors.md`.

use crate::fhir::resource_type;

/// The longest text that is taken for a sentence, in bytes.
const MAX_TEXT: usize = 400;
/// The longest word, in bytes. Longer ones are keys, tokens or hashes; a UUID has 36 characters.
const MAX_WORD: usize = 40;

/// Words, in lower case, of messages about PHP, SQL and web servers. No text with one of them is shown.
const REVEALING: &[&str] = &[
    "exception",
    "stack",
    "trace",
    "on line",
    "in line",
    "fatal",
    "warning:",
    "notice:",
    "deprecated:",
    "undefined",
    "call to",
    "member function",
    "must be of type",
    "uncaught",
    "null",
    "php",
    "apache",
    "nginx",
    "sql",
    "mariadb",
    "database",
    "table",
    "query",
    "syntax",
    "localhost",
    "server",
    "bearer",
    "jwt",
    "secret",
    "password",
    "passwd",
    "privilege",
    "permission denied",
    "doctype",
    "&lt",
    "&gt",
    "&#",
    "://",
];

/// Names in camel case that are not those of classes.
const KNOWN_NAMES: &[&str] = &["OpenEMR", "resourceType", "birthDate", "lastUpdated", "versionId", "postalCode", "fullUrl"];

/// Whether a text may be shown to a client.
#[must_use]
pub(crate) fn is_disclosable(text: &str) -> bool {
    let is_sentence = !text.trim().is_empty() && text.len() <= MAX_TEXT;
    if !is_sentence || !text.chars().all(is_plain) {
        return false;
    }
    let lower = text.to_ascii_lowercase();
    !REVEALING.iter().any(|revealing| lower.contains(revealing))
        && !lower.contains("()")
        && !has_sql(text)
        && text.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '"' | '(' | ')')).all(is_plain_word)
}

/// Whether a character is a letter of any script, a digit, or punctuation of ordinary sentences.
fn is_plain(character: char) -> bool {
    character.is_alphanumeric()
        || matches!(
            character,
            ' ' | '.' | ',' | ';' | ':' | '!' | '?' | '\'' | '"' | '-' | '_' | '/' | '(' | ')' | '$' | '%' | '+' | '=' | '’'
        )
}

fn has_sql(text: &str) -> bool {
    text.split_whitespace()
        .any(|word| matches!(word, "SELECT" | "INSERT" | "UPDATE" | "DELETE" | "FROM" | "WHERE" | "JOIN" | "INTO" | "VALUES"))
}

fn is_plain_word(word: &str) -> bool {
    let word = word.trim_matches(|c: char| matches!(c, '\'' | '’' | '.' | ':' | '!' | '?'));
    word.len() <= MAX_WORD && !has_address(word) && !is_path(word) && word.split(['.', '/', '-', '=', '\'']).all(is_plain_name)
}

/// Whether a word could be an address: `10.0.0.7`, `emr.example.org`, `host:8443`. FHIRPaths, numbers and times of day are not.
fn has_address(word: &str) -> bool {
    let is_digit = |c: char| c.is_ascii_digit();
    let has_port = word.split_once(':').is_some_and(|(before, after)| after.starts_with(is_digit) && !before.ends_with(is_digit));
    let mut labels = word.split('.');
    let first = labels.next().unwrap_or_default();
    let is_fraction = word.split_once('.').is_none_or(|(_, after)| after.chars().all(is_digit)) && first.chars().all(is_digit);
    let is_fhir_path = resource_type::known(first.as_bytes()).is_some() && labels.all(is_element_name);
    has_port || word.contains("::") || (word.contains('.') && !is_fraction && !is_fhir_path)
}

fn is_element_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(|c| c.is_ascii_alphanumeric())
}

/// Whether a word could be a path of a file. `Patient/1` and `and/or` are not.
fn is_path(word: &str) -> bool {
    word.starts_with('/') || word.matches('/').count() > 1
}

/// Whether a name without dots and slashes is an ordinary word, and not like `FhirPatientService`, `getAll`, `PDOStatement` or
/// `patient_data`.
fn is_plain_name(name: &str) -> bool {
    if KNOWN_NAMES.contains(&name) || resource_type::known(name.as_bytes()).is_some() {
        return true;
    }
    let has_hump = name.chars().zip(name.chars().skip(1)).any(|(a, b)| a.is_lowercase() && b.is_uppercase());
    let capitals = name.chars().take_while(|c| c.is_uppercase()).count();
    let is_class = has_hump || (capitals > 1 && name.chars().skip(capitals).any(char::is_lowercase));
    // `_id` and `$export` are names of FHIR's.
    let word = name.strip_prefix('_').unwrap_or(name);
    let word = word.strip_prefix('$').filter(|rest| matches!(*rest, "export" | "bulkdata" | "docref")).unwrap_or(word);
    !is_class && !word.contains(['_', '$'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sentences_are_shown() {
        for clean in [
            "The job id you submitted was not found",
            "'Prefer' header invalid",
            "resourceType Not Found",
            "Gender must not be empty",
            "The search field argument was invalid, improperly formatted, or could not be parsed.  Inner message: UUID columns must be a valid UUID string",
            "Organization policy does not have permit access resource",
            "Patient.birthDate is missing.",
            "The value of _id is invalid and/or unknown",
            "Geschlecht darf nicht leer sein",
            "No Patient/123 here, at 10:15",
            "$export takes 1.5 s",
            "The id a34c6e42-1d69-4ad3-b4ef-b31757983454 is unknown",
        ] {
            assert!(is_disclosable(clean), "{clean}");
        }
    }

    #[test]
    fn texts_about_the_server_are_not() {
        for unclean in [
            "",
            "   ",
            "Call to a member function prepare() on bool",
            "Check that you can ping the server 127.0.0.1.",
            "OpenEMR\\Services\\FHIR\\FhirPatientService failed",
            "FhirPatientService failed",
            "the PDOStatement is closed",
            "getAll failed",
            "in /var/www/html/apis/dispatch.php",
            "no file src/Common/Database/QueryUtils.php",
            "see globals.inc",
            "unknown column patient_data",
            "SELECT a FROM b",
            "SQLSTATE[42S22]",
            "cannot reach 10.0.0.7",
            "cannot reach emr.internal.example",
            "cannot reach emr:3306",
            "cannot reach fe80::1",
            "ask admin@example.org",
            "https://emr/interface",
            "<b>no</b>",
            "Uncaught TypeError",
            "the variable $this",
            "line\nline",
            "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9eyJ0eXAiOiJKV1Qi",
        ] {
            assert!(!is_disclosable(unclean), "{unclean}");
        }
        assert!(!is_disclosable(&"word ".repeat(100)));
    }

    proptest! {
        #[test]
        fn marks_and_names_of_a_machine_are_never_clean(
            before in "[a-z ]{0,20}", after in "[a-z ]{0,20}",
            revealing in "<[a-z]{1,5}>|/[a-z]{1,6}/[a-z]{1,6}|[a-z]{2,6}\\.php|[A-Z][a-z]{2,6}[A-Z][a-z]{2,6}Service|[a-z]{2,6}_[a-z]{2,6}|[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}|[a-z]{1,6}\\\\[a-z]{1,6}|[a-z]{2,6}::[a-z]{2,6}|[a-z]{2,5}:[0-9]{2,5}",
        ) {
            let text = format!("{before} {revealing} {after}");
            prop_assert!(!is_disclosable(&text), "{}", text);
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = is_disclosable(&text);
        }
    }
}
