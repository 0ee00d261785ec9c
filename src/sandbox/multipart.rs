//! The fields of a `multipart/form-data` body, as PHP's main/rfc1867.c finds them. Files are left out.

use std::borrow::Cow;

/// A field's name, and its value.
pub(super) type Field<'a> = (Cow<'a, [u8]>, &'a [u8]);

/// Returns the boundary that a Content-Type names.
pub(super) fn boundary(content_type: &str) -> Option<&str> {
    let at = content_type.to_ascii_lowercase().find("boundary")?;
    let (_, value) = content_type.get(at..)?.split_once('=')?;
    match value.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').map(|(inner, _)| inner),
        None => value.split([',', ';']).next(),
    }
}

/// Returns the fields of a body with this boundary, in order.
pub(super) fn fields<'a>(body: &'a [u8], boundary: &str) -> Vec<Field<'a>> {
    let delimiter = [b"--", boundary.as_bytes()].concat();
    let end_of_value = [b"\n", delimiter.as_slice()].concat();
    let mut fields = Vec::new();
    let mut rest = body;
    while let Some(at) = after_line(rest, &delimiter).and_then(|at| rest.get(at..)) {
        let Some((head, content)) = split_head(at) else { break };
        let end = memchr::memmem::find(content, &end_of_value);
        let value = content.get(..end.unwrap_or(content.len())).unwrap_or_default();
        rest = end.and_then(|end| content.get(end + 1..)).unwrap_or_default();
        if let Some(name) = name_of_field(&head) {
            let value = if end.is_some() { value.strip_suffix(b"\r").unwrap_or(value) } else { value };
            fields.push((Cow::Owned(name), value));
        }
    }
    fields
}

/// Returns where the text begins that follows the first line that is `line`.
fn after_line(text: &[u8], line: &[u8]) -> Option<usize> {
    let mut start = 0;
    while let Some(end) = memchr::memchr(b'\n', text.get(start..)?) {
        let found = text.get(start..start + end)?;
        start += end + 1;
        if found.strip_suffix(b"\r").unwrap_or(found) == line {
            return Some(start);
        }
    }
    None
}

/// Splits a part into the lines of its head, folded lines joined, and its content; `None` if the head has no end.
fn split_head(part: &[u8]) -> Option<(Vec<Vec<u8>>, &[u8])> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut rest = part;
    loop {
        let end = memchr::memchr(b'\n', rest)?;
        let (line, behind) = (rest.get(..end)?, rest.get(end + 1..)?);
        rest = behind;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match lines.last_mut() {
            _ if line.is_empty() => return Some((lines, rest)),
            Some(last) if line.first().is_some_and(u8::is_ascii_whitespace) => last.extend_from_slice(line),
            _ => lines.push(line.to_vec()),
        }
    }
}

/// Returns the `name` of a part that is no file.
fn name_of_field(head: &[Vec<u8>]) -> Option<Vec<u8>> {
    let disposition = head.iter().find_map(|line| {
        let at = memchr::memchr(b':', line)?;
        let (name, value) = line.split_at(at);
        name.eq_ignore_ascii_case(b"content-disposition").then(|| value.get(1..).unwrap_or_default())
    })?;
    let mut name = None;
    for parameter in parameters(disposition) {
        let Some(at) = memchr::memchr(b'=', parameter) else { continue };
        let (key, value) = parameter.split_at(at);
        match key.trim_ascii().to_ascii_lowercase().as_slice() {
            b"name" => name = Some(unquoted(value.get(1..).unwrap_or_default().trim_ascii())),
            b"filename" => return None,
            _ => {}
        }
    }
    name
}

