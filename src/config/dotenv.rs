//! Files of environment variables, as given with `--env-file`: `KEY=VALUE`, an optional `export`, quotes, comments.

use std::collections::HashMap;

use super::expansion::{Expansion, TooLong, is_name};
use super::problem::Mark;

/// A variable's value, and where it stands in the file.
pub(super) type Variable = (String, Mark);

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// The variables; the last of repeated ones counts.
    pub variables: HashMap<String, Variable>,
    /// The names in `${NAME}` that are not set, each with the number of its line.
    pub unset: Vec<(String, usize)>,
}

/// Why a file cannot be read, with the number of the line, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// The line is neither a variable nor a comment.
    NoVariable(usize),
    /// The value of the line becomes too long by what is put into it.
    TooLong(usize),
}

/// Reads the variables of a file. `process` knows those of the process, which come first in `${NAME}`.
///
/// Unquoted values end at ` #` and lose the blanks around them; in single quotes everything is literal;
/// in double quotes `\n`, `\t`, `\"`, `\\` and `\$` are escapes. A quoted value may span lines. `${NAME}` and
/// `${NAME:-default}` are replaced in double quotes and in unquoted values; see [`super::expansion`].
///
/// # Errors
/// The first line that is neither a variable nor a comment, or whose value becomes too long.
pub(super) fn parse<'p>(text: &str, process: &dyn Fn(&str) -> Option<&'p str>) -> Result<Parsed, Unreadable> {
    let mut parsed = Parsed::default();
    let mut lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let number = index + 1;
        let no_variable = Unreadable::NoVariable(number);
        let whole = line.trim_end();
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let assignment = match line.strip_prefix("export") {
            Some(rest) if rest.starts_with([' ', '\t']) => rest.trim_start(),
            _ => line,
        };
        let (name, value) = assignment.split_once('=').ok_or(no_variable)?;
        let name = name.trim_end();
        if !is_name(name) {
            return Err(no_variable);
        }
        let value = value.trim_start();
        let before = whole.get(..whole.len() - value.len()).unwrap_or_default();
        let mark = Mark { line: number, column: before.chars().count() + 1 };
        let raw = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let mut quoted = value.get(1..).unwrap_or_default().to_owned();
                loop {
                    match quoted.split_at_checked(closing_quote(&quoted, quote).unwrap_or(usize::MAX)) {
                        Some((inside, rest)) if is_comment(rest.get(1..).unwrap_or_default()) => {
                            break Raw { text: inside.to_owned(), quote: Some(quote) };
                        }
                        Some(_) => return Err(no_variable),
                        None => {
                            let (_, next) = lines.next().ok_or(no_variable)?;
                            quoted.push('\n');
                            quoted.push_str(next);
                        }
                    }
                }
            }
            _ => {
                let end = value.find(" #").or_else(|| value.find("\t#")).unwrap_or(value.len());
                let value = if value.starts_with('#') { "" } else { value.get(..end).unwrap_or_default() };
                Raw { text: value.trim_end().to_owned(), quote: None }
            }
        };
        let of_file = |name: &str| parsed.variables.get(name).map(|(value, _)| value.as_str());
        let lookup = |name: &str| process(name).or_else(|| of_file(name)).filter(|value| !value.is_empty());
        let (value, unset) = raw.value(&lookup).map_err(|TooLong| Unreadable::TooLong(number))?;
        parsed.unset.extend(unset.into_iter().map(|name| (name, number)));
        parsed.variables.insert(name.to_owned(), (value, mark));
    }
    Ok(parsed)
}

/// A value as it stands in the file, without its quotes.
struct Raw {
    text: String,
    quote: Option<char>,
}

impl Raw {
    /// The value, and the names that it lacks.
    fn value<'v>(self, lookup: &'v dyn Fn(&str) -> Option<&'v str>) -> Result<(String, Vec<String>), TooLong> {
        if self.quote == Some('\'') {
            return Ok((self.text, Vec::new()));
        }
        let mut value = Expansion::new(lookup);
        let mut rest = self.text.as_str();
        if self.quote.is_none() {
            value.take_all(rest)?;
            return Ok(value.end());
        }
        while !rest.is_empty() {
            let Some(escaped) = rest.strip_prefix('\\') else {
                rest = value.take(rest)?;
                continue;
            };
            let mut chars = escaped.chars();
            match chars.next() {
                Some('n') => value.literal('\n'),
                Some('t') => value.literal('\t'),
                Some(escaped @ ('"' | '\\' | '$')) => value.literal(escaped),
                other => ['\\'].into_iter().chain(other).for_each(|c| value.literal(c)),
            }
            rest = chars.as_str();
        }
        Ok(value.end())
    }
}

