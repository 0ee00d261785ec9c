//! Parameters whose names PHP reads as one: it keeps the last of them, and OpenEMR's search ignores a name that stands in the
//! query and in the form. So a name leaves for OpenEMR once.
//!
//! Decision: `docs/decisions/29-php-names.md`.

use std::borrow::Cow;
use std::fmt;

use crate::fhir::search_parameters::shown;
use crate::http::query::{Parameter, parameters};
use crate::openemr::php::name::Name;

/// The parameters that are about the answer to a search, and can have one value.
const OF_ANSWERS: [&str; 10] =
    ["_format", "_pretty", "_summary", "_elements", "_total", "_count", "_offset", "_sort", "_contained", "_containedType"];

/// The names that may stand more than once with different values, because the gateway reads them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MayRepeat {
    /// None.
    Nothing,
    /// These, with any modifier.
    Names(&'static [&'static str]),
    /// Those of a search: filters, which mean *and* (FHIR R4, "Search", 3.1.1.5.5), and `_include` and `_revinclude`, each of which
    /// asks for more (3.1.1.5.4). The parameters about the answer may not.
    Filters,
}

impl MayRepeat {
    fn has(self, key: &[u8]) -> bool {
        match self {
            Self::Nothing => false,
            Self::Names(names) => names.iter().any(|name| is_name(key, name)),
            Self::Filters => !OF_ANSWERS.iter().any(|name| is_name(key, name)),
        }
    }
}

/// A name that stands more than once, and says different things. The text is a sentence for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Repeated {
    /// In one place.
    #[error(
        "{} more than once, with different values: OpenEMR's PHP would keep the last one alone. Ask once; values with commas \
         between them mean or.",
        Named(.0.as_deref())
    )]
    Again(Option<String>),
    /// In the query and in the form.
    #[error("{} both in the query and in the form, with different values: OpenEMR would use neither. Send it once.", Named(.0.as_deref()))]
    InBothPlaces(Option<String>),
}

/// Writes the beginning of a sentence about a parameter.
struct Named<'a>(Option<&'a str>);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "The parameter {name} stands"),
            None => f.write_str("A parameter stands"),
        }
    }
}

/// Returns the parameters of a query (without its `?`) and of a form in their order, each that says the same as one before it
/// left out.
///
/// # Errors
/// A name that PHP would drop: one that may not repeat, or that is written in two ways.
pub(crate) fn distinct<'a>(query: &'a [u8], form: &'a [u8], may_repeat: MayRepeat) -> Result<Vec<Parameter<'a>>, Repeated> {
    let mut all: Vec<_> = parameters(query).collect();
    let in_query = all.len();
    all.extend(parameters(form));
    if all.len() < 2 {
        return Ok(all);
    }
    let mut keyed: Vec<_> = all.iter().enumerate().map(|(at, one)| (key(&one.name), one.value.as_ref(), at)).collect();
    keyed.sort_unstable();
    let mut again = Vec::new();
    let name_of = |at: usize| all.get(at).map(|parameter| parameter.name.as_ref());
    for pair in keyed.windows(2) {
        let [(first, one, one_at), (second, other, other_at)] = pair else { continue };
        if first != second {
            continue;
        }
        if one == other {
            again.push(*other_at);
        } else if !may_repeat.has(second) || name_of(*one_at) != name_of(*other_at) {
            let name = name_of(*other_at).and_then(shown).map(str::to_owned);
            let is_in_both = (*one_at < in_query) != (*other_at < in_query);
            return Err(if is_in_both { Repeated::InBothPlaces(name) } else { Repeated::Again(name) });
        }
    }
    if !again.is_empty() {
        again.sort_unstable();
        let mut at = 0;
        all.retain(|_| {
            at += 1;
            again.binary_search(&(at - 1)).is_err()
        });
    }
    Ok(all)
}

/// The name as PHP reads it; the written one where nothing would be left of it.
fn key(name: &str) -> Cow<'_, [u8]> {
    Name::read(name.as_bytes()).map_or(Cow::Borrowed(name.as_bytes()), |read| read.key)
}

/// Whether a key is that name, with a modifier or without.
fn is_name(key: &[u8], name: &str) -> bool {
    key.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b":"))
}

