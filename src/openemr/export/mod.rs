//! A bulk export over OpenEMR: which parts of a kick-off it supports, one job a type, and the manifest that the client gets.

pub(crate) mod kick_off;
pub(crate) mod level;
pub(crate) mod manifest;
pub(crate) mod plan;
pub(crate) mod since;
pub(crate) mod state;
