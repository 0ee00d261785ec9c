//! How PHP reads queries and forms (`main/php_variables.c`, PHP 7.4 to 8.4), before OpenEMR sees anything of them.
//!
//! Names that are written differently can be one name to PHP, and OpenEMR takes its route, its site and more from such names.
//!
//! Decision: `docs/decisions/29-php-names.md`.

pub(crate) mod form;
pub(crate) mod name;
pub(crate) mod variables;
