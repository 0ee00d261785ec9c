//! Reads Rust source text as far as the layout test needs it: which paths a file names, outside its tests.

/// A path that a file names, such as `["crate", "fhir", "prefer", "Prefer"]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The segments; `*` is the last one of a glob import.
    pub path: Vec<String>,
    /// The line on which it begins, counted from 1.
    pub line: usize,
}

/// An import: the path, and the name that it has in the importing file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// What is imported.
    pub named: Named,
    /// The name under which it is imported.
    pub alias: String,
    /// Whether other modules can reach it through this file (`pub use`, `pub(crate) use`).
    pub is_public: bool,
}

/// What a file names.
#[derive(Debug, Default)]
pub struct Source {
    /// Its `use` declarations, one for each name.
    pub imports: Vec<Import>,
    /// Paths of two segments or more in its code.
    pub paths: Vec<Named>,
    /// Lines of code without its tests: neither blank nor only a comment.
    pub lines: usize,
}

impl Source {
    /// Reads a whole file. Items under `#[cfg(test)]` are left out.
    pub fn read(text: &str) -> Self {
        let tokens = without_tests(&tokens(text));
        let mut source = Self { lines: lines(&tokens), ..Self::default() };
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            // `use<'a>` in a type captures lifetimes, and imports nothing.
            if token.text == "use" && text_at(&tokens, at + 1) != "<" {
                let is_public = is_public(&tokens, at);
                at += 1;
                source.import(&tokens, &mut at, &[], is_public);
            } else if token.is_name() && !follows_path(&tokens, at) {
                let mut path = vec![token.text.clone()];
                let line = token.line;
                at += 1;
                while text_at(&tokens, at) == "::" && tokens.get(at + 1).is_some_and(Token::is_name) {
                    path.push(tokens[at + 1].text.clone());
                    at += 2;
                }
                if path.len() > 1 {
                    source.paths.push(Named { path, line });
                }
            } else {
                at += 1;
            }
        }
        source
    }

    /// Reads one tree of a `use` declaration, `prefix` being what stands before its braces.
    fn import(&mut self, tokens: &[Token], at: &mut usize, prefix: &[String], is_public: bool) {
        let mut path = prefix.to_vec();
        let line = tokens.get(*at).map_or(0, |token| token.line);
        loop {
            match text_at(tokens, *at) {
                "{" => {
                    *at += 1;
                    while !matches!(text_at(tokens, *at), "}" | ";" | "") {
                        self.import(tokens, at, &path, is_public);
                        if text_at(tokens, *at) == "," {
                            *at += 1;
                        }
                    }
                    *at += 1;
                    return;
                }
                "::" => *at += 1,
                "as" => {
                    let alias = text_at(tokens, *at + 1).to_owned();
                    *at += 2;
                    return self.imported(path, alias, line, is_public);
                }
                "," | "}" | ";" | "" => {
                    let alias = path.last().cloned().unwrap_or_default();
                    return self.imported(path, alias, line, is_public);
                }
                "self" if path.len() > prefix.len() || !prefix.is_empty() => *at += 1,
                name => {
                    path.push(name.to_owned());
                    *at += 1;
                }
            }
        }
    }

    fn imported(&mut self, path: Vec<String>, alias: String, line: usize, is_public: bool) {
        if !path.is_empty() {
            self.imports.push(Import { named: Named { path, line }, alias, is_public });
        }
    }
}

/// A piece of code: a name, `::`, or one other character.
#[derive(Debug, Clone)]
struct Token {
    text: String,
    line: usize,
}

impl Token {
    fn is_name(&self) -> bool {
        self.text.starts_with(|first: char| first.is_alphabetic() || first == '_')
    }
}

fn text_at(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| token.text.as_str())
}

/// Whether the token continues a path or is a field or a method, and so begins none.
fn follows_path(tokens: &[Token], at: usize) -> bool {
    at.checked_sub(1).is_some_and(|before| matches!(text_at(tokens, before), "::" | "."))
}

fn is_public(tokens: &[Token], at: usize) -> bool {
    // `pub use` or `pub(…) use`: nothing else can stand between the two.
    let mut before = tokens.get(..at).unwrap_or_default().iter().rev().map(|token| token.text.as_str());
    match before.next() {
        Some("pub") => true,
        Some(")") => before.find(|text| *text == "(").is_some() && before.next() == Some("pub"),
        _ => false,
    }
}

