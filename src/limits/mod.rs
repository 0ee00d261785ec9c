//! Limits: how often callers may ask, whose request is next when OpenEMR is busy, and how many requests OpenEMR can take.
//!
//! Pure: keys, costs and times are passed in.
//!
//! | module | what it is |
//! |---|---|
//! | `class`, `usual` | classes of requests, and how long OpenEMR usually takes for each |
//! | `adaptive`, `load`, `parties` | the limit that finds itself: its arithmetic, and what it is fed with |
//! | `fair_queue`, `standing` | the queue that clients share fairly, and when a part of it stands |
//! | `rate`, `rate_table`, `admission`, `usage` | how often callers may ask, the states of callers, and what they are told |
//! | `at_once`, `client_limits`, `subject` | requests at once, what clients have for limits, and who is counted |
//! | `replicas` | the part of a limit that one of several gateways has |

mod adaptive;
pub(crate) mod admission;
pub(crate) mod at_once;
pub(crate) mod class;
pub(crate) mod client_limits;
pub(crate) mod fair_queue;
pub(crate) mod load;
mod parties;
pub(crate) mod rate;
pub(crate) mod rate_table;
pub(crate) mod replicas;
mod standing;
pub(crate) mod subject;
pub(crate) mod usage;
mod usual;
