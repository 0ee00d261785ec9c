//! What it means that OpenEMR refused a token, and what is done about it: pure decisions.
//!
//! OpenEMR answers 401 for a token that it does not know any more as well as for a missing scope. The first refusal of a
//! request brings a new token, whatever it says; a second one is read. OpenEMR looks at the token before it does anything,
//! so that a request that was refused has had no effect.
//!
//! Decision: `docs/decisions/05-rejected-tokens.md`.

use std::time::Duration;

use http::StatusCode;

use crate::fhir::operation_outcome::IssueCode;
use crate::fhir::reason::Reason;
use crate::fhir::rejection::Rejection;
use crate::scopes::required::RequiredScope;
use crate::smart::scope_record::ScopeRecord;

/// The most new tokens for one request, each of which OpenEMR took before it revoked it.
const MOST_RENEWALS: u32 = 3;

/// Why a request whose token was refused is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenRefused {
    /// There is no other token yet; it is worth trying again after this long.
    #[error("OpenEMR refused the token, and there is no new one")]
    NoNewToken(Duration),
    /// The request cannot be sent again.
    #[error("OpenEMR refused the token, and the request's body is too long to be sent again")]
    NotRepeatable,
    /// OpenEMR refuses tokens that it has just granted.
    #[error("OpenEMR refuses tokens that it has just granted")]
    NewTokensToo,
    /// OpenEMR did not grant the gateway this scope.
    #[error("the scope {0} is not granted")]
    NotGranted(RequiredScope),
    /// OpenEMR granted this scope, and refuses what it is for all the same.
    #[error("the scope {0} is granted, and refused even to a new token")]
    ScopeRefused(RequiredScope),
}

impl From<TokenRefused> for Rejection {
    fn from(refused: TokenRefused) -> Self {
        let forbidden = |text: String| Self::new(StatusCode::FORBIDDEN, IssueCode::Forbidden, Reason::Scope, text);
        match refused {
            TokenRefused::NoNewToken(wait) => Self::unavailable(
                Reason::NoToken,
                wait,
                "OpenEMR no longer takes the gateway's access token, and there is no new one yet.",
            ),
            TokenRefused::NotRepeatable => Self::unavailable(
                Reason::TokenRefused,
                Duration::ZERO,
                "OpenEMR refused the gateway's access token before it looked at the request, which was not carried out. Send it again.",
            ),
            TokenRefused::NewTokensToo => {
                Self::unavailable(Reason::TokenRefused, Duration::from_secs(5), "OpenEMR refuses access tokens that it has just granted.")
            }
            TokenRefused::NotGranted(need) => {
                forbidden(format!("This needs the scope {need}, which OpenEMR did not grant to the gateway."))
            }
            TokenRefused::ScopeRefused(need) => forbidden(format!(
                "This needs the scope {need}, and OpenEMR refuses it even to a new access token of the gateway."
            )),
        }
        .because(refused)
    }
}

/// What is known about the scope that a refused request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// It cannot be named.
    Unnamed,
    /// The token was not granted it.
    NotGranted,
    /// Granted, and refused to brand-new tokens.
    Refused,
    /// Granted.
    Granted,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// The client gets OpenEMR's answer.
    Pass,
    /// The client is told which scope was not granted.
    NotGranted,
    /// The client is told which scope is granted and of no use.
    ScopeRefused,
    /// A new token, and the request once more.
    Renew,
    /// A new token for those who come after; this request cannot be repeated.
    RenewForOthers,
    /// The client is told that OpenEMR takes none of its own tokens.
    GiveUp,
}

/// A request whose token was refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused {
    /// How many new tokens it was already given.
    pub(super) renewals: u32,
    /// Whether OpenEMR had accepted the refused token before.
    pub(super) was_accepted: bool,
    /// Whether the request can be sent again.
    pub(super) can_repeat: bool,
}

impl Refused {
    /// Whether a new token can help. Two tokens in a row that OpenEMR never accepted tell that it accepts none: one
    /// exchange a request is enough. A token that it accepted was revoked since, and is replaced.
    fn can_be_helped(self) -> bool {
        self.renewals == 0 || (self.was_accepted && self.renewals < MOST_RENEWALS)
    }
}

/// Judges a refusal. `about_the_token`: the body says so.
#[must_use]
pub(super) fn judge(scope: Scope, about_the_token: bool, refused: Refused) -> Decision {
    let Refused { renewals, can_repeat, .. } = refused;
    let renew = if can_repeat { Decision::Renew } else { Decision::RenewForOthers };
    match (scope, about_the_token) {
        (Scope::NotGranted, _) => Decision::NotGranted,
        (Scope::Refused, false) => Decision::ScopeRefused,
        (Scope::Unnamed | Scope::Granted, false) if renewals == 0 => renew,
        (Scope::Unnamed, false) => Decision::Pass,
        // A brand-new token refused again: it is not the token.
        (Scope::Granted, false) => Decision::ScopeRefused,
        (Scope::Unnamed | Scope::Refused | Scope::Granted, true) if refused.can_be_helped() => renew,
        (Scope::Unnamed | Scope::Refused | Scope::Granted, true) => Decision::GiveUp,
    }
}