fn lines(tokens: &[Token]) -> usize {
    let mut lines: Vec<usize> = tokens.iter().map(|token| token.line).collect();
    lines.dedup();
    lines.len()
}

/// The tokens of a text, without comments, and with each literal as one `"`.
fn tokens(text: &str) -> Vec<Token> {
    let characters: Vec<char> = text.chars().collect();
    let get = |at: usize| characters.get(at).copied().unwrap_or('\0');
    let (mut tokens, mut at, mut line) = (Vec::new(), 0, 1);
    while at < characters.len() {
        let start = at;
        let begins_on = line;
        let found = match get(at) {
            '/' if get(at + 1) == '/' => {
                while at < characters.len() && get(at) != '\n' {
                    at += 1;
                }
                None
            }
            '/' if get(at + 1) == '*' => {
                let mut depth = 0;
                loop {
                    match (get(at), get(at + 1)) {
                        ('/', '*') => (depth, at) = (depth + 1, at + 2),
                        ('*', '/') => (depth, at) = (depth - 1, at + 2),
                        _ => at += 1,
                    }
                    if depth == 0 || at >= characters.len() {
                        break;
                    }
                }
                None
            }
            '"' => {
                at = end_of_string(&characters, at);
                Some("\"".to_owned())
            }
            'r' | 'b' | 'c' if begins_literal(&characters, at) => {
                while get(at) != '"' && get(at) != '\'' && get(at) != '#' {
                    at += 1;
                }
                at = match get(at) {
                    '\'' => end_of_character(&characters, at),
                    _ if characters[start..at].contains(&'r') => end_of_raw_string(&characters, at),
                    _ => end_of_string(&characters, at),
                };
                Some("\"".to_owned())
            }
            '\'' if get(at + 1) == '\\' || get(at + 2) == '\'' => {
                at = end_of_character(&characters, at);
                Some("\"".to_owned())
            }
            ':' if get(at + 1) == ':' => {
                at += 2;
                Some("::".to_owned())
            }
            first if first.is_alphabetic() || first == '_' => {
                while get(at).is_alphanumeric() || get(at) == '_' {
                    at += 1;
                }
                Some(characters[start..at].iter().collect())
            }
            white if white.is_whitespace() => {
                at += 1;
                None
            }
            other => {
                at += 1;
                Some(other.to_string())
            }
        };
        line += characters[start..at.min(characters.len())].iter().filter(|character| **character == '\n').count();
        tokens.extend(found.map(|text| Token { text, line: begins_on }));
    }
    tokens
}

/// Whether `r`, `b`, `c`, `br` or `cr` here begins a string, a byte string or a byte.
fn begins_literal(characters: &[char], at: usize) -> bool {
    let rest: String = characters[at..].iter().take(3).collect();
    ["r\"", "r#\"", "r##", "b\"", "b'", "c\"", "br\"", "br#", "cr\"", "cr#"].iter().any(|start| rest.starts_with(start))
}

fn end_of_string(characters: &[char], quote: usize) -> usize {
    let mut at = quote + 1;
    while let Some(character) = characters.get(at) {
        match character {
            '"' => return at + 1,
            '\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

fn end_of_raw_string(characters: &[char], hashes_begin: usize) -> usize {
    let hashes = characters[hashes_begin..].iter().take_while(|character| **character == '#').count();
    let mut at = hashes_begin + hashes + 1;
    while at < characters.len() {
        let closes = characters[at] == '"' && characters[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
        at += 1;
        if closes {
            return at + hashes;
        }
    }
    at
}

fn end_of_character(characters: &[char], quote: usize) -> usize {
    let mut at = quote + 1;
    while let Some(character) = characters.get(at) {
        match character {
            '\'' => return at + 1,
            '\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

/// The tokens without each item that stands under `#[cfg(test)]`.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if begins_test_attribute(tokens, at) {
            at = end_of_item(tokens, at);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

fn begins_test_attribute(tokens: &[Token], at: usize) -> bool {
    ["#", "[", "cfg", "(", "test", ")", "]"].iter().enumerate().all(|(ahead, text)| text_at(tokens, at + ahead) == *text)
}

/// Behind the item that begins here: behind its `;`, or behind its block.
fn end_of_item(tokens: &[Token], start: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && token.text == "}" {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}
