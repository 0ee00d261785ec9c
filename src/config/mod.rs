//! Configuration: one YAML file and the environment in, a [`Config`] whose values cannot be wrong out.
//!
//! | module | what it is |
//! |---|---|
//! | `yaml`, `node` | the YAML tree, with the position of each value |
//! | `env`, `dotenv` | `${NAME}`, and the variables that override keys |
//! | `declaration`, `setting`, `shape`, `section` | how a key is declared, and what is made from its declaration |
//! | `configuration`, `listening`, `routes`, `access`, `host_pattern`, `trusted_proxies`, `exposure`, `limits`, `server_conf` | the keys of the gateway |
//! | `admin` | the keys of the admin listener |
//! | `audit` | the keys of the audit trail |
//! | `tracing` | the keys of OpenTelemetry traces |
//! | `store` | the keys of the store that several gateways share |
//! | `access_table`, `access_clients`, `access_policies`, `access_credentials`, `access_issuers`, `access_files` | clients and policies |
//! | `site_file`, `upstream`, `answers`, `cors` | the keys of a site |
//! | `site`, `node_urls`, `site_name`, `scope_list`, `site_keys`, `site_rotation`, `certificates`, `client_certificates` | a site, or a listener, checked |
//! | `bare` | an OpenEMR that is named on the command line |
//! | `changes` | which keys differ between two configurations |
//! | `unregistered`, `client_id_text` | a configuration whose client is yet to be registered, and its id in the text of the file |
//! | `initial`, `answers_text` | a first configuration, and the answers that it is made of |
//! | `import` | a configuration made from the Python proxy's variables |
//! | `schema`, `reference` | the JSON Schema and docs/configuration.md |
//! | `permissions` | who else can change or read a file |
//! | `problem` | errors and warnings with their places |

mod access;
mod access_clients;
mod access_credentials;
mod access_files;
mod access_issuers;
mod access_policies;
mod access_table;
mod admin;
mod answers;
mod answers_text;
mod audit;
mod bare;
mod base_url;
mod certificates;
mod changes;
mod client_certificates;
mod client_id_text;
mod configuration;
mod cors;
mod declaration;
mod dotenv;
mod env;
mod expansion;
mod exposure;
mod host_pattern;
mod import;
mod initial;
mod limits;
pub(crate) mod listening;
mod load;
mod log;
mod node;
mod node_urls;
mod permissions;
pub(crate) mod problem;
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
mod store;
mod text;
mod tracing;
mod trusted_proxies;
mod unregistered;
mod upstream;
pub(crate) mod value;
mod yaml;

pub(crate) use self::log::{Log, LogFormat, WhenFull};
pub(crate) use access::{ReadyRule, TokenExposure};
pub(crate) use access_clients::is_name as is_client_name;
pub(crate) use access_credentials::Expiry;
pub(crate) use answers::{Answers, Paging, Repairs, Unknown};
pub(crate) use answers_text::{address_of, client_id_of, hosts_of, networks_of, scopes_of, site_name_of};
pub(crate) use audit::{Audit, AuditRepository, IdForm, Sync};
pub(crate) use bare::upstream_of;
pub(crate) use base_url::{BaseUrl, BaseUrlError};
pub(crate) use certificates::{CaFile, end_of_certificate, invalidity};
pub(crate) use client_certificates::{ClientCertificates, ClientDemand};
pub(crate) use configuration::Config;
pub(crate) use cors::{Cors, Origins};
#[cfg(test)]
pub(crate) use host_pattern::HostPattern;
pub(crate) use import::{Imported, import_env};
pub(crate) use initial::Initial;
pub(crate) use limits::{Compression, Limits};
pub(crate) use listening::{LISTEN, Listener, ListenerTls};
pub(crate) use load::{CONFIG_FILE, Loaded, load, read_ca_file, read_jwk_set, read_private_key, read_text, reread_keys};
pub(crate) use problem::{Problem, Warning};
pub(crate) use reference::markdown_reference;
pub(crate) use routes::RoutePath;
pub(crate) use schema::json_schema;
pub(crate) use site::{Site, TokenSettings};
pub(crate) use site_rotation::SiteKeys;
pub(crate) use store::{StoreSettings, StoreUrl};
pub(crate) use tracing::Tracing;
pub(crate) use unregistered::{Unregistered, load_unregistered};
pub(crate) use upstream::{Balance, Connections, InFlightLimit, Node, RefreshLimit, Timeouts, Upstream, three_quarters};
