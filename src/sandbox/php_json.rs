//! Writes JSON as PHP's `json_encode` does.
//!
//! OpenEMR's answers differ in their escapes, and a program that rewrites links in them must handle each: Symfony's
//! `JsonResponse` (8.0's FHIR answers), plain `json_encode` (tokens, errors, exports) and `JSON_UNESCAPED_SLASHES`
//! (7.0.3's FHIR answers). All of them write everything outside ASCII as `\uXXXX`.

use serde_json::Value;

/// The flags with which OpenEMR calls `json_encode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escapes {
    /// No flags: `/` becomes `\/`.
    Plain,
    /// `JSON_UNESCAPED_SLASHES`.
    BareSlashes,
    /// `JSON_HEX_TAG | JSON_HEX_APOS | JSON_HEX_AMP | JSON_HEX_QUOT`, Symfony's default: `<` becomes `\u003C`.
    Hex,
}

/// Writes `value` on one line, members in their order.
pub(super) fn encode(value: &Value, escapes: Escapes) -> String {
    let mut out = String::with_capacity(256);
    write_value(&mut out, value, escapes);
    out
}

/// Writes `text` as a JSON string, quotes included.
pub(super) fn encode_string(text: &str, escapes: Escapes) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    write_string(&mut out, text, escapes);
    out
}

fn write_value(out: &mut String, value: &Value, escapes: Escapes) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) => write_string(out, text, escapes),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(out, item, escapes);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (index, (name, member)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_string(out, name, escapes);
                out.push(':');
                write_value(out, member, escapes);
            }
            out.push('}');
        }
    }
}

fn write_string(out: &mut String, text: &str, escapes: Escapes) {
    let hex = escapes == Escapes::Hex;
    out.push('"');
    for character in text.chars() {
        match character {
            '"' if hex => out.push_str("\\u0022"),
            '<' if hex => out.push_str("\\u003C"),
            '>' if hex => out.push_str("\\u003E"),
            '&' if hex => out.push_str("\\u0026"),
            '\'' if hex => out.push_str("\\u0027"),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '/' if escapes != Escapes::BareSlashes => out.push_str("\\/"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ' '..='\u{7f}' => out.push(character),
            _ => {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_flag_set_escapes_as_the_recordings_show() {
        let value = json!({"div": "<p class=\"a\">José & 'x' 😀</p>", "n": [1, 2.5, null, true]});
        assert_eq!(
            encode(&value, Escapes::Plain),
            r#"{"div":"<p class=\"a\">Jos\u00e9 & 'x' \ud83d\ude00<\/p>","n":[1,2.5,null,true]}"#
        );
        assert_eq!(
            encode(&value, Escapes::BareSlashes),
            r#"{"div":"<p class=\"a\">Jos\u00e9 & 'x' \ud83d\ude00</p>","n":[1,2.5,null,true]}"#
        );
        assert_eq!(
            encode(&value, Escapes::Hex),
            r#"{"div":"\u003Cp class=\u0022a\u0022\u003EJos\u00e9 \u0026 \u0027x\u0027 \ud83d\ude00\u003C\/p\u003E","n":[1,2.5,null,true]}"#
        );
    }

    #[test]
    fn what_is_written_reads_back() {
        let value = json!({"a\n\u{1}\\": ["\u{7f}\u{8}\t", "/"], "e": {}});
        for escapes in [Escapes::Plain, Escapes::BareSlashes, Escapes::Hex] {
            assert_eq!(serde_json::from_str::<Value>(&encode(&value, escapes)).ok(), Some(value.clone()));
        }
    }
}
