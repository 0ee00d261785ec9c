//! The right to work on a site's jobs in the shared store: a lease that a task of its own renews, whatever the work waits for.
//!
//! Decision: `docs/decisions/57-export-leases.md`.

use std::sync::Arc;
use std::time::Instant;

use log::{info, warn};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::exports::shared::SharedPlans;
use crate::exports::store_error::StoreError;
use crate::exports::tenure::{RENEW_AGAIN, RENEW_EVERY, Standing, Tenure};

/// The lease of one site. It is renewed until it is given back, dropped, or another gateway has it.
#[derive(Debug)]
pub(crate) struct SharedLease {
    plans: SharedPlans,
    tenure: Arc<Tenure>,
    renewal: JoinHandle<()>,
}

impl SharedLease {
    /// Takes the lease; `None` while another gateway has it.
    pub(crate) async fn take(plans: &SharedPlans) -> Result<Option<Self>, StoreError> {
        let Some(tenure) = plans.take().await? else { return Ok(None) };
        info!("site {}: this gateway works on the exports in the shared store, with lease {}", plans.site(), tenure.fence());
        let tenure = Arc::new(tenure);
        let renewal = tokio::spawn(renew(plans.clone(), Arc::clone(&tenure)));
        Ok(Some(Self { plans: plans.clone(), tenure, renewal }))
    }

    /// What is known of it.
    pub(super) fn tenure(&self) -> &Tenure {
        &self.tenure
    }

    /// Waits while it may have run out because the store is away; then tells whether it is held.
    pub(crate) async fn is_held(&self) -> bool {
        self.tenure.settled().await
    }

    /// Whether it is held, as far as is known at this moment.
    pub(crate) fn is_running(&self) -> bool {
        self.tenure.standing(Instant::now()) == Standing::Held
    }

    /// Gives it back. Where that fails, it runs out by itself.
    pub(crate) async fn release(self) {
        self.renewal.abort();
        if let Err(error) = self.plans.release(&self.tenure).await {
            info!("site {}: lease {} is not given back, and runs out: {error}", self.plans.site(), self.tenure.fence());
        }
    }
}

impl Drop for SharedLease {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

/// Renews a lease until another gateway has it.
async fn renew(plans: SharedPlans, tenure: Arc<Tenure>) {
    let (site, fence) = (plans.site().to_owned(), tenure.fence());
    let mut is_failing = false;
    loop {
        sleep(if is_failing { RENEW_AGAIN } else { RENEW_EVERY }).await;
        match plans.renew(&tenure).await {
            Ok(()) => {
                if std::mem::take(&mut is_failing) {
                    info!("site {site}: lease {fence} on the exports is renewed again");
                }
            }
            Err(StoreError::LeaseLost) => {
                return warn!(
                    "site {site}: lease {fence} on the exports is lost: another gateway has it by now, or the store has lost its data"
                );
            }
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    warn!("site {site}: lease {fence} on the exports cannot be renewed: {error}");
                }
            }
        }
    }
}