/// Returns a query (without its `?`) without the parameters that the form has, too; `None` where it has none of those.
#[must_use]
pub(crate) fn only_in_query(query: &[u8], form: &[u8]) -> Option<Vec<u8>> {
    if query.is_empty() || form.is_empty() {
        return None;
    }
    let in_form: Vec<_> = parameters(form).collect();
    let is_in_form =
        |one: &Parameter<'_>| in_form.iter().any(|other| key(&other.name) == key(&one.name) && other.value == one.value);
    let kept: Vec<&[u8]> = parameters(query).filter(|one| !is_in_form(one)).map(|one| one.pair).collect();
    (kept.len() < parameters(query).count()).then(|| kept.join(&b'&'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INCLUDES: MayRepeat = MayRepeat::Names(&["_include", "_revinclude"]);

    fn read(query: &str, form: &str) -> Result<String, Repeated> {
        read_as(query, form, INCLUDES)
    }

    fn read_as(query: &str, form: &str, may_repeat: MayRepeat) -> Result<String, Repeated> {
        let distinct = distinct(query.as_bytes(), form.as_bytes(), may_repeat)?;
        Ok(distinct.iter().map(|one| String::from_utf8_lossy(one.pair)).collect::<Vec<_>>().join("&"))
    }

    #[test]
    fn what_says_the_same_twice_stays_once() {
        for (query, form, left) in [
            ("", "", ""),
            ("a=1", "", "a=1"),
            ("a=1&b=2&a=1", "", "a=1&b=2"),
            ("a=%31&a=1", "", "a=%31"),
            ("a=1&b=2", "b=2&a=1&c=3", "a=1&b=2&c=3"),
            ("a.b=1&a_b=1", "", "a.b=1"),
            ("a=1&a:exact=2&A=3", "", "a=1&a:exact=2&A=3"),
            (
                "_include=x&_include=y&_include=x&_revinclude:iterate=1",
                "_revinclude:iterate=2",
                "_include=x&_include=y&_revinclude:iterate=1&_revinclude:iterate=2",
            ),
            ("&&a=1&=x&a=1", "", "a=1"),
        ] {
            assert_eq!(read(query, form).as_deref(), Ok(left), "{query} {form}");
        }
    }

    #[test]
    fn what_says_something_else_is_refused_and_named() {
        let again = |name: &str| Err(Repeated::Again(Some(name.to_owned())));
        let both = |name: &str| Err(Repeated::InBothPlaces(Some(name.to_owned())));
        for (query, form, refused) in [
            ("birthdate=ge1960-01-01&birthdate=lt1980-01-01", "", again("birthdate")),
            ("x=1&birthdate=a&y=2&%62irthdate=b", "", again("birthdate")),
            ("", "a=1&a=2", again("a")),
            ("a=1", "a=2", both("a")),
            ("a.b=1&a_b=2", "", again("a_b")),
            ("a=&a=1", "", again("a")),
            ("a=1&a", "", again("a")),
            ("_count=5&_count=6", "", again("_count")),
            ("name:exact=a&name:exact=b", "", again("name:exact")),
            ("_includes=a&_includes=b", "", again("_includes")),
            ("John Doe=1&John Doe=2", "", Err(Repeated::Again(None))),
        ] {
            let error = read(query, form);
            assert_eq!(error, refused, "{query} {form}");
            assert!(!error.unwrap_err().to_string().contains("1960"));
        }
        assert!(Repeated::Again(None).to_string().starts_with("A parameter stands more than once"));
    }

    #[test]
    fn filters_of_a_search_may_repeat_and_what_is_about_the_answer_may_not() {
        for (query, form, left) in [
            ("a=1&a=2&a=1", "", "a=1&a=2"),
            ("a=1", "a=2&a=1", "a=1&a=2"),
            ("_id=1&_id=2&a:not=1&a:not=2", "_include=x&_include=y", "_id=1&_id=2&a:not=1&a:not=2&_include=x&_include=y"),
        ] {
            assert_eq!(read_as(query, form, MayRepeat::Filters).as_deref(), Ok(left), "{query} {form}");
        }
        for (query, form) in [("_count=1&_count=2", ""), ("_summary=true", "_summary=text"), ("_sort:a=1&_sort:a=2", "")] {
            assert!(read_as(query, form, MayRepeat::Filters).is_err(), "{query} {form}");
        }
        // One name to PHP, and two to everybody else.
        assert!(read_as("a.b=1&a_b=2", "", MayRepeat::Filters).is_err());
        assert!(read_as("a=1&a=2", "", MayRepeat::Nothing).is_err());
    }

    #[test]
    fn a_query_loses_what_the_form_says_too() {
        for (query, form, left) in [
            ("a=1&b=2", "a=1", Some("b=2")),
            ("a.b=1", "a_b=1", Some("")),
            ("a=1", "b=1", None),
            ("_include=1&_include=2", "_include=2", Some("_include=1")),
            ("", "b=1", None),
            ("a=1", "", None),
        ] {
            assert_eq!(only_in_query(query.as_bytes(), form.as_bytes()).as_deref(), left.map(str::as_bytes), "{query} {form}");
        }
    }

    proptest! {
        /// What stays has each name once, and every name of before; what is refused has a name with two values.
        #[test]
        fn each_name_stays_once(pairs in proptest::collection::vec(("[ab._]{1,3}", "[12]?"), 0..7), split in 0_usize..7) {
            let split = split.min(pairs.len());
            let text = |pairs: &[(String, String)]| {
                pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
            };
            let php = |name: &str| name.replace('.', "_");
            let mut meant = std::collections::BTreeMap::new();
            let mut differs = false;
            for (name, value) in &pairs {
                differs |= meant.insert(php(name), value).is_some_and(|before| before != value);
            }
            match distinct(text(&pairs[..split]).as_bytes(), text(&pairs[split..]).as_bytes(), MayRepeat::Nothing) {
                Ok(left) => {
                    prop_assert!(!differs);
                    let names: Vec<_> = left.iter().map(|one| php(&one.name)).collect();
                    let set: std::collections::BTreeSet<_> = names.iter().cloned().collect();
                    prop_assert_eq!(names.len(), set.len());
                    prop_assert_eq!(set, meant.into_keys().collect());
                }
                Err(_) => prop_assert!(differs),
            }
        }
    }
}
