//! The reference of every key, as Markdown: docs/configuration.md.

use std::fmt::Write as _;

use serde_yaml::Value as Yaml;

use super::configuration::Config;
use super::declaration::{Members as _, scalar};
use super::shape::{KeyDescription, Shape, Visibility};

const HEAD: &str = "\
# Configuration

<!-- Made by `openemr-gateway config reference > docs/configuration.md`. Do not edit it: a key is described where it is declared,
in src/config/. -->

The gateway reads one YAML file, `conf/gateway.yaml` or the one named with `--config`. [conf/gateway.yaml](../conf/gateway.yaml)
shows each key with its default; only `openemr`, `client_id`, `private_key`, `jwks` and `scopes` of a site must be written.

```sh
openemr-gateway config check       # prints the configuration as it takes effect, or every error with its place and remedy
openemr-gateway config schema      # prints the JSON Schema, for editors
openemr-gateway config reference   # prints this page
```

- Unknown keys are errors. A key that is left blank or `null` has its default, unless it is required.
- `${NAME}` in a value is replaced by the environment variable `NAME`, from the environment or from the file given with
  `--env-file`; `$${` stands for `${` itself.
- Relative paths are read from the working directory.
- A **duration** is `500ms`, `5s`, `2m`, `1h` or a number of seconds; at least 1ms, at most 24h. A **size** is `64KiB`, `1MiB` or a
  number of bytes. A **count** is a whole number above 0. A **rate** is `20/s`, `600/min` or `5000/h`. A **share** is a number from 0
  to 1. A list of one value may be written as that value.
- *Change* says how a changed value takes effect: by **reload** (SIGHUP, or by itself with `watch: true`), or only by a **restart**
  or an upgrade (`serve --upgrade`). A reload with an error changes nothing.

";

/// The reference of the configuration.
#[must_use]
pub(crate) fn markdown_reference() -> String {
    let mut page = HEAD.to_owned();
    table(&mut page, "The gateway", "", &Config::keys());
    let mut variables = Vec::new();
    collect_variables(&Config::keys(), "", &mut variables);
    page.push_str("## Environment variables\n\nThese variables override keys, also without a configuration file.\n\n");
    page.push_str("| Variable | Key |\n|---|---|\n");
    for (variable, key) in variables {
        let _ = writeln!(page, "| `{variable}` | {key} |");
    }
    page
}

/// The table of one section, then those of the sections in it.
fn table(page: &mut String, title: &str, path: &str, keys: &[KeyDescription]) {
    let keys = || keys.iter().filter(|key| key.visibility != Visibility::VariableOnly);
    let _ = writeln!(page, "## {title}\n\n| Key | Type | Default | Change | Meaning |\n|---|---|---|---|---|");
    for key in keys() {
        let change = if key.restart {
            "restart"
        } else if key.shape.keys().is_empty() {
            "reload"
        } else {
            ""
        };
        let (kind, default) = (kind(key), default(key));
        let _ = writeln!(page, "| `{}` | {kind} | {default} | {change} | {} |", key.name, cell(&key.text));
    }
    page.push('\n');
    for key in keys().filter(|key| !key.shape.keys().is_empty()) {
        let path = format!("{path}{}", key.name);
        let path = match innermost(&key.shape) {
            Shape::List(_) => format!("{path}[]"),
            Shape::Named(_) => format!("{path}.<name>"),
            _ => path,
        };
        table(page, &format!("`{path}`"), &format!("{path}."), key.shape.keys());
    }
}

fn innermost(shape: &Shape) -> &Shape {
    match shape {
        Shape::Optional(inner) => inner,
        other => other,
    }
}

/// The type with its unit and bounds.
fn kind(key: &KeyDescription) -> String {
    let mut text = match &key.shape {
        // `null` is worth a word only where it differs from leaving the key out.
        Shape::Optional(inner) if key.default.is_null() => type_of(inner),
        Shape::Pingoras => pingoras_type(&key.default).to_owned(),
        shape => type_of(shape),
    };
    if let Some(unit) = key.unit {
        let _ = write!(text, " of {unit}");
    }
    match &key.bounds {
        (Some(least), Some(most)) => text + &format!(", {least} to {most}"),
        (None, Some(most)) => text + &format!(", at most {most}"),
        (Some(least), None) => text + &format!(", at least {least}"),
        (None, None) => text,
    }
}

/// The type of a setting of Pingora's, as far as its default shows it.
fn pingoras_type(default: &Yaml) -> &'static str {
    match default {
        Yaml::Number(_) => "number",
        Yaml::String(_) => "text",
        Yaml::Sequence(_) => "list of text",
        _ => "as in Pingora",
    }
}