/// Splits at each `;` outside quotes.
fn parameters(text: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let (mut start, mut quote, mut escaped) = (0, None, false);
    for (at, &byte) in text.iter().enumerate() {
        match (byte, quote) {
            _ if escaped => escaped = false,
            (b'\\', Some(_)) => escaped = true,
            (b'"' | b'\'', None) => quote = Some(byte),
            (_, Some(open)) if byte == open => quote = None,
            (b';', None) => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

fn unquoted(value: &[u8]) -> Vec<u8> {
    let Some((&quote, inner)) = value.split_first().filter(|(first, _)| matches!(first, b'"' | b'\'')) else {
        return value.split(u8::is_ascii_whitespace).next().unwrap_or_default().to_vec();
    };
    let mut out = Vec::new();
    let mut bytes = inner.iter().peekable();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' if bytes.peek().is_some_and(|&&next| next == quote || next == b'\\') => out.extend(bytes.next()),
            _ if byte == quote => break,
            _ => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bodies with the boundary `B`, as PHP 8.2 read them.
    #[test]
    fn fields_are_found_as_php_finds_them() {
        const CD: &str = "Content-Disposition: form-data; name=";
        for (body, expected) in [
            (format!("--B\n{CD}a\n\n1\n--B--\n"), vec![("a", "1")]),
            (format!("--B\r\n{CD}\"a\"\r\n\r\n1\r\n2\r\n--B\r\n{CD}'b'\r\n\r\nx"), vec![("a", "1\r\n2"), ("b", "x")]),
            (
                format!(
                    "pre\r\n--B\r\nX: y\r\ncontent-disposition: form-data; x=1; NAME=\"a\\\"b\"\r\n\r\n1\r\n--B--\r\n{CD}c\r\n\r\n1"
                ),
                vec![("a\"b", "1")],
            ),
            (format!("--B\r\n{CD}\"a[b]\"\r\n\r\n1\r\n--B\r\n{CD}\"q\"; filename=\"\"\r\n\r\n1\r\n--B--"), vec![("a[b]", "1")]),
            (format!("--Bx\r\n{CD}\"a\"\r\n\r\n1\r\n--B--"), vec![]),
            (
                format!("--B\r\n{CD}\"a\"\r\n\r\n1--B\r\n{CD}\"b\"\r\n\r\n2\r\n--B"),
                vec![("a", "1--B\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\n2")],
            ),
            (format!("--B\r\n{CD}\"a\"\r\n\r\n1\n--B\r\n{CD}\"b\"\r\n\r\n2\r\n--B"), vec![("a", "1"), ("b", "2")]),
            ("--B\r\nContent-Disposition: form-data;\r\n name=\"fold\"\r\n\r\n1\r\n--B--".to_owned(), vec![("fold", "1")]),
            ("--B\r\nContent-Disposition: attachment; name=\"att\"\r\n\r\n1\r\n--B--".to_owned(), vec![("att", "1")]),
            (format!("--B\r\n{CD}\"a%2eb c\"\r\nContent-Type: text/plain\r\n\r\n1\r\n--B--"), vec![("a%2eb c", "1")]),
            (format!("--B\r\n{CD}\"a\"\r\n\r\n\r\n--B--"), vec![("a", "")]),
            (format!("--B\r\n{CD}\"a\"\r\n\r\n--B--"), vec![("a", "--B--")]),
            (format!("--B\r\n{CD}\"a\""), vec![]),
            (format!("--B\r\n{CD}\"a\"\r\n\r\n1"), vec![("a", "1")]),
            (format!("--B\r\n{CD}\"a\"; filename\r\n\r\n1\r\n--B--"), vec![("a", "1")]),
        ] {
            let found = fields(body.as_bytes(), "B");
            let expected: Vec<Field<'_>> =
                expected.iter().map(|(name, value)| (Cow::Borrowed(name.as_bytes()), value.as_bytes())).collect();
            assert_eq!(found, expected, "{body}");
        }
    }

    #[test]
    fn boundaries() {
        for (content_type, expected) in [
            ("multipart/form-data; boundary=B", Some("B")),
            ("multipart/form-data; boundary=\"B,;\"; x", Some("B,;")),
            ("Multipart/form-data;BOUNDARY=B;x", Some("B")),
            ("multipart/form-data; boundary=B,C", Some("B")),
            ("multipart/form-data; x=boundary; boundary=B", Some("B")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=\"B", None),
        ] {
            assert_eq!(boundary(content_type), expected, "{content_type}");
        }
    }
}
