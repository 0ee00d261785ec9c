//! The repairs of resources one by one, and how often each was made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Declares the repairs with their names.
macro_rules! repairs {
    ($( $(#[doc = $text:literal])+ $repair:ident = $name:literal; )+) => {
        /// A repair of what is not valid in OpenEMR's resources.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Repair {
            $( $(#[doc = $text])+ $repair, )+
        }

        impl Repair {
            /// All of them, in order.
            pub(crate) const ALL: &'static [Self] = &[$( Self::$repair, )+];

            /// Its name, as in the configuration.
            #[must_use]
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $( Self::$repair => $name, )+
                }
            }
        }
    };
}

repairs! {
    /// Nulls and empty strings, lists and objects are dropped.
    EmptyMembers = "empty_members";
    /// An object in the place of text is renamed: `display` to `_display`.
    MisplacedObjects = "misplaced_objects";
    /// A number or boolean in the place of text becomes text.
    NumbersForText = "numbers_for_text";
    /// An extension without `url` is dropped.
    NamelessExtensions = "nameless_extensions";
    /// A bare OID as `system` becomes a `urn:oid:`.
    OidSystems = "oid_systems";
    /// `DataAbsentReason` as `system` becomes the URI of that code system.
    AbsentReasons = "absent_reasons";
    /// A SNOMED CT code loses the name of its code system.
    PrefixedCodes = "prefixed_codes";
    /// A narrative becomes XHTML.
    Narratives = "narratives";
    /// A `ValueSet` without `status` gets `unknown`.
    ValueSetStatus = "value_set_status";
    /// A `Group` of patients gets `type` and `actual`.
    Groups = "groups";
}

const COUNT: usize = Repair::ALL.len();

/// Some of the repairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Repairs(u16);

impl Repairs {
    /// All of them.
    #[must_use]
    pub fn all() -> Self {
        Repair::ALL.iter().fold(Self::default(), |repairs, repair| repairs.with(*repair, true))
    }

    /// These, and that one if it is made.
    #[must_use]
    pub fn with(self, repair: Repair, is_made: bool) -> Self {
        Self(self.0 & !(1 << repair as u16) | u16::from(is_made) << repair as u16)
    }

    /// Whether it is one of them.
    #[must_use]
    pub(crate) fn has(self, repair: Repair) -> bool {
        self.0 >> repair as u16 & 1 == 1
    }

    /// Whether there is none.
    #[must_use]
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// How often each repair was made.
#[derive(Debug, Default)]
pub struct Mended([AtomicU64; COUNT]);

impl Mended {
    /// The repairs that were made, each with how often.
    pub(crate) fn made(&self) -> impl Iterator<Item = (Repair, u64)> {
        let counts = Repair::ALL.iter().zip(&self.0);
        counts.map(|(repair, count)| (*repair, count.load(Ordering::Relaxed))).filter(|(_, count)| *count > 0)
    }
}

/// What one body was repaired by, until it is added to the site's counts.
#[derive(Debug)]
pub(crate) struct Tally {
    made: [u64; COUNT],
    all: Arc<Mended>,
}

impl Tally {
    /// Begins to count for a site.
    #[must_use]
    pub(crate) fn of(all: Arc<Mended>) -> Self {
        Self { made: [0; COUNT], all }
    }

    /// Counts so many of a repair.
    pub(crate) fn add(&mut self, repair: Repair, count: u64) {
        if let Some(made) = self.made.get_mut(repair as usize) {
            *made += count;
        }
    }

    /// Adds what was counted to the site's counts.
    pub(crate) fn hand_over(&mut self) {
        for (made, all) in self.made.iter_mut().zip(&self.all.0) {
            if *made > 0 {
                all.fetch_add(std::mem::take(made), Ordering::Relaxed);
            }
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.hand_over();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_reaches_the_site_once() {
        let all = Arc::new(Mended::default());
        let mut tally = Tally::of(Arc::clone(&all));
        tally.add(Repair::Groups, 2);
        tally.hand_over();
        tally.add(Repair::EmptyMembers, 1);
        drop(tally);
        assert_eq!(all.made().collect::<Vec<_>>(), [(Repair::EmptyMembers, 1), (Repair::Groups, 2)]);
    }

    #[test]
    fn repairs_are_switched_one_by_one() {
        for off in Repair::ALL {
            let repairs = Repairs::all().with(*off, false);
            assert!(Repair::ALL.iter().all(|repair| repairs.has(*repair) == (repair != off)), "{off:?}");
        }
        assert!(Repairs::default().is_empty() && !Repairs::all().is_empty());
    }
}
