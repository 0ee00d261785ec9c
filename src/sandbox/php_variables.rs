//! The variables that PHP makes of a query or a form (`$_GET`, `$_POST`), as main/php_variables.c of PHP 8 does.
//!
//! Names are changed on the way: blanks on the left are cut, `.` and blank become `_`, a NUL ends the name, a first `[`
//! without `]` becomes `_` as do all `[` behind it, and `name[…]` makes an array. Of equal names the last one counts.
//! `recorded.txt` beside it is what PHP 8.2 answered.

use std::borrow::Cow;

/// PHP's `max_input_vars`: the variables that are read; the rest is left out without a word.
const MOST_VARIABLES: usize = 1000;
/// PHP's `max_input_nesting_level`: a name with more brackets deletes the variable that it begins with.
const DEEPEST: usize = 64;

/// The value of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    /// A text.
    Text(Vec<u8>),
    /// An array, whose elements nobody here asks for.
    Array,
}

/// Variables by name, in the order in which their names came first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Variables(Vec<(Vec<u8>, Variable)>);

impl Variables {
    /// Reads a query, without its question mark.
    pub(crate) fn from_query(query: &[u8]) -> Variables {
        let mut variables = Variables::default();
        let pairs = query.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty());
        pairs.take(MOST_VARIABLES).for_each(|pair| variables.register_pair(pair));
        variables
    }

    /// Reads a form of the type `application/x-www-form-urlencoded`. Unlike in a query, empty pairs count, and the limit is
    /// noticed after the pair that exceeds it.
    pub(crate) fn from_form(form: &[u8]) -> Variables {
        let mut variables = Variables::default();
        let whole = form.strip_suffix(b"&").unwrap_or(form);
        whole.split(|&byte| byte == b'&').take(MOST_VARIABLES + 1).for_each(|pair| variables.register_pair(pair));
        variables
    }

    /// Makes variables of the fields of a `multipart/form-data` body, whose names and values are not percent-encoded.
    pub(super) fn from_fields<'a>(fields: impl Iterator<Item = (Cow<'a, [u8]>, &'a [u8])>) -> Variables {
        let mut variables = Variables::default();
        fields.take(MOST_VARIABLES).for_each(|(name, value)| variables.register(&name, value.to_vec()));
        variables
    }

    fn register_pair(&mut self, pair: &[u8]) {
        let at = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
        let (name, value) = pair.split_at(at);
        self.register(&decoded(name), decoded(value.get(1..).unwrap_or_default()));
    }

    fn register(&mut self, name: &[u8], value: Vec<u8>) {
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        let start = name.iter().position(|&byte| byte != b' ').unwrap_or(name.len());
        let name = name.get(start..).unwrap_or_default();
        let bracket = name.iter().position(|&byte| byte == b'[').unwrap_or(name.len());
        let (plain, brackets) = name.split_at(bracket);
        if plain.is_empty() {
            return;
        }
        let mut name: Vec<u8> = plain.iter().map(|&byte| if matches!(byte, b' ' | b'.') { b'_' } else { byte }).collect();
        match levels(brackets) {
            None => {
                name.extend(brackets.iter().map(|&byte| if matches!(byte, b' ' | b'.' | b'[') { b'_' } else { byte }));
                self.set(name, Variable::Text(value));
            }
            Some(0) => self.set(name, Variable::Text(value)),
            Some(levels) if levels > DEEPEST => self.0.retain(|(held, _)| *held != name),
            Some(_) => self.set(name, Variable::Array),
        }
    }

    fn set(&mut self, name: Vec<u8>, value: Variable) {
        match self.0.iter_mut().find(|(held, _)| *held == name) {
            Some((_, held)) => *held = value,
            None => self.0.push((name, value)),
        }
    }

    /// Returns the value of a variable.
    pub(super) fn get(&self, name: &str) -> Option<&Variable> {
        self.0.iter().find(|(held, _)| held == name.as_bytes()).map(|(_, value)| value)
    }

    /// Returns the value of a variable that is a text.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        match self.get(name)? {
            Variable::Text(text) => Some(String::from_utf8_lossy(text)),
            Variable::Array => None,
        }
    }

    /// Returns whether no variable has this name.
    pub(super) fn is_without(&self, name: &[u8]) -> bool {
        self.0.iter().all(|(held, _)| held != name)
    }

    /// Returns names and values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &Variable)> {
        self.0.iter().map(|(name, value)| (name.as_slice(), value))
    }
}

