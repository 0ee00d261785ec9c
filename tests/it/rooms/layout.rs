//! The files of a crate and which of them use which, read from their text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::source::{Import, Named, Source};

/// One file that uses another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// The module of the file that uses, such as `fhir::prefer`.
    pub from: String,
    /// The module that is used.
    pub to: String,
    /// Where, for a person: `src/fhir/prefer.rs:12 uses crate::fhir::media_type::Format`.
    pub shown: String,
}

/// A crate, as far as the test needs it.
#[derive(Debug, Default)]
pub struct Layout {
    files: BTreeMap<String, (String, Source)>,
}

impl Layout {
    /// Reads every file below `root/src`; files of tests (`tests.rs`) are left out.
    pub fn of_crate(root: &Path) -> Self {
        let mut layout = Self::default();
        layout.add_folder(root, &root.join("src"));
        layout
    }

    fn add_folder(&mut self, root: &Path, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.add_folder(root, &path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                self.add(name, &std::fs::read_to_string(&path).unwrap());
            }
        }
    }

    /// Adds one file by its name below the crate, such as `src/fhir/mod.rs`.
    pub fn add(&mut self, name: &str, text: &str) {
        if name.ends_with("/tests.rs") {
            return;
        }
        let module = name.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::");
        let module = if matches!(module.as_str(), "lib" | "main") { String::new() } else { module };
        if module.is_empty() && name != "src/lib.rs" {
            return;
        }
        self.files.insert(module, (name.to_owned(), Source::read(text)));
    }

    /// The lines of code of each file, without its tests.
    pub fn lines(&self) -> impl Iterator<Item = (&str, usize)> {
        self.files.values().map(|(name, source)| (name.as_str(), source.lines))
    }

    /// The rooms: the folders right below `src`, and single files there.
    pub fn rooms(&self) -> BTreeSet<&str> {
        self.files.keys().filter(|module| !module.is_empty()).map(|module| room(module)).collect()
    }

    /// Every use of one file by another, one edge for a pair. The crate's root declares the rooms and counts for none.
    pub fn edges(&self) -> Vec<Edge> {
        let mut edges = BTreeMap::new();
        for (module, (name, source)) in self.files.iter().filter(|(module, _)| !module.is_empty()) {
            let imported = source.imports.iter().map(|import| &import.named);
            for named in imported.chain(&source.paths) {
                let Some(absolute) = self.absolute(module, &named.path) else { continue };
                let Some(used) = self.defined_in(&absolute, 0) else { continue };
                if used != *module && !used.is_empty() {
                    edges
                        .entry((module.clone(), used))
                        .or_insert_with(|| format!("{name}:{} uses {}", named.line, named.path.join("::")));
                }
            }
        }
        edges.into_iter().map(|((from, to), shown)| Edge { from, to, shown }).collect()
    }

    /// The path from the crate's root; `None` for one that leads out of the crate.
    fn absolute(&self, module: &str, path: &[String]) -> Option<Vec<String>> {
        let here: Vec<String> = module.split("::").filter(|segment| !segment.is_empty()).map(str::to_owned).collect();
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([here.as_slice(), rest].concat()),
            "super" => {
                let mut base = here;
                let mut rest = path;
                while let Some((_, after)) = rest.split_first().filter(|(segment, _)| *segment == "super") {
                    base.pop();
                    rest = after;
                }
                Some([base.as_slice(), rest].concat())
            }
            name => {
                let (_, source) = self.files.get(module)?;
                if let Some(import) = source.imports.iter().find(|import| import.alias == name && import.named.path != path) {
                    let base = self.absolute_import(module, import)?;
                    return Some([base.as_slice(), rest].concat());
                }
                let child = [here.as_slice(), std::slice::from_ref(first)].concat();
                self.files.contains_key(&child.join("::")).then(|| [child.as_slice(), rest].concat())
            }
        }
    }

    fn absolute_import(&self, module: &str, import: &Import) -> Option<Vec<String>> {
        match import.named.path.first()?.as_str() {
            "crate" | "self" | "super" => self.absolute(module, &import.named.path),
            // An import by the name of a child module; one that begins with another import is not followed.
            first => {
                let child = if module.is_empty() { first.to_owned() } else { format!("{module}::{first}") };
                let base: Vec<String> = child.split("::").map(str::to_owned).collect();
                self.files
                    .contains_key(&child)
                    .then(|| [base.as_slice(), import.named.path.get(1..).unwrap_or_default()].concat())
            }
        }
    }

    /// The file in which the thing of this absolute path is defined, through re-exports. A path that ends with a module whose
    /// file only stands for its children names nothing yet.
    fn defined_in(&self, path: &[String], depth: usize) -> Option<String> {
        let mut module = Vec::new();
        let mut rest = path;
        while let Some((segment, after)) = rest.split_first() {
            let child = [module.as_slice(), std::slice::from_ref(segment)].concat();
            if !self.files.contains_key(&child.join("::")) {
                break;
            }
            module = child;
            rest = after;
        }
        let file = module.join("::");
        let (_, source) = self.files.get(&file)?;
        let Some(item) = rest.first() else {
            // A module alone: what is used of it is named where it is used.
            return None;
        };
        let reexports = source.imports.iter().filter(|import| import.is_public);
        for import in reexports.filter(|_| depth < 8) {
            let Some(base) = self.absolute_import(&file, import).or_else(|| self.absolute(&file, &import.named.path)) else {
                continue;
            };
            if import.alias == *item {
                let target = [base.as_slice(), rest.get(1..).unwrap_or_default()].concat();
                return self.defined_in(&target, depth + 1);
            }
        }
        Some(file)
    }
}

/// The room of a module: its first segment.
pub fn room(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}

/// The shortest circle of files, as the edges that make it up, the last of which closes it.
pub fn circle(edges: &[Edge]) -> Option<Vec<&Edge>> {
    let mut shortest: Option<Vec<&Edge>> = None;
    for start in edges {
        if let Some(back) = way(edges, &start.to, &start.from) {
            let found: Vec<&Edge> = std::iter::once(start).chain(back).collect();
            if shortest.as_ref().is_none_or(|known| found.len() < known.len()) {
                shortest = Some(found);
            }
        }
    }
    shortest
}

/// The shortest way from one file to another.
fn way<'e>(edges: &'e [Edge], from: &str, to: &str) -> Option<Vec<&'e Edge>> {
    let mut ways: Vec<(&str, Vec<&Edge>)> = vec![(from, Vec::new())];
    let mut seen = BTreeSet::from([from]);
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for (at, way) in ways {
            if at == to {
                return Some(way);
            }
            for edge in edges.iter().filter(|edge| edge.from == at) {
                if seen.insert(&edge.to) {
                    longer.push((edge.to.as_str(), way.iter().copied().chain([edge]).collect()));
                }
            }
        }
        ways = longer;
    }
    None
}

/// For the tests of this reader.
pub fn named(path: &str, line: usize) -> Named {
    Named { path: path.split("::").map(str::to_owned).collect(), line }
}
