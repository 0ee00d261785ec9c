//! The values of a search parameter and their escapes (FHIR R4, "Search", 3.1.1.4.2).

/// Why a parameter cannot be tested on resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Untestable {
    /// It is not known what it selects by.
    Undefined,
    /// It has a modifier that cannot be tested.
    Modifier,
    /// Its value is none of its kind.
    Value,
}

/// Splits a text at each separator that is not escaped.
pub(super) fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_escaped = false;
    text.split(move |character| {
        let was_escaped = std::mem::take(&mut is_escaped);
        is_escaped = character == '\\' && !was_escaped;
        character == separator && !was_escaped
    })
}

/// Returns a text without its escapes: `\,`, `\|`, `\$` and `\\`.
///
/// # Errors
/// It has another escape.
pub(super) fn unescaped(text: &str) -> Result<String, Untestable> {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        plain.push(match character {
            '\\' => characters.next().filter(|escaped| matches!(escaped, ',' | '|' | '$' | '\\')).ok_or(Untestable::Value)?,
            other => other,
        });
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_split_where_no_backslash_stands_before() {
        let parts = |text| split(text, ',').collect::<Vec<_>>();
        assert_eq!(parts(r"a\,b,c\\,d"), [r"a\,b", r"c\\", "d"]);
        assert_eq!(parts(r",\\\,,"), ["", r"\\\,", ""]);
        assert_eq!(parts(""), [""]);
    }

    #[test]
    fn only_the_four_escapes_are_known() {
        assert_eq!(unescaped(r"\,\|\$\\n"), Ok(r",|$\n".to_owned()));
        for bad in [r"\n", r"a\", r"\ ", r"\\\"] {
            assert_eq!(unescaped(bad), Err(Untestable::Value), "{bad}");
        }
    }
}
