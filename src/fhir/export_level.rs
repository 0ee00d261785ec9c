//! The level of a bulk export, which says whose data it holds (Bulk Data Access IG 2.0, "Endpoints").

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::fhir::id::is_path_id;

/// The level of a bulk export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// `[base]/$export`
    System,
    /// `[base]/Patient/$export`
    Patient,
    /// `[base]/Group/[id]/$export`
    Group(String),
}

impl Level {
    /// Reads the level from a path below the FHIR base; `None` when the path is no export's.
    #[must_use]
    pub(crate) fn of(path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.strip_prefix('/')?.trim_end_matches('/').split('/').collect();
        let (operation, before) = segments.split_last()?;
        if !matches!(*operation, "$export" | "%24export") {
            return None;
        }
        match *before {
            [] => Some(Self::System),
            ["Patient"] => Some(Self::Patient),
            ["Group", id] if is_path_id(id) => Some(Self::Group(id.to_owned())),
            _ => None,
        }
    }

    /// Returns the path below the FHIR base.
    #[must_use]
    pub(crate) fn path(&self) -> Cow<'static, str> {
        match self {
            Self::System => "/$export".into(),
            Self::Patient => "/Patient/$export".into(),
            Self::Group(id) => format!("/Group/{id}/$export").into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn three_paths_are_exports() {
        for (path, level) in [
            ("/$export", Some(Level::System)),
            ("/%24export", Some(Level::System)),
            ("/Patient/$export", Some(Level::Patient)),
            ("/Patient/$export/", Some(Level::Patient)),
            ("/Group/a34c-1/$export", Some(Level::Group("a34c-1".to_owned()))),
            ("/Group/..../$export", None),
            ("/Group/a%20b/$export", None),
            ("/Group/$export", None),
            ("/Observation/$export", None),
            ("/Patient/1/$export", None),
            ("/$exports", None),
            ("$export", None),
            ("", None),
        ] {
            assert_eq!(Level::of(path), level, "{path}");
        }
        assert_eq!(Level::Group("7".to_owned()).path(), "/Group/7/$export");
    }

    proptest! {
        #[test]
        fn a_level_leads_where_it_came_from(path in "/((Patient|Group|Goal)/)?([a-z.-]{1,4}/)?(\\$|%24)export/?|.{0,20}") {
            if let Some(level) = Level::of(&path) {
                prop_assert_eq!(Level::of(&level.path()), Some(level));
            }
        }
    }
}