fn type_of(shape: &Shape) -> String {
    match shape {
        Shape::Flag => "`true` or `false`".to_owned(),
        Shape::Count => "count".to_owned(),
        Shape::Size => "size".to_owned(),
        Shape::Duration => "duration".to_owned(),
        Shape::Share => "share".to_owned(),
        Shape::Words(words) => {
            let word = |(word, text): &(&str, String)| match text.as_str() {
                "" => format!("`{word}`"),
                text => format!("`{word}`: {}", cell(text)),
            };
            words.iter().map(word).collect::<Vec<_>>().join("<br>")
        }
        Shape::Text(form) => (*form).to_owned(),
        Shape::List(element) if element.keys().is_empty() => format!("{}, or a list", type_of(element)),
        Shape::List(_) => "list of mappings".to_owned(),
        Shape::Section(_) | Shape::Named(_) => "mapping".to_owned(),
        Shape::Either(one, other) => format!("{}<br>or {}", type_of(one), type_of(other)),
        Shape::Optional(inner) => format!("{}, or `null`", type_of(inner)),
        Shape::Pingoras => "as in Pingora".to_owned(),
    }
}

fn default(key: &KeyDescription) -> String {
    match (&key.default, key.required, key.derived) {
        (_, Some(_), _) => "required".to_owned(),
        (_, None, Some(derived)) => derived.to_owned(),
        (Yaml::Mapping(_), None, None) if !key.shape.keys().is_empty() => String::new(),
        (Yaml::Null, None, None) if !matches!(key.shape, Shape::Pingoras) => "none".to_owned(),
        (default, None, None) => format!("`{}`", one_line(default)),
    }
}

/// A value in YAML's flow style.
fn one_line(value: &Yaml) -> String {
    match value {
        Yaml::Sequence(values) => format!("[{}]", values.iter().map(one_line).collect::<Vec<_>>().join(", ")),
        Yaml::Mapping(entries) => {
            let entry = |(key, value): (&Yaml, &Yaml)| format!("{}: {}", one_line(key), one_line(value));
            format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        single => scalar(single),
    }
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn collect_variables(keys: &[KeyDescription], path: &str, variables: &mut Vec<(&'static str, String)>) {
    for key in keys {
        if let Some(variable) = key.variable {
            let key = match key.visibility {
                Visibility::VariableOnly => key.text.clone(),
                Visibility::Everywhere | Visibility::Shorthand => format!("`{path}{}`", key.name),
            };
            variables.push((variable, key));
        }
        let below = match innermost(&key.shape) {
            Shape::Named(_) => format!("{path}{}.default.", key.name),
            _ => format!("{path}{}.", key.name),
        };
        collect_variables(key.shape.keys(), &below, variables);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::json_schema;

    /// Says how to make the file anew when it is not what the program prints.
    fn assert_current(file: &str, subcommand: &str, text: &str) {
        let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == text, "{file} is stale; make it anew:  cargo run -- config {subcommand} > {file}");
    }

    #[test]
    fn the_reference_is_what_the_declarations_say() {
        assert_current("docs/configuration.md", "reference", &markdown_reference());
    }

    #[test]
    fn the_schema_is_what_the_declarations_say() {
        assert_current("conf/gateway.schema.json", "schema", &json_schema());
    }

    #[test]
    fn the_shipped_file_shows_every_key() {
        fn check(keys: &[KeyDescription], path: &str) {
            let shipped = include_str!("../../conf/gateway.yaml");
            for key in keys.iter().filter(|key| key.visibility != Visibility::VariableOnly) {
                let line = |line: &str| line.trim_start_matches([' ', '#', '-']).starts_with(&format!("{}:", key.name));
                let inline = format!("{}: ", key.name);
                let found = shipped.lines().any(|text| line(text) || (!path.is_empty() && text.contains(&inline)));
                assert!(found, "{path}{} is not in conf/gateway.yaml; show it there with its default", key.name);
                check(key.shape.keys(), &format!("{path}{}.", key.name));
            }
        }
        check(&Config::keys(), "");
    }

    #[test]
    fn every_key_is_described_in_sentences() {
        fn check(keys: &[KeyDescription], path: &str) {
            for key in keys {
                let path = format!("{path}.{}", key.name);
                assert!(key.text.ends_with(['.', ')']) && key.text.len() > 10, "{path}: `{}`", key.text);
                check(key.shape.keys(), &path);
            }
        }
        check(&Config::keys(), "");
    }
}
