//! The servers of one OpenEMR, and the network on the way to them.

mod causes;
mod failures;
mod faults_under_load;
mod health;
mod names;
mod several;
