//! What is asked, one workload a file. The property of each, and what its operations look like in a history,
//! stand at the head of the checker of the same name in `verify/src/`.

mod bank;
mod comments;
mod counter;
mod exactly_once;
mod internal;
mod long_fork;
mod monotonic;
mod multi_register;
mod pages;
mod predicate;
mod register;
mod scans;
mod sequential;
mod set;
mod temporal;
mod transactions;

pub(super) use bank::Bank;
pub(super) use comments::Comments;
pub(super) use counter::Counter;
pub(super) use exactly_once::ExactlyOnce;
pub(super) use internal::Internal;
pub(super) use long_fork::LongFork;
pub(super) use monotonic::Monotonic;
pub(super) use multi_register::MultiRegister;
pub(super) use pages::Pages;
pub(super) use predicate::Predicate;
pub(super) use register::Register;
pub(super) use sequential::Sequential;
pub(super) use set::Set;
pub(super) use temporal::Temporal;
pub(super) use transactions::{ListAppend, RwRegister};

use verify::history::Form;

/// `[:f key value]`
fn micro(f: &str, key: u64, value: Form) -> Form {
    Form::vector([Form::keyword(f), int(key), value])
}

/// `[a b]`
fn pair(a: u64, b: impl Into<Form>) -> Form {
    Form::vector([int(a), b.into()])
}

fn int(number: u64) -> Form {
    Form::Int(number as i64)
}
