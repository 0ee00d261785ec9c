//! What Apache makes of a request target before PHP sees it: the path decoded and normalised, and `apis/.htaccess`,
//! which hands it to PHP as a variable of the query:
//!
//! ```text
//! RewriteRule (.*) dispatch.php?_REWRITE_COMMAND=$1 [QSA,L]
//! ```
//!
//! The rule does not encode the path again (it has no `B` flag), and the caller's query follows behind it (`QSA`). So a
//! caller can name the variable once more, in its query or behind an `&` in its path, and PHP keeps the last one. As
//! measured with Apache 2.4.71.

use super::{answer::Answer, error_answers, php_variables::hex};

/// The folder with the rule.
const FOLDER: &[u8] = b"/apis/";

/// A target that was rewritten.
pub(crate) struct Rewritten {
    /// The path below the folder, decoded and normalised: the route that was asked for.
    pub(crate) path: Vec<u8>,
    /// The query that PHP gets.
    pub(crate) query: Vec<u8>,
}

/// Why Apache refuses a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefusedPath {
    /// It is malformed.
    BadRequest,
    /// Nothing is there: an encoded slash, or outside of the folder.
    NotFound,
    /// The rewritten query would have a blank or a control character.
    Forbidden,
}

impl RefusedPath {
    /// Returns Apache's error page.
    pub(super) fn answer(self) -> Answer {
        match self {
            RefusedPath::BadRequest => error_answers::bad_request(),
            RefusedPath::NotFound => error_answers::no_such_file(),
            RefusedPath::Forbidden => Answer::apache(403, "Forbidden", "You don't have permission to access this resource."),
        }
    }
}

/// Rewrites a target below `/apis/`.
///
/// # Errors
/// Apache refuses the path.
pub(crate) fn rewrite(path: &str, query: &str) -> Result<Rewritten, RefusedPath> {
    let path = normalised(path.as_bytes())?;
    let Some(rest) = path.strip_prefix(FOLDER).filter(|rest| !rest.is_empty()) else {
        return Err(RefusedPath::NotFound);
    };
    let mut rewritten = b"_REWRITE_COMMAND=".to_vec();
    match rest.iter().position(|&byte| byte == b'#') {
        // What follows is taken for a fragment, the caller's query included.
        Some(at) => rewritten.extend_from_slice(rest.get(..at).unwrap_or_default()),
        None => {
            rewritten.extend_from_slice(rest);
            if !query.is_empty() {
                rewritten.push(b'&');
                rewritten.extend_from_slice(query.as_bytes());
            }
        }
    }
    if rewritten.iter().any(|byte| byte.is_ascii_control() || *byte == b' ') {
        return Err(RefusedPath::Forbidden);
    }
    Ok(Rewritten { path: rest.to_vec(), query: rewritten })
}

/// Decodes a path, joins its slashes and resolves its dot segments.
fn normalised(path: &[u8]) -> Result<Vec<u8>, RefusedPath> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let pair = tail.split_at_checked(2).and_then(|(pair, behind)| Some((hex(*pair.first()?, *pair.last()?)?, behind)));
        match pair {
            None => return Err(RefusedPath::BadRequest),
            Some((b'/' | 0, _)) => {
                return Err(RefusedPath::NotFound);
            }
            Some((byte, behind)) => {
                decoded.push(byte);
                rest = behind;
            }
        }
    }
    let mut segments: Vec<&[u8]> = Vec::new();
    let ends_with_slash = [&b"/"[..], b"/.", b"/.."].iter().any(|end| decoded.ends_with(end));
    for segment in decoded.split(|&byte| byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." if segments.pop().is_none() => return Err(RefusedPath::BadRequest),
            b".." => {}
            segment => segments.push(segment),
        }
    }
    let mut normalised = vec![b'/'];
    normalised.extend(segments.join(&b'/'));
    if ends_with_slash && !segments.is_empty() {
        normalised.push(b'/');
    }
    Ok(normalised)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Targets below `/apis/`, and what Apache 2.4.71 made of them.
    #[test]
    fn targets_are_rewritten_as_apache_rewrites_them() {
        for (path, query, expected) in [
            ("default/fhir/Patient", "", Ok("_REWRITE_COMMAND=default/fhir/Patient")),
            ("default/fhir/Patient", "a=b&c", Ok("_REWRITE_COMMAND=default/fhir/Patient&a=b&c")),
            ("default/x%26_REWRITE_COMMAND=y/z", "", Ok("_REWRITE_COMMAND=default/x&_REWRITE_COMMAND=y/z")),
            ("default/x&y", "", Ok("_REWRITE_COMMAND=default/x&y")),
            ("default/x%23y", "b=1", Ok("_REWRITE_COMMAND=default/x")),
            ("default/x%3Fy=1", "", Ok("_REWRITE_COMMAND=default/x?y=1")),
            ("default/x+y", "", Ok("_REWRITE_COMMAND=default/x+y")),
            ("default/x;y", "", Ok("_REWRITE_COMMAND=default/x;y")),
            ("default/..;/x", "", Ok("_REWRITE_COMMAND=default/..;/x")),
            ("default/%252e", "", Ok("_REWRITE_COMMAND=default/%2e")),
            ("default/a%5cb", "", Ok("_REWRITE_COMMAND=default/a\\b")),
            ("default//fhir///x/", "", Ok("_REWRITE_COMMAND=default/fhir/x/")),
            ("default/./x/../y", "", Ok("_REWRITE_COMMAND=default/y")),
            ("default/%2e%2e/y", "", Ok("_REWRITE_COMMAND=y")),
            ("../z", "", Err(404)),
            ("", "", Err(404)),
            ("default/a%2fb", "", Err(404)),
            ("default/%00", "", Err(404)),
            ("default/%zz", "", Err(400)),
            ("default/%4", "", Err(400)),
            ("default/x%20y", "", Err(403)),
            ("default/x%0a", "", Err(403)),
            ("default/x%7fy", "", Err(403)),
        ] {
            let found = rewrite(&format!("/apis/{path}"), query);
            let text = |rewritten: Rewritten| String::from_utf8_lossy(&rewritten.query).into_owned();
            let found = found.map(text).map_err(|refused| refused.answer().status);
            assert_eq!(found, expected.map(str::to_owned), "{path}?{query}");
        }
    }
}
