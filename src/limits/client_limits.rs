//! The limits of one client: what its policy says, and what is written at the client itself.

use std::fmt;

use crate::limits::rate::{Quota, Rate};

/// The limits of one client. `None` is no limit; of `burst`, the one that belongs to the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ClientLimits {
    /// How often it may ask.
    pub(crate) rate: Option<Rate>,
    /// How many requests may come at once after a pause.
    pub(crate) burst: Option<u32>,
    /// How many of its requests may be at work at once.
    pub(crate) at_once: Option<u32>,
}

impl ClientLimits {
    /// These limits, with those of `defaults` where nothing is said.
    #[must_use]
    pub(crate) fn or(self, defaults: Self) -> Self {
        Self {
            rate: self.rate.or(defaults.rate),
            burst: self.burst.or(defaults.burst),
            at_once: self.at_once.or(defaults.at_once),
        }
    }

    /// The rate with its burst.
    #[must_use]
    pub(crate) fn quota(self) -> Option<Quota> {
        self.rate.map(|rate| rate.quota(self.burst))
    }
}

/// In words, for the operator; empty where there is no limit.
impl fmt::Display for ClientLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((rate, quota)) = self.rate.zip(self.quota()) {
            write!(f, "{rate}, {} after a pause", quota.burst())?;
        }
        match self.at_once {
            Some(most) if self.rate.is_some() => write!(f, "; {most} at once"),
            Some(most) => write!(f, "{most} at once"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::rate::Period;

    #[test]
    fn each_limit_is_replaced_by_itself() {
        let rate = Some(Rate::new(20, Period::Second));
        let policy = ClientLimits { rate, burst: Some(40), at_once: Some(8) };
        let slower = ClientLimits { rate: Some(Rate::new(2, Period::Second)), ..ClientLimits::default() };
        assert_eq!(slower.or(policy), ClientLimits { rate: slower.rate, ..policy });
        assert_eq!(ClientLimits::default().or(policy), policy);
        assert_eq!(policy.or(slower), policy);
        assert_eq!(slower.or(policy).quota().map(Quota::burst), Some(40));
        assert_eq!(ClientLimits { rate: None, ..policy }.quota(), None);
    }

    #[test]
    fn limits_are_told_in_words() {
        let limits = ClientLimits { rate: Some(Rate::new(600, Period::Minute)), burst: None, at_once: Some(4) };
        for (limits, text) in [
            (limits, "600/min, 10 after a pause; 4 at once"),
            (ClientLimits { at_once: None, ..limits }, "600/min, 10 after a pause"),
            (ClientLimits { rate: None, ..limits }, "4 at once"),
            (ClientLimits::default(), ""),
        ] {
            assert_eq!(limits.to_string(), text);
        }
    }
}
