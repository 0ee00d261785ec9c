//! Configuration: one YAML file and the environment in, a [`Config`] whose values cannot be wrong out.
//!
//! | module | what it is |
//! |---|---|
//! | `yaml`, `node` | the YAML tree, with the position of each value |
//! | `env`, `dotenv` | `${NAME}`, and the variables that override keys |
//! | `declaration`, `setting`, `shape`, `section` | how a key is declared, and what is made from its declaration |
//! | `configuration`, `listening`, `routes`, `access`, `limits`, `server_conf` | the keys of the gateway |
//! | `site_file`, `upstream`, `answers`, `cors` | the keys of a site |
//! | `site`, `node_urls`, `site_name`, `scope_list`, `site_keys`, `site_rotation`, `certificates` | a site, checked |
//! | `schema`, `reference` | the JSON Schema and docs/configuration.md |
//! | `problem` | errors and warnings with their places |

mod access;
mod answers;
mod base_url;
mod certificates;
mod configuration;
mod cors;
mod declaration;
mod dotenv;
mod env;
mod limits;
pub mod listening;
mod load;
mod node;
mod node_urls;
pub mod problem;
mod read;
mod reference;
mod routes;
mod schema;
mod scope_list;
mod section;
mod server_conf;
mod setting;
mod shape;
mod site;
mod site_file;
mod site_keys;
mod site_name;
mod site_rotation;
mod upstream;
pub mod value;
mod yaml;

pub use access::{Access, ReadyRule, TokenExposure};
pub use answers::{Answers, BulkData, Documents, Paging, Repairs};
pub use base_url::{BaseUrl, BaseUrlError};
pub use certificates::CaFile;
pub use configuration::Config;
pub use cors::{Cors, Origins};
pub use limits::{Compression, Limits, Log, LogFormat};
pub use listening::{LISTEN, Listener, ListenerTls};
pub use load::{CONFIG_FILE, load, read_private_key, read_text, reread_keys};
pub use problem::{Problem, Warning};
pub use reference::markdown_reference;
pub use routes::{RoutePath, Routes};
pub use schema::json_schema;
pub use shape::RestartRequired;
pub use site::{Site, Sites, TokenSettings};
pub use site_name::SiteName;
pub use site_rotation::{Rotating, SiteKeys};
pub use upstream::{Balance, Connections, HealthCheck, InFlightLimit, Node, RefreshLimit, Timeouts, Upstream};
