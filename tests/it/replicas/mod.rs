//! Several gateways in front of one OpenEMR: what they share by way of a store, and what becomes of it when the store or one of
//! them is killed.

mod assertions;
mod rates;
mod store;

use serde_json::{Value, json};

use crate::support::redis::Redis;

/// The same configuration with a store. A command may take long: the machine of the tests is busy.
pub fn with_store(mut config: Value, redis: &Redis) -> Value {
    config["store"] = json!({"url": redis.url(), "timeout": "20s"});
    config
}
