//! Requests that clients may send, over which protocol, and what the gateway answers itself.

mod browsers;
mod conditional_create;
mod expect_continue;
mod fields;
mod framing;
mod framing_answers;
mod framing_upstream;
mod http2;
mod http2_upstream;
mod limits;
mod local_routes;
mod methods;
mod names;
mod operations;
mod places;
mod protection;
mod proxies;
mod proxying;
mod read_change_write;
mod streaming;
mod targets;
mod writes;
