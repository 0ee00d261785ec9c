//! The parameters of a query or a form as PHP reads them (`php_default_treat_data`, `add_post_vars`).
//!
//! `&` alone separates them (`;` does not), `+` and `%20` are blanks, and the last of equal names wins. Where a name is both a text
//! and an array, the later one replaces the other.

use std::borrow::Cow;

use crate::openemr::php::name::Name;

/// The most parameters that PHP reads of a query, and of a form (`max_input_vars`). It drops those behind them in silence.
pub(crate) const MAX_INPUT_VARS: usize = 1000;

/// A parameter, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variable<'a> {
    /// The name as the client wrote it.
    pub(crate) name: Cow<'a, str>,
    /// The value.
    pub(crate) value: Cow<'a, str>,
}

impl Variable<'_> {
    /// The name as PHP reads it; `None` where PHP drops the parameter.
    #[must_use]
    pub(crate) fn read_name(&self) -> Option<Name<'_>> {
        Name::read(self.name.as_bytes())
    }
}

/// Iterates over the parameters of a query without its `?`, or of a form. Bytes that are no UTF-8 become U+FFFD, which is in no
/// name of OpenEMR's.
pub(crate) fn variables(text: &[u8]) -> impl Iterator<Item = Variable<'_>> {
    form_urlencoded::parse(text).map(|(name, value)| Variable { name, value })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(query: &str) -> Vec<(String, bool, String)> {
        let of = |variable: Variable<'_>| {
            let name = variable.read_name()?;
            Some((String::from_utf8(name.key.to_vec()).unwrap(), name.is_array, variable.value.clone().into_owned()))
        };
        variables(query.as_bytes()).filter_map(of).collect()
    }

    #[test]
    fn queries_are_read_as_php_reads_them() {
        for (query, expected) in [
            ("a=1&b=2", &[("a", false, "1"), ("b", false, "2")][..]),
            ("a=1;b=2", &[("a", false, "1;b=2")]),
            ("%20_REWRITE%5BCOMMAND=x%26y", &[("_REWRITE_COMMAND", false, "x&y")]),
            ("+_REWRITE+COMMAND=a+b", &[("_REWRITE_COMMAND", false, "a b")]),
            ("_REWRITE_COMMAND%00x=%00", &[("_REWRITE_COMMAND", false, "\0")]),
            ("a%5B%5D=1&a=2", &[("a", true, "1"), ("a", false, "2")]),
            ("a&b=&&=c", &[("a", false, ""), ("b", false, "")]),
            ("a=%zz%4&b=%&c=d=e", &[("a", false, "%zz%4"), ("b", false, "%"), ("c", false, "d=e")]),
            ("%2561=1", &[("%61", false, "1")]),
            ("", &[]),
        ] {
            let expected: Vec<_> =
                expected.iter().map(|(name, is_array, value)| ((*name).to_owned(), *is_array, (*value).to_owned())).collect();
            assert_eq!(read(query), expected, "{query}");
        }
    }

    proptest! {
        /// Whatever a client encodes of it, a name is the same to PHP.
        #[test]
        fn encoding_changes_no_name(name in "[ -~]{1,12}", encode in proptest::collection::vec(any::<bool>(), 12)) {
            let written: String = name
                .bytes()
                .zip(encode)
                .map(|(byte, encode)| match byte {
                    b'&' | b'=' | b'%' | b'+' => format!("%{byte:02x}"),
                    _ if encode => format!("%{byte:02X}"),
                    b' ' => "+".to_owned(),
                    other => char::from(other).to_string(),
                })
                .collect();
            let variable = variables(written.as_bytes()).next().unwrap();
            prop_assert_eq!(variable.read_name(), Name::read(name.as_bytes()));
        }
    }
}
