//! A bulk export over OpenEMR: which parts of a kick-off it supports, one job a type, and the manifest that the client gets.

pub mod kick_off;
pub mod level;
pub mod manifest;
pub mod plan;
pub mod since;
pub mod state;
