//! Comma-separated values (RFC 4180) that a spreadsheet takes as texts.

/// Adds a row with its line end. A field that a spreadsheet would take for a formula gets an apostrophe in front.
pub(super) fn add<'f>(text: &mut String, fields: impl IntoIterator<Item = &'f str>) {
    for (number, field) in fields.into_iter().enumerate() {
        text.push_str(if number == 0 { "" } else { "," });
        let guard = if field.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
        if field.contains([',', '"', '\r', '\n']) {
            text.push('"');
            text.push_str(guard);
            text.push_str(&field.replace('"', "\"\""));
            text.push('"');
        } else {
            text.push_str(guard);
            text.push_str(field);
        }
    }
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be_and_never_formulas() {
        for (field, expected) in [
            ("", ""),
            ("a b", "a b"),
            ("a,b", "\"a,b\""),
            ("say \"a\"", "\"say \"\"a\"\"\""),
            ("a\nb", "\"a\nb\""),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@a", "'@a"),
            ("\ta", "'\ta"),
            ("\ra", "\"'\ra\""),
            ("=a,\"b\"", "\"'=a,\"\"b\"\"\""),
            ("1=2", "1=2"),
        ] {
            let mut text = String::new();
            add(&mut text, [field, "x"]);
            assert_eq!(text, format!("{expected},x\r\n"));
        }
    }
}
