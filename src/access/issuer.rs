//! Identity providers whose JWTs are taken.

use crate::access::remote_keys::RemoteKeys;

/// An identity provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Issuer {
    /// The name in `access.issuers`.
    pub(crate) name: String,
    /// The `iss` of its JWTs.
    pub(crate) issuer: String,
    /// What `aud` must be, or have among others.
    pub(crate) audience: String,
    /// Where its JWK Set is.
    pub(crate) keys: RemoteKeys,
    /// The algorithms that are taken; never `none`, never one with a shared secret.
    pub(crate) algorithms: Vec<JwtAlgorithm>,
    /// The claim that names the client.
    pub(crate) client_claim: String,
    /// The claim with the scopes that narrow the client's policy; `None`: the policy alone counts.
    pub(crate) scope_claim: Option<String>,
}

/// An algorithm of signatures (RFC 7518 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JwtAlgorithm {
    Rs256,
    Rs384,
    Rs512,
    Es256,
    Es384,
    Ps256,
    Ps384,
}
