//! docs/logs.md has a row for each warning and error of the source.

use std::fs;
use std::path::{Path, PathBuf};

/// The source files below a folder, without those of tests and of the sandbox.
fn source_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.is_dir() && !["sandbox", "tests"].contains(&name) {
            source_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") && name != "tests" {
            found.push(path);
        }
    }
}

/// The texts of `warn!` and `error!` in a source file, with `…` in place of each value.
fn texts(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]\nmod tests").next().unwrap();
    let code = code.split("#[cfg(test)]\n#[allow(").next().unwrap();
    let mut found = Vec::new();
    for name in ["warn!(", "error!("] {
        for (at, _) in code.match_indices(name) {
            let is_whole_word = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if is_whole_word {
                found.push(text(&code[at..]));
            }
        }
    }
    found
}

/// The first string literal of an invocation, on one line.
fn text(invocation: &str) -> String {
    let mut rest = invocation.split_once('"').unwrap().1.chars().peekable();
    let mut text = String::new();
    while let Some(c) = rest.next() {
        match c {
            '"' => break,
            '\\' => match rest.next().unwrap() {
                '\n' => while rest.next_if(|c| c.is_whitespace()).is_some() {},
                escaped => text.push(escaped),
            },
            '{' => {
                text.push('…');
                rest.by_ref().find(|c| *c == '}').unwrap();
            }
            c => text.push(c),
        }
    }
    text
}

#[test]
fn each_warning_and_error_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/logs.md")).unwrap();
    let mut seen = 0;
    let mut files = Vec::new();
    source_files(&root.join("src"), &mut files);
    for path in files {
        for text in texts(&fs::read_to_string(&path).unwrap()) {
            seen += 1;
            let row = match text.as_str() {
                "…" => format!("| `…` (`{}`) |", path.file_stem().unwrap().to_str().unwrap()),
                text => format!("| `{text}` |"),
            };
            assert!(document.contains(&row), "{}: docs/logs.md has no row that begins with  {row}", path.display());
        }
    }
    assert!(seen > 50, "only {seen} warnings and errors were found in src");
}

#[test]
fn a_text_is_read_as_the_compiler_reads_it() {
    let source = "fn f() { warn!(request_id:% = id; \"site {name}: a \\\n     b{}\", c); log::error!(\"no\"); }\n\
                  #[cfg(test)]\nmod tests { fn f() { warn!(\"not\") } }";
    assert_eq!(texts(source), ["site …: a b…", "no"]);
}
