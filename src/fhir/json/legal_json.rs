//! Legal JSON in any spelling: white space, the order of members, escapes, names that come twice where nobody reads them.

/// A document whose members have an order and may come twice.
#[derive(Debug, Clone)]
pub(crate) enum Json {
    Null,
    Number(String),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// An object with its members in any order.
    pub(crate) fn object(writer: &mut Writer, members: Vec<(&str, Json)>) -> Self {
        Self::Object(writer.shuffled(members))
    }
}

/// Makes up documents and spellings; the same seed makes the same.
pub(crate) struct Writer {
    state: u64,
}

impl Writer {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed | 1 }
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 33) as usize % end
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    pub(crate) fn shuffled(&mut self, mut members: Vec<(&str, Json)>) -> Vec<(String, Json)> {
        for at in (1..members.len()).rev() {
            let other = self.below(at + 1);
            members.swap(at, other);
        }
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Any value up to a depth, with the names that matter elsewhere.
    pub(crate) fn any(&mut self, depth: usize) -> Json {
        let names = ["resourceType", "entry", "resource", "fullUrl", "search", "id", "a\"}{", "", "ä\\"];
        let texts = ["}]}},{\"fullUrl\":\"", "Bundle", "\\", "\\\"", "é\u{1F600}\n\t", "", "/"];
        match self.below(if depth == 0 { 4 } else { 7 }) {
            0 => Json::Null,
            1 => Json::Number(["0", "-1.5e+3", "12", "true", "false"][self.below(5)].to_owned()),
            2 | 3 => Json::Text(texts[self.below(texts.len())].to_owned()),
            4 => Json::Array((0..self.below(4)).map(|_| self.any(depth - 1)).collect()),
            _ => Json::Object(
                (0..self.below(4)).map(|_| (names[self.below(names.len())].to_owned(), self.any(depth - 1))).collect(),
            ),
        }
    }

    pub(crate) fn write(&mut self, value: &Json) -> String {
        let mut text = String::new();
        self.write_to(value, &mut text);
        text
    }

    fn write_to(&mut self, value: &Json, text: &mut String) {
        self.space(text);
        match value {
            Json::Null => text.push_str("null"),
            Json::Number(number) => text.push_str(number),
            Json::Text(string) => self.string(string, text),
            Json::Array(items) => {
                text.push('[');
                for (at, item) in items.iter().enumerate() {
                    text.push_str(if at > 0 { "," } else { "" });
                    self.write_to(item, text);
                }
                self.space(text);
                text.push(']');
            }
            Json::Object(members) => {
                text.push('{');
                for (at, (name, value)) in members.iter().enumerate() {
                    text.push_str(if at > 0 { "," } else { "" });
                    self.space(text);
                    self.string(name, text);
                    self.space(text);
                    text.push(':');
                    self.write_to(value, text);
                }
                self.space(text);
                text.push('}');
            }
        }
        self.space(text);
    }

    fn space(&mut self, text: &mut String) {
        text.push_str(["", "", "", "", " ", "\n  ", "\r\n\t"][self.below(7)]);
    }

    fn string(&mut self, string: &str, text: &mut String) {
        let escapes = self.below(4) == 0;
        text.push('"');
        for character in string.chars() {
            match character {
                '/' if self.coin() => text.push_str("\\/"),
                '"' | '\\' | '\n' | '\t' => self.escaped(character, text),
                _ if escapes && self.below(3) == 0 => self.escaped(character, text),
                _ => text.push(character),
            }
        }
        text.push('"');
    }

    fn escaped(&mut self, character: char, text: &mut String) {
        let short = match character {
            '"' => Some("\\\""),
            '\\' => Some("\\\\"),
            '\n' => Some("\\n"),
            '\t' => Some("\\t"),
            _ => None,
        };
        match short.filter(|_| self.coin()) {
            Some(short) => text.push_str(short),
            None => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    text.push_str(&if self.coin() { format!("\\u{unit:04x}") } else { format!("\\u{unit:04X}") });
                }
            }
        }
    }
}
