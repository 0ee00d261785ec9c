//! Which keys differ between two configurations: their paths, without values.

use serde_yaml::{Mapping, Value};

use super::problem::shown;

/// The paths at which two trees differ, such as `sites.default.scopes` and `listen[0].address`, in the order of `new` with what it
/// lacks behind. A list whose length or order has changed is named as a whole, and so is a mapping that is there in one of them alone.
pub(super) fn paths(old: &Value, new: &Value) -> Vec<String> {
    let mut paths = Vec::new();
    compare(old, new, String::new(), &mut paths);
    paths
}

fn compare(old: &Value, new: &Value, path: String, paths: &mut Vec<String>) {
    match (old, new) {
        _ if old == new => {}
        (Value::Mapping(old), Value::Mapping(new)) => compare_keys(old, new, &path, paths),
        (Value::Sequence(old), Value::Sequence(new)) if are_sections(old) && are_sections(new) && old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                compare(old, new, format!("{path}[{index}]"), paths);
            }
        }
        _ => paths.push(path),
    }
}

fn compare_keys(old: &Mapping, new: &Mapping, path: &str, paths: &mut Vec<String>) {
    let below = |key: &Value| {
        let dot = if path.is_empty() { "" } else { "." };
        format!("{path}{dot}{}", shown(key.as_str().unwrap_or("?")))
    };
    for (key, value) in new {
        match old.get(key) {
            Some(before) => compare(before, value, below(key), paths),
            None => paths.push(below(key)),
        }
    }
    paths.extend(old.keys().filter(|key| !new.contains_key(key)).map(below));
}

fn are_sections(list: &[Value]) -> bool {
    list.iter().all(Value::is_mapping)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn between(old: &str, new: &str) -> Vec<String> {
        paths(&serde_yaml::from_str(old).unwrap(), &serde_yaml::from_str(new).unwrap())
    }

    #[test]
    fn each_change_has_its_path() {
        for (old, new, expected) in [
            ("{a: 1, b: {c: x}}", "{a: 1, b: {c: x}}", &[][..]),
            ("{a: 1, b: {c: x, d: 1}}", "{a: 2, b: {c: y, d: 1}}", &["a", "b.c"]),
            ("{a: 1, b: 2}", "{b: 2, c: 3}", &["c", "a"]),
            ("{a: [x, y]}", "{a: [y, x]}", &["a"]),
            ("{a: [{b: 1}, {b: 2}]}", "{a: [{b: 1}, {b: 3}]}", &["a[1].b"]),
            ("{a: [{b: 1}]}", "{a: [{b: 1}, {b: 2}]}", &["a"]),
            ("{a: {b: 1}}", "{a: open}", &["a"]),
        ] {
            assert_eq!(between(old, new), expected, "{old} {new}");
        }
    }
}
