//! SMART scopes: their two syntaxes, the scope that an interaction requires, and the scopes of a bulk export.

pub(crate) mod export;
pub(crate) mod required;
pub(crate) mod scope;
