//! The `openemr-gateway` binary: runs the command line and turns its result into an exit code.

#![forbid(unsafe_code)]

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    openemr_gateway::run()
}
