//! Bulk exports: their plans on disk or in the shared store, the worker that carries them out, and the requests that this takes of OpenEMR.
//!
//! | module | what it is |
//! |---|---|
//! | `jobs` | the exports of a site, for requests and for the worker |
//! | `store`, `store_error`, `listing` | where plans are kept: in a folder or in the shared store |
//! | `folder` | plans on the disk |
//! | `shared`, `scripts` | plans in the store that several gateways share |
//! | `lease`, `tenure` | the right to work on the exports in the shared store |
//! | `room` | whether there is room for one more export |
//! | `worker`, `shift`, `means` | carries exports out, one site beside the other |
//! | `openemr` | the requests to OpenEMR |
//! | `files`, `progress` | what clients get of files, and what the operator sees |

pub(crate) mod files;
mod folder;
pub(crate) mod jobs;
mod lease;
mod listing;
mod means;
pub(crate) mod openemr;
pub(crate) mod progress;
mod room;
mod scripts;
mod shared;
mod shift;
pub(crate) mod store;
pub(crate) mod store_error;
mod tenure;
pub(crate) mod worker;
