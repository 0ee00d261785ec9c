//! The servers of one OpenEMR, and the network on the way to them.

mod causes;
mod failures;
mod faults_under_load;
mod names;
mod several;