/// What is known about the scope that a request needs. `granted`: to the token.
#[must_use]
pub(super) fn scope(need: Option<RequiredScope>, granted: &str, record: &ScopeRecord) -> Scope {
    match need {
        None => Scope::Unnamed,
        Some(need) if !need.is_covered_by(granted) => Scope::NotGranted,
        Some(need) if record.is_refused(need) => Scope::Refused,
        Some(_) => Scope::Granted,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fhir::interaction::Interaction;
    use http::Method;
    use proptest::prelude::*;

    #[test]
    fn a_refusal_is_judged_by_what_is_known() {
        use Decision::*;
        for (scope, about_the_token, renewals, was_accepted, can_repeat, decision) in [
            (Scope::NotGranted, false, 0, true, true, NotGranted),
            (Scope::NotGranted, false, 0, true, false, NotGranted),
            (Scope::NotGranted, true, 1, true, true, NotGranted),
            (Scope::Refused, false, 0, true, true, ScopeRefused),
            (Scope::Refused, true, 0, true, true, Renew),
            (Scope::Refused, true, 3, true, true, GiveUp),
            (Scope::Granted, false, 0, true, true, Renew),
            (Scope::Granted, false, 0, true, false, RenewForOthers),
            (Scope::Granted, false, 1, true, true, ScopeRefused),
            (Scope::Granted, true, 0, false, true, Renew),
            (Scope::Granted, true, 1, true, true, Renew),
            (Scope::Granted, true, 1, true, false, RenewForOthers),
            (Scope::Granted, true, 1, false, true, GiveUp),
            (Scope::Granted, true, 1, false, false, GiveUp),
            (Scope::Granted, true, 2, true, true, Renew),
            (Scope::Granted, true, 3, true, true, GiveUp),
            (Scope::Unnamed, false, 0, true, true, Renew),
            (Scope::Unnamed, false, 0, true, false, RenewForOthers),
            (Scope::Unnamed, false, 1, true, true, Pass),
            (Scope::Unnamed, true, 1, true, true, Renew),
            (Scope::Unnamed, true, 1, false, true, GiveUp),
            (Scope::Unnamed, true, 3, true, true, GiveUp),
        ] {
            let judged = judge(scope, about_the_token, Refused { renewals, was_accepted, can_repeat });
            assert_eq!(judged, decision, "{scope:?} {about_the_token} {renewals} {was_accepted} {can_repeat}");
        }
    }

    #[test]
    fn what_is_known_about_a_scope() {
        let record = ScopeRecord::default();
        let need = |path: &str| RequiredScope::of(Interaction::of(&Method::GET, path.as_bytes()), path.as_bytes());
        let granted = "system/Patient.read system/Goal.rs";
        assert_eq!(scope(None, granted, &record), Scope::Unnamed);
        assert_eq!(scope(need("/Observation"), granted, &record), Scope::NotGranted);
        assert_eq!(scope(need("/Patient"), granted, &record), Scope::Granted);
        record.note_refused(need("/Goal").unwrap());
        assert_eq!(scope(need("/Goal"), granted, &record), Scope::Refused);
        assert_eq!(scope(need("/Goal/1"), granted, &record), Scope::Granted);
    }

    fn refusal() -> impl Strategy<Value = (Scope, bool, bool)> {
        let scope = prop_oneof![Just(Scope::Unnamed), Just(Scope::NotGranted), Just(Scope::Refused), Just(Scope::Granted)];
        (scope, any::<bool>(), any::<bool>())
    }

    proptest! {
        /// Whatever OpenEMR answers, a request ends, and costs few exchanges.
        #[test]
        fn every_request_ends(refusals in proptest::collection::vec(refusal(), 1..10), can_repeat in any::<bool>()) {
            let mut renewals = 0;
            let mut ended = false;
            for (scope, about_the_token, was_accepted) in refusals.into_iter().cycle().take(20) {
                if judge(scope, about_the_token, Refused { renewals, was_accepted, can_repeat }) != Decision::Renew {
                    ended = true;
                    break;
                }
                renewals += 1;
                let most = if was_accepted { MOST_RENEWALS } else { 1 };
                prop_assert!(renewals <= most);
            }
            prop_assert!(ended);
        }
    }
}
