//! How PHP reads the name of a parameter (`php_register_variable_ex`).

use std::borrow::Cow;

/// A name as PHP reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name<'a> {
    /// The key in `$_GET` or `$_POST`. Its case is kept.
    pub(crate) key: Cow<'a, [u8]>,
    /// Whether the parameter is an element of an array of that name: `name[]`, `name[0]`, `name[a][b]`.
    pub(crate) is_array: bool,
}

impl<'a> Name<'a> {
    /// Reads a decoded name; `None` where PHP drops the parameter, because nothing is left of its name.
    #[must_use]
    pub(crate) fn read(decoded: &'a [u8]) -> Option<Self> {
        let ended = memchr::memchr(0, decoded).map_or(decoded, |at| decoded.get(..at).unwrap_or_default());
        let blanks = ended.iter().take_while(|byte| **byte == b' ').count();
        let name = ended.get(blanks..).unwrap_or_default();
        let bracket = memchr::memchr(b'[', name);
        let before = bracket.map_or(name, |at| name.get(..at).unwrap_or_default());
        if before.is_empty() {
            return None;
        }
        let is_array = bracket.is_some_and(|at| is_index(name.get(at + 1..).unwrap_or_default()));
        Some(Self { key: mangled(if is_array { before } else { name }), is_array })
    }
}

/// Whether a decoded name is a key to PHP exactly as it is written, but for the dots of a chain (`patient.name`), which become
/// `_`. Every name that FHIR defines is.
#[must_use]
pub(crate) fn is_plain(decoded: &[u8]) -> bool {
    decoded.first() != Some(&b'.') && !decoded.iter().any(|byte| matches!(byte, b' ' | b'[' | 0))
}

/// Whether what follows the first `[` of a name has its `]`. One white space may stand before it.
fn is_index(rest: &[u8]) -> bool {
    let skipped = match rest.split_first() {
        Some((b' ' | b'\t'..=b'\r', behind)) => behind,
        _ => rest,
    };
    skipped.contains(&b']')
}

fn mangled(name: &[u8]) -> Cow<'_, [u8]> {
    let is_replaced = |byte: &u8| matches!(byte, b' ' | b'.' | b'[');
    if !name.iter().any(is_replaced) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(name.iter().map(|byte| if is_replaced(byte) { b'_' } else { *byte }).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    fn read(name: &str) -> Option<(String, bool)> {
        Name::read(name.as_bytes()).map(|name| (String::from_utf8(name.key.into_owned()).unwrap(), name.is_array))
    }

    /// Each line was tried with `parse_str` of PHP 8.2.
    #[test]
    fn names_are_read_as_php_reads_them() {
        for (written, key, is_array) in [
            ("_REWRITE_COMMAND", "_REWRITE_COMMAND", false),
            ("_REWRITE.COMMAND", "_REWRITE_COMMAND", false),
            ("_REWRITE COMMAND", "_REWRITE_COMMAND", false),
            ("   _REWRITE_COMMAND", "_REWRITE_COMMAND", false),
            ("_REWRITE[COMMAND", "_REWRITE_COMMAND", false),
            (".REWRITE.COMMAND", "_REWRITE_COMMAND", false),
            ("_REWRITE_COMMAND\0x", "_REWRITE_COMMAND", false),
            ("_REWRITE_COMMAND[]", "_REWRITE_COMMAND", true),
            ("_REWRITE_COMMAND[0]", "_REWRITE_COMMAND", true),
            ("_REWRITE_COMMAND[a]b", "_REWRITE_COMMAND", true),
            ("_REWRITE_COMMAND[a][b", "_REWRITE_COMMAND", true),
            ("_REWRITE.COMMAND[ ]", "_REWRITE_COMMAND", true),
            ("_REWRITE_COMMAND[\t]", "_REWRITE_COMMAND", true),
            ("_REWRITE_COMMAND[\0]", "_REWRITE_COMMAND_", false),
            ("_REWRITE_COMMAND[", "_REWRITE_COMMAND_", false),
            ("_REWRITE_COMMAND ", "_REWRITE_COMMAND_", false),
            ("\t_REWRITE_COMMAND", "\t_REWRITE_COMMAND", false),
            ("_rewrite_command", "_rewrite_command", false),
            ("a[b.c d[e", "a_b_c_d_e", false),
            ("a[b.c]", "a", true),
            ("a]b", "a]b", false),
            ("a]b[c", "a]b_c", false),
            ("patient.name", "patient_name", false),
            ("code:not-in", "code:not-in", false),
            (" . ", "__", false),
        ] {
            assert_eq!(read(written), Some((key.to_owned(), is_array)), "{written:?}");
        }
        for dropped in ["", "   ", "[a]", " [", "\0a", " \0"] {
            assert_eq!(read(dropped), None, "{dropped:?}");
        }
    }

    #[test]
    fn fhirs_names_are_plain_and_mangled_ones_are_not() {
        for plain in ["_count", "birthdate", "code:not-in", "patient.name", "_has:Observation:patient:code", "a-b_c", ""] {
            assert!(is_plain(plain.as_bytes()), "{plain}");
        }
        for other in [".count", " _count", "_count ", "_count[]", "[", "_count\0", "\0", "a b"] {
            assert!(!is_plain(other.as_bytes()), "{other:?}");
        }
    }

    /// Compares with PHP itself, where it is installed.
    #[test]
    fn php_reads_a_thousand_names_like_this() {
        const SCRIPT: &str = "$read = []; foreach (json_decode(stream_get_contents(STDIN)) as $name) { parse_str(rawurlencode($name).'=1', $all); \
            $key = array_key_first($all); $read[] = $key === null ? null : [strval($key), is_array($all[$key])]; } echo json_encode($read);";
        let spawned = Command::new("php").args(["-n", "-r", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut php) = spawned else {
            println!("skipped: PHP is not installed");
            return;
        };
        let mut runner = TestRunner::deterministic();
        let names = "(a|_|REWRITE|COMMAND|site|[ .:\\[\\]\t\\x00-]|\\[\\]|\\[0\\]){1,7}";
        let names: Vec<String> = (0..1000).map(|_| names.new_tree(&mut runner).unwrap().current()).collect();
        serde_json::to_writer(php.stdin.take().unwrap(), &names).unwrap();
        let output = php.wait_with_output().unwrap();
        let by_php: Vec<Option<(String, bool)>> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(by_php.len(), names.len());
        for (name, by_php) in names.iter().zip(by_php) {
            assert_eq!(read(name), by_php, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn a_plain_name_is_its_own_key(name in "[ .\\[\\]_a-zA-Z:\\t\\x00-]{0,12}") {
            if is_plain(name.as_bytes()) {
                let key = Cow::Owned(name.replace('.', "_").into_bytes());
                prop_assert_eq!(Name::read(name.as_bytes()), (!name.is_empty()).then_some(Name { key, is_array: false }));
            }
        }

        #[test]
        fn no_key_has_what_php_takes_out(name in proptest::collection::vec(any::<u8>(), 0..20)) {
            if let Some(Name { key, .. }) = Name::read(&name) {
                prop_assert!(!key.is_empty() && !key.iter().any(|byte| matches!(byte, b' ' | b'.' | b'[' | 0)));
            }
        }
    }
}
