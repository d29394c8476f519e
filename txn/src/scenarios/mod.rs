//! Scenarios of the gateway: one story a test, every effect written down.
//!
//! Effects are compared as lines, one an effect and nothing left out of it, so a message too many is
//! caught like a message missing. Times are microseconds since the scenario's beginning; a number
//! before an arrow is that of the request.

mod commits;
mod contention;
mod fixture;
mod model_partition;
mod reads;
mod recoveries;
mod render;
mod resent;
mod simulation;
