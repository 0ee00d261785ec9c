//! The plan of the house, held against the code: each room uses only rooms on lower floors, no files use each other in a
//! circle, and docs/ARCHITECTURE.md says what is so.
//!
//! Only code counts, not its tests. `ROOMS=print cargo test --test it rooms:: -- --nocapture` prints which room uses which.

mod layout;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use layout::{Edge, Layout, circle, room};
use source::Source;

/// The rooms with their floors; the sandbox stands apart.
const FLOORS: [(&str, u8); 23] = [
    ("cli", 11),
    ("server", 10),
    ("gateway", 9),
    ("admin", 9),
    ("exports", 8),
    ("diagnosis", 7),
    ("site", 7),
    ("callers", 6),
    ("sinks", 6),
    ("smart", 6),
    ("nodes", 5),
    ("store", 5),
    ("config", 4),
    ("access", 3),
    ("audit", 3),
    ("scopes", 2),
    ("limits", 2),
    ("openemr", 2),
    ("fhir", 1),
    ("http", 1),
    ("keys", 1),
    ("observe", 1),
    ("sandbox", 0),
];

/// The most lines of code that a file may have without its tests.
const MOST_LINES: usize = 400;
/// The most that half of the files may have.
const MEDIAN_LINES: usize = 150;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn floor(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// Which room uses which, with one of the places.
fn uses(edges: &[Edge]) -> BTreeMap<(&str, &str), &Edge> {
    let mut uses = BTreeMap::new();
    for edge in edges.iter().filter(|edge| room(&edge.from) != room(&edge.to)) {
        uses.entry((room(&edge.from), room(&edge.to))).or_insert(edge);
    }
    uses
}

#[test]
fn every_folder_is_a_room_of_the_plan() {
    let layout = Layout::of_crate(root());
    let planned: BTreeSet<&str> = FLOORS.iter().map(|(room, _)| *room).collect();
    assert_eq!(layout.rooms(), planned);
}

#[test]
fn a_room_uses_only_rooms_on_lower_floors() {
    let edges = Layout::of_crate(root()).edges();
    let wrong: Vec<&str> = edges
        .iter()
        .filter(|edge| room(&edge.from) != room(&edge.to) && room(&edge.from) != "sandbox" && room(&edge.to) != "sandbox")
        .filter(|edge| floor(room(&edge.from)) <= floor(room(&edge.to)))
        .map(|edge| edge.shown.as_str())
        .collect();
    if std::env::var_os("ROOMS").is_some() {
        for ((from, to), edge) in uses(&edges) {
            println!("{from} -> {to}: {}", edge.shown);
        }
    }
    assert!(wrong.is_empty(), "a room uses one that is not below it:\n{}", wrong.join("\n"));
}

#[test]
fn the_sandbox_shares_no_code_with_the_gateway() {
    let edges = Layout::of_crate(root()).edges();
    let wrong: Vec<&str> = edges
        .iter()
        .filter(|edge| room(&edge.from) != room(&edge.to))
        .filter(|edge| room(&edge.from) == "sandbox" || (room(&edge.to) == "sandbox" && room(&edge.from) != "cli"))
        .map(|edge| edge.shown.as_str())
        .collect();
    assert!(wrong.is_empty(), "the sandbox is used by `cli` alone and uses nobody:\n{}", wrong.join("\n"));
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let edges = Layout::of_crate(root()).edges();
    // Between rooms there is none where every edge leads downwards, which another test sees to.
    let circles: Vec<String> = FLOORS
        .iter()
        .filter_map(|(name, _)| {
            let within: Vec<Edge> =
                edges.iter().filter(|edge| room(&edge.from) == *name && room(&edge.to) == *name).cloned().collect();
            let shown: Vec<String> = circle(&within)?.iter().map(|edge| format!("  {}", edge.shown)).collect();
            Some(format!("in {name}:\n{}", shown.join("\n")))
        })
        .collect();
    assert!(circles.is_empty(), "files use each other in a circle, which the last of its lines closes\n{}", circles.join("\n"));
}

#[test]
fn the_architecture_document_says_which_room_uses_which() {
    let edges = Layout::of_crate(root()).edges();
    let text = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let mut documented: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let [_, floor, name, _, used, _] = cells.as_slice()
            && let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix("/`"))
        {
            let planned = FLOORS.iter().find(|(room, _)| *room == name).map(|(_, floor)| floor.to_string());
            assert!(planned.as_deref() == Some(floor) || name == "sandbox", "the floor of {name}");
            let used = used.split(',').filter_map(|used| used.trim().strip_prefix('`')?.strip_suffix('`'));
            documented.insert(name.to_owned(), used.map(str::to_owned).collect());
        }
    }
    let mut found: BTreeMap<String, BTreeSet<String>> =
        FLOORS.iter().map(|(room, _)| ((*room).to_owned(), BTreeSet::new())).collect();
    for (from, to) in uses(&edges).into_keys() {
        found.entry(from.to_owned()).or_default().insert(to.to_owned());
    }
    assert_eq!(documented, found, "docs/ARCHITECTURE.md (left) and the code (right)");
}

