//! The repairs of a site's resources, and how often each was made since the site is known.

use std::sync::Arc;

use crate::config;
use crate::openemr::mend::mender::Mender;
use crate::openemr::mend::repairs::{Mended, Repair, Repairs};

/// Mends a site's resources.
#[derive(Debug)]
pub(crate) struct Mending {
    repairs: Repairs,
    /// How often each repair was made. A reload keeps it.
    pub(crate) mended: Arc<Mended>,
}

impl Mending {
    /// Makes the repairs that the configuration of the site has.
    #[must_use]
    pub(crate) fn new(config: &config::Site, mended: Arc<Mended>) -> Self {
        let on = config.answers.repairs;
        let is_made = |repair: Repair| match repair {
            Repair::EmptyMembers => on.empty_members,
            Repair::MisplacedObjects => on.misplaced_objects,
            Repair::NumbersForText => on.numbers_for_text,
            Repair::NamelessExtensions => on.nameless_extensions,
            Repair::OidSystems => on.oid_systems,
            Repair::AbsentReasons => on.absent_reasons,
            Repair::PrefixedCodes => on.prefixed_codes,
            Repair::Narratives => on.narratives,
            Repair::ValueSetStatus => on.value_set_status,
            Repair::Groups => on.groups,
        };
        let repairs = Repair::ALL.iter().fold(Repairs::default(), |repairs, repair| repairs.with(*repair, is_made(*repair)));
        Self { repairs, mended }
    }

    /// The step for one body; `None` where all repairs are switched off.
    #[must_use]
    pub(crate) fn step(&self) -> Option<Mender> {
        (!self.repairs.is_empty()).then(|| Mender::new(self.repairs, &self.mended))
    }
}
