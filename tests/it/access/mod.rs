//! Who may call, and for what.

#[cfg(feature = "sandbox")]
mod api_keys;
#[cfg(feature = "sandbox")]
mod certificate_clients;
#[cfg(feature = "sandbox")]
mod certificates;
#[cfg(feature = "sandbox")]
mod credentials;
mod explain;
#[cfg(feature = "sandbox")]
mod export_policies;
#[cfg(feature = "sandbox")]
mod exporting;
#[cfg(feature = "sandbox")]
mod exports;
#[cfg(feature = "sandbox")]
mod jwts;
#[cfg(feature = "sandbox")]
mod new_key;
#[cfg(feature = "sandbox")]
mod patient_groups;
#[cfg(feature = "sandbox")]
mod provider;
#[cfg(feature = "sandbox")]
mod secure;
