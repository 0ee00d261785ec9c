//! The scripts that read and change the plans in the shared store. The store does each as a whole: nothing else happens meanwhile.
//!
//! Decision: `docs/decisions/57-export-leases.md`.

use crate::store::script::{Script, Use};

/// Declares scripts, each in a file of its name.
macro_rules! scripts {
    ($($(#[doc = $text:literal])+ $name:ident = $file:literal;)+) => {
        $(
            $(#[doc = $text])+
            pub(super) static $name: Script =
                Script::new(Use::Exports, concat!(include_str!("scripts/site.lua"), include_str!(concat!("scripts/", $file))));
        )+
    };
}

scripts! {
    /// Lists the jobs and marks.
    LIST = "list.lua";
    /// Reads a plan.
    LOAD = "load.lua";
    /// Tells whether a plan was written lately.
    IS_FRESH = "is_fresh.lua";
    /// Adds a job, unless the list has changed since it was read.
    ADD = "add.lua";
    /// Marks a job to be deleted.
    MARK = "mark.lua";
    /// Keeps a plan apart that cannot be read.
    SET_ASIDE = "set_aside.lua";
    /// Takes the lease.
    TAKE = "take.lua";
    /// Renews the lease.
    RENEW = "renew.lua";
    /// Gives the lease back.
    RELEASE = "release.lua";
    /// Writes a plan, if the lease is the latest.
    SAVE = "save.lua";
    /// Removes a job, if the lease is the latest.
    REMOVE = "remove.lua";
}