#[test]
fn files_are_short() {
    let layout = Layout::of_crate(root());
    let long: Vec<(&str, usize)> = layout.lines().filter(|(_, lines)| *lines > MOST_LINES).collect();
    assert!(long.is_empty(), "more than {MOST_LINES} lines of code without tests: {long:?}");
    let mut lines: Vec<usize> = layout.lines().map(|(_, lines)| lines).collect();
    lines.sort_unstable();
    let median = lines.get(lines.len() / 2).copied().unwrap_or_default();
    assert!(median <= MEDIAN_LINES, "half of the files have more than {median} lines of code");
}

mod the_reader {
    use super::*;

    #[test]
    fn finds_imports_in_every_form() {
        let source = Source::read("pub(crate) use crate::a::{self, b::{C, D as E}, f::*};\nuse super::g;\n");
        let found: Vec<(String, &str, bool)> =
            source.imports.iter().map(|i| (i.named.path.join("::"), i.alias.as_str(), i.is_public)).collect();
        let expected = [
            ("crate::a", "a", true),
            ("crate::a::b::C", "C", true),
            ("crate::a::b::D", "E", true),
            ("crate::a::f::*", "*", true),
            ("super::g", "g", false),
        ];
        assert_eq!(found, expected.map(|(path, alias, public)| (path.to_owned(), alias, public)));
    }

    #[test]
    fn finds_paths_in_code_and_none_in_texts_comments_and_tests() {
        let text = "fn f() { crate::a::b(); }\n// crate::c::d\n/* crate::e /* x */ crate::f::g */\nconst T: &str = \"crate::h::i\";\n\
            const R: &str = r#\"crate::j::k\"#;\n#[cfg(test)]\nmod tests { use crate::l::m; }\nfn g<'a>(x: &'a str) { ':'; crate::n::o(x) }\n";
        let source = Source::read(text);
        assert_eq!(source.paths, [layout::named("crate::a::b", 1), layout::named("crate::n::o", 8)]);
        assert!(source.imports.is_empty());
        assert_eq!(source.lines, 4);
    }

    #[test]
    fn finds_a_circle_and_the_edge_that_closes_it() {
        let mut layout = Layout::default();
        layout.add("src/lib.rs", "mod a; mod b;");
        layout.add("src/a/mod.rs", "mod one; mod two; pub use one::One;");
        layout.add("src/a/one.rs", "use super::two::Two; pub struct One;");
        layout.add("src/a/two.rs", "pub struct Two; #[cfg(test)] mod tests { use crate::b::B; }");
        layout.add("src/b.rs", "use crate::a; fn f(_: a::One) {}");
        assert_eq!(circle(&layout.edges()), None);
        let edges = layout.edges();
        let shown: Vec<&str> = edges.iter().map(|edge| edge.shown.as_str()).collect();
        assert_eq!(shown, ["src/a/mod.rs:1 uses one::One", "src/a/one.rs:1 uses super::two::Two", "src/b.rs:1 uses a::One"]);
        layout.add("src/a/two.rs", "fn two() { crate::a::One; }");
        let edges = layout.edges();
        let found: Vec<&str> = circle(&edges).unwrap().iter().map(|edge| edge.shown.as_str()).collect();
        assert_eq!(found, ["src/a/one.rs:1 uses super::two::Two", "src/a/two.rs:1 uses crate::a::One"]);
    }
}
