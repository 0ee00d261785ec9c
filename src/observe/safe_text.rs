//! Text that can hold anything, written so that it stays on its line and does nothing to a terminal.

use std::fmt::{self, Display, Write as _};

/// The longest message or value that is written whole, in bytes.
pub(super) const LONGEST: usize = 16 * 1024;

/// How text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// As it is; each character that is not safe becomes a blank.
    Plain,
    /// As a string of JSON, with its quotes; each character that is not safe is escaped.
    Json,
}

/// Writes the text of `value`, [`LONGEST`] bytes of it at most.
pub(super) fn write(out: &mut Vec<u8>, style: Style, value: impl Display) {
    write_with(out, style, |text| {
        // Only a `Display` of its own making fails; what it wrote stays.
        let _ = write!(text, "{value}");
    });
}

/// Writes a text, [`LONGEST`] bytes of it at most.
pub(super) fn write_text(out: &mut Vec<u8>, style: Style, value: &str) {
    write_with(out, style, |text| text.write_part(value));
}

fn write_with(out: &mut Vec<u8>, style: Style, write: impl FnOnce(&mut SafeText<'_>)) {
    if style == Style::Json {
        out.push(b'"');
    }
    let mut text = SafeText { out, style, room: LONGEST, cut: 0 };
    write(&mut text);
    let cut = text.cut;
    if cut > 0 {
        out.extend_from_slice(format!(" … ({cut} bytes more)").as_bytes());
    }
    if style == Style::Json {
        out.push(b'"');
    }
}

struct SafeText<'a> {
    out: &'a mut Vec<u8>,
    style: Style,
    room: usize,
    cut: usize,
}

impl fmt::Write for SafeText<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write_part(text);
        Ok(())
    }
}

impl SafeText<'_> {
    fn write_part(&mut self, text: &str) {
        let kept = begin(text, self.room);
        self.cut += text.len() - kept.len();
        self.room = if self.cut > 0 { 0 } else { self.room - kept.len() };
        if kept.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
            return self.out.extend_from_slice(kept.as_bytes());
        }
        for c in kept.chars() {
            self.write_one(c);
        }
    }

    fn write_one(&mut self, c: char) {
        match (self.style, c) {
            (Style::Json, '"' | '\\') => self.out.extend_from_slice(&[b'\\', c as u8]),
            (Style::Json, c) if is_unshowable(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    self.out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
                }
            }
            (Style::Plain, c) if is_unshowable(c) => self.out.push(b' '),
            (_, c) => self.out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Whether a terminal would obey this character, or show nothing in its place: a control character, one that changes the direction
/// or breaks the line, or one without a width.
#[must_use]
pub(crate) fn is_unshowable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Returns the beginning of `text` that has `most` bytes at most.
pub(super) fn begin(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn written(style: Style, text: &str) -> String {
        let mut out = Vec::new();
        write(&mut out, style, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_leaves_its_line_or_reaches_the_terminal() {
        let text = "a\r\nb\u{1b}[2Jc\u{9b}d\u{7f}e\u{2028}f\u{202e}g\u{2066}h\u{200b}i\u{e0041}j é\"\\";
        assert_eq!(written(Style::Plain, text), "a  b [2Jc d e f g h i j é\"\\");
        let json = written(Style::Json, text);
        assert!(!json.contains(is_unshowable), "{json:?}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        let text = format!("x{}", "é".repeat(LONGEST));
        let plain = written(Style::Plain, &text);
        let (kept, more) = plain.split_once(" … (").unwrap();
        assert_eq!((kept.len(), more), (LONGEST - 1, &*format!("{} bytes more)", text.len() - kept.len())));
        assert!(serde_json::from_str::<String>(&written(Style::Json, &text)).is_ok());
        assert_eq!(written(Style::Plain, &"x".repeat(LONGEST)).len(), LONGEST);
    }
}
