//! Who is asking: the result of the check of credentials.

use std::sync::Arc;

use crate::access::patients::{PatientList, Patients};
use crate::access::policy::Policy;

/// The caller of a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The client's name; `None` for a caller without credentials.
    pub(crate) client: Option<Arc<str>>,
    /// What it may do: the client's policy, narrowed to the scopes of its token.
    pub(crate) policy: Arc<Policy>,
    /// The patients of the policy, where they had to be found out: in a claim, or in a Group. `None` where the policy lists them or
    /// has none, and where they could not be found out: [`Caller::patients`] tells the two apart.
    pub(crate) found: Option<Arc<PatientList>>,
    /// What showed who it is.
    pub(crate) credential: Credential,
}

/// What shows who a caller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Credential {
    /// Nothing.
    None,
    /// An API key.
    ApiKey,
    /// A client certificate.
    Certificate,
    /// A JWT of an identity provider.
    Jwt,
    /// An access token of the gateway's own.
    AccessToken,
}

/// The patients whose data a caller may have.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PatientsOf<'a> {
    /// All.
    All,
    /// Those on this list.
    Listed(&'a PatientList),
    /// Nobody knows: the claim is missing, or the Group could not be read. So there is none.
    Unknown,
}

impl Caller {
    /// A caller without credentials.
    #[must_use]
    pub(crate) fn anonymous(policy: Arc<Policy>) -> Self {
        Self { client: None, policy, found: None, credential: Credential::None }
    }

    /// The patients whose data it may have.
    #[must_use]
    pub(crate) fn patients(&self) -> PatientsOf<'_> {
        match (&self.policy.patients, &self.found) {
            (Patients::All, _) => PatientsOf::All,
            (Patients::Listed(list), _) => PatientsOf::Listed(list),
            (Patients::Group(_) | Patients::Claim(_), Some(list)) => PatientsOf::Listed(list),
            (Patients::Group(_) | Patients::Claim(_), None) => PatientsOf::Unknown,
        }
    }
}
