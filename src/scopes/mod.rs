//! SMART scopes: their two syntaxes, the scope that an interaction requires, and the scopes of a bulk export.

pub mod export;
pub mod required;
pub mod scope;
