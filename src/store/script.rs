//! Scripts in Lua, which the store runs as one step: no command of another gateway comes in between.

use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

/// What the store is used for: the label of its errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Looking whether it answers.
    Check,
    /// Plans of bulk exports.
    Exports,
    /// The client assertions that were used.
    Assertions,
    /// How often callers have asked.
    Rates,
}

impl Use {
    /// Every use, in the order of their numbers.
    pub(crate) const ALL: [Self; 4] = [Self::Check, Self::Exports, Self::Assertions, Self::Rates];

    /// The use in metrics.
    #[must_use]
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Exports => "exports",
            Self::Assertions => "assertions",
            Self::Rates => "rates",
        }
    }
}

/// A script. It names no key itself: the keys that it touches are passed to it.
#[derive(Debug)]
pub(crate) struct Script {
    used_for: Use,
    text: &'static str,
    digest: OnceLock<String>,
}

impl Script {
    /// A script with this text, for a `static`.
    #[must_use]
    pub(crate) const fn new(used_for: Use, text: &'static str) -> Self {
        Self { used_for, text, digest: OnceLock::new() }
    }

    /// What it is for.
    pub(super) fn used_for(&self) -> Use {
        self.used_for
    }

    /// Its text.
    pub(super) fn text(&self) -> &'static str {
        self.text
    }

    /// The name by which the store knows it once it has run: the SHA-1 of its text, in hexadecimal digits.
    pub(super) fn digest(&self) -> &str {
        self.digest.get_or_init(|| {
            let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, self.text.as_bytes());
            hex::encode(digest)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_one_that_redis_makes() {
        // redis-cli SCRIPT LOAD "return 1"
        assert_eq!(Script::new(Use::Check, "return 1").digest(), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    }
}
