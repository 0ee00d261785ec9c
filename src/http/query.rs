//! The parameters of a query or a form, decoded and as they were written.
//!
//! Both are `application/x-www-form-urlencoded`: `%XX` is a byte, `+` is a blank, `&` stands between two parameters.

use std::borrow::Cow;

/// One parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameter<'a> {
    /// The name, decoded.
    pub(crate) name: Cow<'a, str>,
    /// The value, decoded.
    pub(crate) value: Cow<'a, str>,
    /// The value as it was written.
    pub(crate) written: &'a [u8],
    /// The whole parameter as it was written.
    pub(crate) pair: &'a [u8],
}

/// Iterates over the parameters of a query without its `?`, or of a form. Those without a name are skipped.
///
/// Of a client's request, only such names come so far as PHP reads as they are written, but for dots
/// (`openemr::request_parameters`).
pub(crate) fn parameters(query: &[u8]) -> impl Iterator<Item = Parameter<'_>> {
    query.split(|byte| *byte == b'&').filter_map(|pair| {
        let (name, value) = form_urlencoded::parse(pair).next()?;
        let written = memchr::memchr(b'=', pair).and_then(|at| pair.get(at + 1..)).unwrap_or_default();
        (!name.is_empty()).then_some(Parameter { name, value, written, pair })
    })
}

/// Appends `name=value` to a query. The value is one that was written, or [`encoded`].
pub(crate) fn push(query: &mut Vec<u8>, name: &str, value: &[u8]) {
    if !query.is_empty() {
        query.push(b'&');
    }
    query.extend_from_slice(encoded(name).as_bytes());
    query.push(b'=');
    query.extend_from_slice(value);
}

/// Percent-encodes a name or a value. The characters of FHIR's own names and references stay as they are.
#[must_use]
pub(crate) fn encoded(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for byte in text.bytes() {
        push_byte(&mut written, byte, byte.is_ascii_alphanumeric() || b"-._~:/,".contains(&byte));
    }
    written
}

/// Makes a written query valid in a URI (RFC 3986 section 3.4): what may not stand there is percent-encoded.
#[must_use]
pub(crate) fn as_uri(query: &[u8]) -> String {
    let mut uri = String::with_capacity(query.len());
    for (at, &byte) in query.iter().enumerate() {
        let may_stand = match byte {
            b'%' => matches!(query.get(at + 1..), Some([high, low, ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit()),
            byte => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?".contains(&byte),
        };
        push_byte(&mut uri, byte, may_stand);
    }
    uri
}

fn push_byte(text: &mut String, byte: u8, as_it_is: bool) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let digit = |value: u8| HEX.get(usize::from(value)).copied().unwrap_or('0');
    if as_it_is {
        text.push(char::from(byte));
    } else {
        text.extend(['%', digit(byte >> 4), digit(byte & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(query: &str) -> Vec<(String, String, String)> {
        let parameters = parameters(query.as_bytes());
        let owned = |one: Parameter<'_>| {
            (one.name.into_owned(), one.value.into_owned(), String::from_utf8_lossy(one.written).into_owned())
        };
        parameters.map(owned).collect()
    }

    #[test]
    fn parameters_are_meant_and_written() {
        for (query, name, value, written) in [
            ("name=Doe", "name", "Doe", "Doe"),
            ("%6Eame=J%C3%BC+rg", "name", "Jü rg", "J%C3%BC+rg"),
            ("code=a|b=c", "code", "a|b=c", "a|b=c"),
            ("name", "name", "", ""),
            ("name=", "name", "", ""),
            ("&&name=%zz&=x&", "name", "%zz", "%zz"),
        ] {
            let expected = (name.to_owned(), value.to_owned(), written.to_owned());
            assert_eq!(pairs(query), [expected], "{query}");
        }
        assert_eq!(pairs("a=1&b=2&a=3").len(), 3);
        assert!(pairs("").is_empty());
    }

    #[test]
    fn a_query_in_a_uri_keeps_what_may_stand_there() {
        for (query, uri) in [
            ("name=J%C3%BC+rg&date=ge2024", "name=J%C3%BC+rg&date=ge2024"),
            ("code=http://loinc.org|1", "code=http://loinc.org%7C1"),
            ("name=\"<ü>\\", "name=%22%3C%C3%BC%3E%5C"),
            ("name=100%&x=%4", "name=100%25&x=%254"),
        ] {
            assert_eq!(as_uri(query.as_bytes()), uri);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(pairs in proptest::collection::vec((".{1,8}", ".{0,12}"), 0..5)) {
            let mut query = Vec::new();
            for (name, value) in &pairs {
                push(&mut query, name, encoded(value).as_bytes());
            }
            let read: Vec<_> = parameters(&query).map(|one| (one.name.into_owned(), one.value.into_owned())).collect();
            prop_assert_eq!(read, pairs);
        }

        #[test]
        fn a_uri_means_what_the_query_means(query in proptest::collection::vec(any::<u8>(), 0..40)) {
            let uri = as_uri(&query);
            prop_assert!(uri.is_ascii() && !uri.contains(['"', '\\', ' ']));
            let meant = |query: &[u8]| -> Vec<_> {
                parameters(query).map(|one| (one.name.into_owned(), one.value.into_owned())).collect()
            };
            prop_assert_eq!(meant(uri.as_bytes()), meant(&query));
        }
    }
}
