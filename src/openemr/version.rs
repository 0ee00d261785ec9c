//! The versions of OpenEMR, as far as they behave differently.

use crate::fhir::capabilities::{Capabilities, Software};

/// The version of a server, as far as that decides what it can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// OpenEMR 7.0.3 or earlier, which takes none of `_count`, `_offset` and `_sort`.
    Old,
    /// OpenEMR 7.0.4 or later, 8.x among them.
    Modern,
    /// Another server than OpenEMR.
    Other,
}

impl Version {
    /// Reads the version from what a server says about itself. OpenEMR names its number up to 7.0.3 only, so one without a
    /// number is taken for a later one.
    #[must_use]
    pub(crate) fn of(capabilities: &Capabilities) -> Self {
        Self::of_software(capabilities.software.as_ref())
    }

    /// Whether a server is of a version whose behaviour was measured: up to 8.1, or without a number.
    #[must_use]
    pub(crate) fn is_measured(capabilities: &Capabilities) -> bool {
        number(capabilities.software.as_ref()).is_none_or(|number| number < (8, 2, 0))
    }

    fn of_software(software: Option<&Software>) -> Self {
        let is_openemr = software.and_then(|software| software.name.as_deref()) == Some("OpenEMR");
        match number(software) {
            _ if !is_openemr => Self::Other,
            Some(number) if number < (7, 0, 4) => Self::Old,
            _ => Self::Modern,
        }
    }
}

/// The number that a server names; what is missing of it is 0.
fn number(software: Option<&Software>) -> Option<(u32, u32, u32)> {
    let number = software.and_then(|software| software.version.as_deref())?;
    let mut parts = number.split('.').map_while(|part| part.parse::<u32>().ok());
    Some((parts.next()?, parts.next().unwrap_or(0), parts.next().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_versions_apart() {
        for (name, number, version) in [
            ("OpenEMR", None, Version::Modern),
            ("OpenEMR", Some("7.0.3"), Version::Old),
            ("OpenEMR", Some("7.0.2"), Version::Old),
            ("OpenEMR", Some("6"), Version::Old),
            ("OpenEMR", Some("7.0.4"), Version::Modern),
            ("OpenEMR", Some("8.1.0"), Version::Modern),
            ("HAPI FHIR Server", Some("7.0.3"), Version::Other),
        ] {
            let software = Software { name: Some(name.to_owned()), version: number.map(str::to_owned) };
            assert_eq!(Version::of_software(Some(&software)), version, "{name} {number:?}");
        }
        assert_eq!(Version::of_software(None), Version::Other);
    }
}
