//! A whole cluster in virtual time: the production state machines, and everything around them that a
//! machine room can do to them (TigerBeetle's VOPR; FoundationDB's simulation).
//!
//! One seed is the whole world. [`run`] draws a world from it, lets clients work while a nemesis
//! strikes, heals everything, demands that every client finishes and the cluster becomes quiet, and
//! gives the history to the checkers. The same seed gives the same trace hash.

pub mod client;
pub mod clocks;
mod damage;
pub mod disk;
pub mod heap;
pub mod machine;
pub mod marks;
pub mod nemesis;
pub mod network;
pub mod options;
pub mod scenario;
pub mod shrink;
pub mod trace;

mod run;
mod summary;
mod telling;
mod world;

pub use options::{Cast, Mixture, SimulationOptions, WorldOptions};
pub use run::{Failure, Report, perform, run};
pub use scenario::{NotAScenario, Scenario};
pub use summary::{Summary, Totals};
pub use world::{ControlReply, World};
