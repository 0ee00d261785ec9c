//! Why the plans of a site cannot be read or written.

use std::io;

use crate::openemr::export::plan::PlanError;
use crate::store::store_error;

/// Why the plans of a site cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The folder or one of its files cannot be read or written.
    #[error(transparent)]
    Disk(#[from] io::Error),
    /// The shared store cannot be used at the moment.
    #[error("the store {0}")]
    Shared(#[from] store_error::StoreError),
    /// The shared store holds, or answered with, something that the gateway has not written there.
    #[error("the store holds something else than exports at their keys")]
    Foreign,
    /// What is stored is no plan that this version of the gateway can read.
    #[error("it {0}")]
    Plan(#[from] PlanError),
    /// What is stored is the plan of another job.
    #[error("it is another job's plan")]
    OtherJob,
    /// Other gateways changed the list each time that a job was about to be added.
    #[error("other gateways add exports all the time")]
    Busy,
    /// Another process works on the jobs by now.
    #[error("another gateway has the lease by now, or the store has lost its data")]
    LeaseLost,
}

impl StoreError {
    /// Whether it is about one plan: all others can be read.
    #[must_use]
    pub(crate) fn is_of_the_plan(&self) -> bool {
        match self {
            Self::Plan(_) | Self::OtherJob => true,
            Self::Disk(_) | Self::Shared(_) | Self::Foreign | Self::Busy | Self::LeaseLost => false,
        }
    }

    /// Whether the same may succeed when the shared store is back.
    #[must_use]
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Shared(_) | Self::Foreign | Self::Busy => true,
            Self::Disk(_) | Self::Plan(_) | Self::OtherJob | Self::LeaseLost => false,
        }
    }
}
