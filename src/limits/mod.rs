//! Limits: how often callers may ask, whose request is next when OpenEMR is busy, and how many requests OpenEMR can take.
//!
//! Pure: keys, costs and times are passed in.
//!
//! | module | what it is |
//! |---|---|
//! | `class`, `usual` | classes of requests, and how long OpenEMR usually takes for each |
//! | `adaptive`, `load` | the limit that finds itself: its arithmetic, and what it is fed with |
//! | `fair_queue`, `standing` | the queue that clients share fairly, and when a part of it stands |

mod adaptive;
pub(crate) mod class;
pub(crate) mod fair_queue;
pub(crate) mod load;
mod standing;
mod usual;