fn is_comment(rest: &str) -> bool {
    let rest = rest.trim_start();
    rest.is_empty() || rest.starts_with('#')
}

/// Where the quote is that ends a value; `None` when it stays open.
fn closing_quote(text: &str, quote: char) -> Option<usize> {
    let mut chars = text.char_indices();
    while let Some((index, c)) = chars.next() {
        match c {
            _ if c == quote => return Some(index),
            '\\' if quote == '"' => drop(chars.next()),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<HashMap<String, Variable>, Unreadable> {
        super::parse(text, &|_| None).map(|parsed| parsed.variables)
    }

    /// The value of `X` in a file, and the names that are not set; the process has `HOME_HOST` and an empty `EMPTY`.
    fn expanded(text: &str) -> (String, Vec<String>) {
        let process = |name: &str| {
            [("HOME_HOST", "process"), ("EMPTY", "")].into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
        };
        let parsed = super::parse(text, &process).unwrap();
        (parsed.variables["X"].0.clone(), parsed.unset.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn references_are_replaced_as_other_readers_do() {
        for (text, value) in [
            ("A=a\nX=${A}/b", "a/b"),
            ("A=a\nX=\"${A} b\" # c", "a b"),
            ("A=a\nX='${A}'", "${A}"),
            ("A=a\nX=\"\\${A} ${A}\"", "${A} a"),
            ("A=a\nX=\"one\n${A}\"", "one\na"),
            ("A='${B}'\nB=b\nX=${A}", "${B}"),
            ("A=a\nB=${A}${A}\nX=${B}${B}", "aaaa"),
            ("A=old\nX=${A}\nA=new", "old"),
            ("HOME_HOST=file\nX=${HOME_HOST}", "process"),
            ("X=${NONE:-d}", "d"),
            ("X=${NONE-d e}", "d e"),
            ("X=${EMPTY:-d}", "d"),
            ("X=${NONE:-}", ""),
            ("A=a\nX=${A:-d}", "a"),
            ("A=a\nX=${NONE:-<${A}>}-", "<a>-"),
            ("X=${NONE:-${NO:-${N:-deep}}}", "deep"),
            ("X=$HOME_HOST $$ {A} $", "$HOME_HOST $$ {A} $"),
            ("X=${HOME_HOST:+y}", "${HOME_HOST:+y}"),
            ("X=${ A}${1A}${}${A", "${ A}${1A}${}${A"),
            ("X=é${HOME_HOST}é", "éprocessé"),
        ] {
            assert_eq!(expanded(text), (value.to_owned(), vec![]), "{text}");
        }
    }

    #[test]
    fn what_is_not_set_is_empty_and_named() {
        assert_eq!(expanded("X=a${LATER}b${EMPTY}\nLATER=l"), ("ab".to_owned(), vec!["LATER".to_owned(), "EMPTY".to_owned()]));
        // A value refers to what its name had above, or to nothing: there are no circles.
        assert_eq!(expanded("X=${X}"), (String::new(), vec!["X".to_owned()]));
        assert_eq!(expanded("X=a\nX=${X}b"), ("ab".to_owned(), vec![]));
        assert_eq!(expanded("X=${Y}\nY=${X}").1, ["Y", "X"]);
    }

    #[test]
    fn lines_that_double_each_other_are_bounded() {
        let doubled: String = (1..40).map(|n| format!("A{n}=${{A{}}}${{A{}}}\n", n - 1, n - 1)).collect();
        assert_eq!(parse(&format!("A0=1234\n{doubled}")).err(), Some(Unreadable::TooLong(16)));
        let deep = format!("X={}{}", "${N:-".repeat(10_000), "}".repeat(10_000));
        assert!(expanded(&deep).0.starts_with("${N:-"));
    }

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
            assert_eq!(parse(text).err(), Some(Unreadable::NoVariable(line)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "([A-Z=\"'\\\\ #\n$é:-]|\\$\\{[A-C]?|\\}){0,60}") {
            let _ = parse(&text);
        }
    }
}
