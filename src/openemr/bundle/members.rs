//! The members of a Bundle and of its entries that have a part in the repair, and how often each may come.

/// A member of the Bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BundleMember {
    /// `resourceType`
    ResourceType,
    /// `type`
    Type,
    /// `meta`
    Meta,
    /// `total`
    Total,
    /// `link`
    Link,
    /// `entry`
    Entry,
    /// Any other, which stays as it is.
    Other,
}

/// A member of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryMember {
    /// `fullUrl`
    FullUrl,
    /// `resource`
    Resource,
    /// `search`
    Search,
    /// `id`, of an element or of a resource in the place of the entry.
    Id,
    /// `resourceType`: a resource stands in the place of the entry.
    ResourceType,
    /// Any other, which stays as it is.
    Other,
}

/// The members of one object that came already. PHP and most clients would take the last of two, others the first.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Once(u32);

impl Once {
    /// Notes a member of that number. False when it came before.
    #[must_use]
    pub(crate) fn is_first(&mut self, number: u32) -> bool {
        let bit = 1 << number;
        let is_first = self.0 & bit == 0;
        self.0 |= bit;
        is_first
    }
}

const BUNDLE: [(&str, BundleMember); 14] = [
    ("resourceType", BundleMember::ResourceType),
    ("type", BundleMember::Type),
    ("meta", BundleMember::Meta),
    ("total", BundleMember::Total),
    ("link", BundleMember::Link),
    ("entry", BundleMember::Entry),
    ("id", BundleMember::Other),
    ("implicitRules", BundleMember::Other),
    ("language", BundleMember::Other),
    ("identifier", BundleMember::Other),
    ("timestamp", BundleMember::Other),
    ("signature", BundleMember::Other),
    ("text", BundleMember::Other),
    ("extension", BundleMember::Other),
];

const ENTRY: [(&str, EntryMember); 9] = [
    ("fullUrl", EntryMember::FullUrl),
    ("resource", EntryMember::Resource),
    ("search", EntryMember::Search),
    ("id", EntryMember::Id),
    ("resourceType", EntryMember::ResourceType),
    ("link", EntryMember::Other),
    ("request", EntryMember::Other),
    ("response", EntryMember::Other),
    ("extension", EntryMember::Other),
];

impl BundleMember {
    /// The member of that name; `None` when it comes a second time.
    #[must_use]
    pub(crate) fn of(name: &str, once: &mut Once) -> Option<Self> {
        find(&BUNDLE, name, once).unwrap_or(Some(Self::Other))
    }
}

impl EntryMember {
    /// The member of that name; `None` when it comes a second time.
    #[must_use]
    pub(crate) fn of(name: &str, once: &mut Once) -> Option<Self> {
        find(&ENTRY, name, once).unwrap_or(Some(Self::Other))
    }
}

/// The member, if it comes for the first time, if it is known.
fn find<Member: Copy>(known: &[(&str, Member)], name: &str, once: &mut Once) -> Option<Option<Member>> {
    let mut numbered = (0..).zip(known);
    numbered.find(|(_, (known, _))| *known == name).map(|(number, (_, member))| once.is_first(number).then_some(*member))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_member_comes_once() {
        let mut once = Once::default();
        assert_eq!(BundleMember::of("entry", &mut once), Some(BundleMember::Entry));
        assert_eq!(BundleMember::of("id", &mut once), Some(BundleMember::Other));
        assert_eq!(BundleMember::of("new", &mut once), Some(BundleMember::Other));
        assert_eq!(BundleMember::of("new", &mut once), Some(BundleMember::Other));
        assert_eq!((BundleMember::of("entry", &mut once), BundleMember::of("id", &mut once)), (None, None));
        let mut once = Once::default();
        assert_eq!(EntryMember::of("resource", &mut once), Some(EntryMember::Resource));
        assert_eq!(EntryMember::of("resource", &mut once), None);
    }
}
