//! Files of environment variables, as given with `--env-file`: `KEY=VALUE`, an optional `export`, quotes, comments.

use std::collections::HashMap;

use super::problem::Mark;

/// A variable's value, and where it stands in the file.
pub(super) type Variable = (String, Mark);

/// Reads the variables of a file; the last of repeated ones counts.
///
/// Unquoted values end at ` #` and lose the blanks around them; in single quotes everything is literal;
/// in double quotes `\n`, `\t`, `\"`, `\\` and `\$` are escapes. A quoted value may span lines.
///
/// # Errors
/// The number, from 1, of the first line that is neither a variable nor a comment.
pub(super) fn parse(text: &str) -> Result<HashMap<String, Variable>, usize> {
    let mut variables = HashMap::new();
    let mut lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let number = index + 1;
        let whole = line.trim_end();
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let assignment = match line.strip_prefix("export") {
            Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
            _ => line,
        };
        let (name, value) = assignment.split_once('=').ok_or(number)?;
        let name = name.trim_end();
        if !is_name(name) {
            return Err(number);
        }
        let value = value.trim_start();
        let before = whole.get(..whole.len() - value.len()).unwrap_or_default();
        let mark = Mark { line: number, column: before.chars().count() + 1 };
        let value = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let mut quoted = value.get(1..).unwrap_or_default().to_owned();
                loop {
                    match unquote(&quoted, quote) {
                        Some((value, rest)) if is_comment(rest) => break value,
                        Some(_) => return Err(number),
                        None => {
                            let (_, next) = lines.next().ok_or(number)?;
                            quoted.push('\n');
                            quoted.push_str(next);
                        }
                    }
                }
            }
            _ => {
                let end = value.find(" #").or_else(|| value.find("\t#")).unwrap_or(value.len());
                let value = if value.starts_with('#') { "" } else { value.get(..end).unwrap_or_default() };
                value.trim_end().to_owned()
            }
        };
        variables.insert(name.to_owned(), (value, mark));
    }
    Ok(variables)
}

/// Whether a text is a name that a shell accepts.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_comment(rest: &str) -> bool {
    let rest = rest.trim_start();
    rest.is_empty() || rest.starts_with('#')
}

/// Returns the text up to the closing quote, and the text behind it; `None` when the quote stays open.
fn unquote(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            _ if c == quote => return Some((value, text.get(index + 1..).unwrap_or_default())),
            '\\' if quote == '"' => match chars.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                escaped @ ('"' | '\\' | '$') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            _ => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        let variables = parse(
            "\u{feff}# the old proxy\nOEMR_BASE=https://emr.example.org\r\nexport SITE = default\n\nSCOPE=\"system/Patient.read system/Goal.read\" # two\nCLIENT_ID='a#b $x \\n'\nKID=\nA=b # c\nB=b#c\nC=\"x\\ty\\\"\\\\\\$\\q\"\nD='one\ntwo'\nE=#nothing\nKID=last\n",
        )
        .unwrap();
        for (name, value) in [
            ("OEMR_BASE", "https://emr.example.org"),
            ("SITE", "default"),
            ("SCOPE", "system/Patient.read system/Goal.read"),
            ("CLIENT_ID", "a#b $x \\n"),
            ("KID", "last"),
            ("A", "b"),
            ("B", "b#c"),
            ("C", "x\ty\"\\$\\q"),
            ("D", "one\ntwo"),
            ("E", ""),
        ] {
            assert_eq!(variables[name].0, value, "{name}");
        }
    }

    #[test]
    fn values_have_positions() {
        let variables = parse("A=1\n\n  export B = \"two\nlines\"\nC=3\n").unwrap();
        for (name, position) in [("A", "1:3"), ("B", "3:14"), ("C", "5:3")] {
            assert_eq!(variables[name].1.to_string(), position, "{name}");
        }
    }

    #[test]
    fn names_the_line_it_cannot_read() {
        for (text, line) in [("A=1\nnothing\n", 2), ("1A=1", 1), ("\nA='open\nmore\n", 2), ("A='x'y\n", 1), ("=x", 1)] {
            assert_eq!(parse(text).err(), Some(line), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "[A-Z=\"'\\\\ #\n$é]{0,60}") {
            let _ = parse(&text);
        }
    }
}
