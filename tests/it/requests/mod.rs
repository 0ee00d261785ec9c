//! Requests that clients may send, over which protocol, and what the gateway answers itself.

mod browsers;
mod expect_continue;
mod http2;
mod http2_upstream;
mod limits;
mod local_routes;
mod protection;
mod proxying;
mod streaming;
