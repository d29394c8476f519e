//! Explores the models and prints what was explored, as a table.

use clap::Parser;
use models::commit::{Commit, Mutant, Scope};
use models::io::{Exploration, Limits, explore};
use models::replication::{self, Replicas};
use models::table;
use std::process::ExitCode;

/// Explore the models of the protocols, state by state.
#[derive(Parser)]
struct Options {
    /// A scope by its name, or all of a model: `commit`, `replication`. Without it, everything.
    model: Option<String>,
    /// Only scopes with at most this many transactions.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=3))]
    transactions: u8,
    /// Messages may come any number of times.
    #[arg(long)]
    doubled: bool,
    /// Explore ways of at most this many steps.
    #[arg(long)]
    depth: Option<usize>,
    /// Stop each exploration after about so many states.
    #[arg(long)]
    states: Option<usize>,
    /// Break this rule; the steps to what goes wrong are printed.
    #[arg(long)]
    mutant: Option<String>,
    /// Every scope, then every mutant.
    #[arg(long)]
    all: bool,
    /// Print the names of all scopes and mutants.
    #[arg(long)]
    list: bool,
}

impl Options {
    fn limits(&self) -> Limits {
        Limits {
            depth: self.depth,
            states: self.states,
        }
    }

    fn commit_scopes(&self) -> Vec<Scope> {
        let is_wanted = |scope: &Scope| match self.model.as_deref() {
            None | Some("commit") => scope.transactions.len() <= usize::from(self.transactions),
            Some(name) => scope.name == name,
        };
        let wanted = Scope::all().into_iter().filter(is_wanted);
        let doubled = |scope: Scope| if self.doubled { scope.doubled() } else { scope };
        wanted.map(doubled).collect()
    }

    fn replication_scopes(&self) -> Vec<replication::Scope> {
        let is_wanted = |scope: &replication::Scope| match self.model.as_deref() {
            None | Some("replication") => true,
            Some(name) => scope.name == name,
        };
        let wanted = replication::Scope::all().into_iter().filter(is_wanted);
        let doubled =
            |scope: replication::Scope| if self.doubled { scope.doubled() } else { scope };
        wanted.map(doubled).collect()
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        list();
        return ExitCode::SUCCESS;
    }
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

fn list() {
    for scope in Scope::all() {
        println!("scope   {:<28} {}", scope.name, scope.about);
    }
    for scope in replication::Scope::all() {
        println!("scope   {:<28} {}", scope.name, scope.about);
    }
    for mutant in Mutant::ALL {
        println!("mutant  {:<28} {}", mutant.name(), mutant.about());
    }
    for mutant in replication::Mutant::ALL {
        println!("mutant  {:<28} {}", mutant.name(), mutant.about());
    }
}

/// Whether everything is as it must be.
fn run(options: &Options) -> Result<bool, String> {
    if let Some(name) = &options.mutant {
        println!("{}", table::head());
        if let Some(mutant) = Mutant::ALL.iter().find(|mutant| mutant.name() == name) {
            return Ok(break_commit(options, *mutant, true));
        }
        let mutant = replication::Mutant::ALL
            .iter()
            .find(|mutant| mutant.name() == name);
        let mutant = mutant.ok_or_else(|| format!("no mutant is called {name}: see --list"))?;
        return Ok(break_replication(options, *mutant, true));
    }
    let (commit, replication) = (options.commit_scopes(), options.replication_scopes());
    if commit.is_empty() && replication.is_empty() {
        let name = options.model.as_deref().unwrap_or_default();
        return Err(format!("no scope is called {name}: see --list"));
    }
    println!("{}", table::head());
    let mut is_right = true;
    for scope in commit {
        let name = name_of(scope.name, scope.doubled);
        is_right &= print(
            &name,
            &explore(Commit::of(scope), options.limits()),
            false,
            true,
        );
    }
    for scope in replication {
        let name = name_of(scope.name, scope.doubled);
        is_right &= print(
            &name,
            &explore(Replicas(scope), options.limits()),
            false,
            true,
        );
    }
    if options.all {
        for mutant in Mutant::ALL {
            is_right &= break_commit(options, *mutant, false);
        }
        for mutant in replication::Mutant::ALL {
            is_right &= break_replication(options, *mutant, false);
        }
    }
    Ok(is_right)
}

fn name_of(scope: &str, is_doubled: bool) -> String {
    format!("{scope}{}", if is_doubled { ", doubled" } else { "" })
}

/// Whether it is caught.
fn break_commit(options: &Options, mutant: Mutant, tells: bool) -> bool {
    let scope = Scope::catching(mutant);
    let name = format!("{} + {mutant}", scope.name);
    print(
        &name,
        &explore(Commit::of(scope), options.limits()),
        true,
        tells,
    )
}

/// Whether it is caught.
fn break_replication(options: &Options, mutant: replication::Mutant, tells: bool) -> bool {
    let scope = replication::Scope::catching(mutant);
    let name = format!("{} + {mutant}", scope.name);
    print(
        &name,
        &explore(Replicas(scope), options.limits()),
        true,
        tells,
    )
}

fn print(name: &str, found: &Exploration, is_mutant: bool, tells: bool) -> bool {
    println!("{}", table::line(name, found, is_mutant));
    if tells {
        print!("{}", table::steps(found));
    }
    found.counterexample.is_some() == is_mutant
}
