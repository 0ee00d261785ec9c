//! OpenEMR's servers: the nodes of each site, how they stand, which of them a request goes to, how many requests they work
//! on at once, and the HTTP client for the gateway's own requests.
//!
//! | file | what it is |
//! |---|---|
//! | `set` | the nodes of one site, and the choice among them: `Nodes` |
//! | `lease` | a request on its node: `NodeLease` |
//! | `node` | one node: its origins, and what choices read of it |
//! | `origin` | a base URL turned into peers that can be dialled |
//! | `resolve` | name lookups |
//! | `token_origin` | the token endpoint of a node, configured or discovered |
//! | `places` | the URLs of a node, with the keys that name them |
//! | `tried` | the nodes that a request has given up |
//! | `balance` | which node is next: pure |
//! | `counts` | how many nodes are healthy, for those who ask the gateway |
//! | `breaker` | which nodes are healthy, and when requests are rejected at once: pure |
//! | `in_flight` | the limit on requests in flight, and the wait queue in front of it |
//! | `health` | active checks and name lookups, in the background |
//! | `client` | the HTTP client for the gateway's own requests |
//! | `client_error` | why such a request got no answer |
//! | `cause` | why there is no usable answer, and the configuration key that mends it |
//! | `tls_failure` | why a TLS handshake failed |

mod balance;
pub(crate) mod breaker;
pub(crate) mod cause;
pub(crate) mod client;
pub(crate) mod client_error;
pub(crate) mod counts;
pub(crate) mod health;
pub(crate) mod in_flight;
mod lease;
pub(crate) mod node;
pub(crate) mod origin;
mod places;
mod resolve;
mod set;
pub(crate) mod task_end;
mod tls_failure;
pub(crate) mod token_origin;
mod tried;

pub(crate) use lease::NodeLease;
pub(crate) use set::{NoNode, Nodes};
pub(crate) use tried::Tried;
