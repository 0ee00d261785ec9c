//! Access tokens in text: what a server sends back of a request can hold the token that the request carried.

use std::ops::Range;

use memchr::memmem;

/// Shorter tokens are not searched for: they could stand in a text by chance.
const SHORTEST: usize = 16;
/// The parts of a token that nobody knows, in the form of a JWT (RFC 7519): three, each of them at least so long.
const SHORTEST_PART: usize = 16;

/// Whether a text holds the `known` token, or another one in the form of a JWT.
#[must_use]
pub(crate) fn holds_token(text: &[u8], known: &[u8]) -> bool {
    // Nearly every value of a field is shorter than any token.
    text.len() >= SHORTEST && (known_in(text, known).next().is_some() || jwt_in(text, 0).is_some())
}

/// Overwrites the `known` token, and others in the form of a JWT. The text keeps its length.
pub(crate) fn cut_tokens(text: &mut [u8], known: &[u8]) {
    let found: Vec<Range<usize>> = known_in(text, known).collect();
    for range in found {
        text.get_mut(range).unwrap_or_default().fill(b'*');
    }
    let mut from = 0;
    while let Some(range) = jwt_in(text, from) {
        from = range.end;
        text.get_mut(range).unwrap_or_default().fill(b'*');
    }
}

fn known_in(text: &[u8], known: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let can_be_in = (SHORTEST..=text.len()).contains(&known.len());
    let found = can_be_in.then(|| memmem::find_iter(text, known).map(|at| at..at + known.len()));
    found.into_iter().flatten()
}

/// The first JWT in the text behind `from`.
fn jwt_in(text: &[u8], mut from: usize) -> Option<Range<usize>> {
    loop {
        let rest = text.get(from..).filter(|rest| rest.len() >= 3 * SHORTEST_PART)?;
        let start = from + memmem::find(rest, b"eyJ")?;
        let run = text.get(start..)?;
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let length = run.iter().position(|byte| !is_part(byte)).unwrap_or(run.len());
        let parts = || run.get(..length).unwrap_or_default().split(|byte| *byte == b'.');
        if parts().filter(|part| part.len() >= SHORTEST_PART).count() >= 3 {
            return Some(start..start + length);
        }
        from = start + length;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KNOWN: &[u8] = b"opaque-token-of-the-gateway";
    const JWT: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJhYmMiLCJqdGkiOiJ4In0.c2lnbmF0dXJlLXNpZ25hdHVyZQ";

    fn cut(text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        cut_tokens(&mut bytes, KNOWN);
        assert_eq!(bytes.len(), text.len());
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn tokens_are_cut_wherever_they_stand() {
        let known = std::str::from_utf8(KNOWN).unwrap();
        let stars = "*".repeat(KNOWN.len());
        for (text, expected) in [
            (format!("Authorization: Bearer {known}"), format!("Authorization: Bearer {stars}")),
            (format!("{known}{known}"), format!("{stars}{stars}")),
            (format!("{{\"token\":\"{JWT}\",\"a\":1}}"), format!("{{\"token\":\"{}\",\"a\":1}}", "*".repeat(JWT.len()))),
            (format!("{JWT} {JWT}"), format!("{0} {0}", "*".repeat(JWT.len()))),
        ] {
            assert!(holds_token(text.as_bytes(), KNOWN), "{text}");
            assert_eq!(cut(&text), expected);
        }
    }

    #[test]
    fn what_is_no_token_stays() {
        for text in [
            "",
            "eyJ",
            "eyJhbGciOiJub25lIn0",
            "eyJ.eyJ.eyJ",
            "opaque-token",
            "{\"resourceType\":\"Patient\",\"id\":\"eyJ1.2.3\"}",
        ] {
            assert!(!holds_token(text.as_bytes(), KNOWN), "{text}");
            assert_eq!(cut(text), text);
        }
        // A token so short is a word.
        assert!(!holds_token(b"tok", b"tok") && !holds_token(b"", b""));
    }

    proptest! {
        #[test]
        fn nothing_is_left_to_find(text in "([a-z .]|eyJ|opaque-token-of-the-gateway|[A-Za-z0-9]{16}|\\.){0,40}") {
            let mut bytes = text.into_bytes();
            cut_tokens(&mut bytes, KNOWN);
            prop_assert!(!holds_token(&bytes, KNOWN));
        }
    }
}