/// Returns how deep the brackets of a name go; `None` when the first of them has no end, and is no bracket then.
fn levels(brackets: &[u8]) -> Option<usize> {
    let mut levels = 0;
    let mut rest = brackets;
    while let Some(index) = rest.strip_prefix(b"[") {
        if levels == DEEPEST {
            return Some(levels + 1);
        }
        // `[]` and `[ ]` are the next free index; of any other, the end is looked for behind a blank.
        let skipped = usize::from(index.first().is_some_and(|byte| byte.is_ascii_whitespace() || *byte == 0x0b));
        let Some(end) = index.iter().skip(skipped).position(|&byte| byte == b']').map(|end| end + skipped) else {
            return (levels > 0).then_some(levels);
        };
        levels += 1;
        rest = index.get(end + 1..).unwrap_or_default();
    }
    Some(levels)
}

/// Decodes as PHP's `urldecode`: `+` is a blank, and what is no percent-encoding stays.
fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, tail) {
            (b'+', _) => out.push(b' '),
            (b'%', [high, low, behind @ ..]) => match hex(*high, *low) {
                Some(decoded) => {
                    out.push(decoded);
                    rest = behind;
                }
                None => out.push(byte),
            },
            _ => out.push(byte),
        }
    }
    out
}

/// Returns the byte that two hex digits stand for.
pub(super) fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes variables as the recording has them: `name=value`, and `name[]` for an array.
    fn written(variables: &Variables) -> String {
        let encoded = |text: &[u8]| {
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            text.iter().map(|byte| if plain(byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") }).collect()
        };
        let pair = |(name, value): (&[u8], &Variable)| -> String {
            let name: String = encoded(name);
            match value {
                Variable::Text(text) => format!("{name}={}", encoded(text)),
                Variable::Array => format!("{name}[]"),
            }
        };
        variables.iter().map(pair).collect::<Vec<_>>().join("&")
    }

    /// `recorded.txt` is what PHP 8.2's `parse_str` answered, for names that matter and for 240 random ones.
    #[test]
    fn queries_are_read_as_php_read_them() {
        let recorded = include_str!("php_variables/recorded.txt");
        assert!(recorded.lines().count() > 250);
        for line in recorded.lines() {
            let (query, expected) = line.split_once('\t').unwrap_or_default();
            assert_eq!(written(&Variables::from_query(query.as_bytes())), expected, "{query}");
            // A form of so few variables is read in the same way.
            assert_eq!(written(&Variables::from_form(query.as_bytes())), expected, "{query}");
        }
    }

    /// As PHP 8.2 counted them behind Apache.
    #[test]
    fn what_is_beyond_the_limit_is_left_out() {
        let many: String = (0..1002).map(|number| format!("a{number}=1&")).collect();
        assert_eq!(Variables::from_query(many.as_bytes()).iter().count(), 1000);
        assert_eq!(Variables::from_form(many.as_bytes()).iter().count(), 1001);
        let fields = (0..1002).map(|number| (Cow::Owned(format!("a{number}").into_bytes()), b"1".as_slice()));
        assert_eq!(Variables::from_fields(fields).iter().count(), 1000);
        let empty = "&".repeat(2000) + "z=1";
        assert_eq!(written(&Variables::from_query(empty.as_bytes())), "z=1");
        assert_eq!(written(&Variables::from_form(empty.as_bytes())), "");
        let at_the_limit = "&".repeat(999) + "z=1&y=1&x=1";
        assert_eq!(written(&Variables::from_form(at_the_limit.as_bytes())), "z=1&y=1");
    }
}
