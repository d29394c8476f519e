//! Explores the models and prints what was explored, as a table.

use clap::Parser;
use models::commit::{Commit, Mutant, Scope};
use models::io::{Exploration, Limits, explore};
use models::table;
use std::process::ExitCode;

/// Explore the models of the protocols, state by state.
#[derive(Parser)]
struct Options {
    /// A scope by its name; `commit` (the default) stands for all of the commit protocol.
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

    fn is_wanted(&self, scope: &Scope) -> bool {
        match self.model.as_deref() {
            None | Some("commit") => scope.transactions.len() <= usize::from(self.transactions),
            Some(name) => scope.name == name,
        }
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
    for mutant in Mutant::ALL {
        println!("mutant  {:<28} {}", mutant.name(), mutant.about());
    }
}

/// Whether everything is as it must be.
fn run(options: &Options) -> Result<bool, String> {
    let mut is_right = true;
    if let Some(name) = &options.mutant {
        let mutant = Mutant::ALL.iter().find(|mutant| mutant.name() == name);
        let mutant = mutant.ok_or_else(|| format!("no mutant is called {name}: see --list"))?;
        println!("{}", table::head());
        return Ok(break_rule(options, *mutant, true));
    }
    let scopes: Vec<Scope> = Scope::all()
        .into_iter()
        .filter(|s| options.is_wanted(s))
        .collect();
    if scopes.is_empty() {
        let name = options.model.as_deref().unwrap_or_default();
        return Err(format!("no scope is called {name}: see --list"));
    }
    println!("{}", table::head());
    for scope in scopes {
        let scope = if options.doubled {
            scope.doubled()
        } else {
            scope
        };
        let name = format!(
            "{}{}",
            scope.name,
            if scope.doubled { ", doubled" } else { "" }
        );
        let found = explore(Commit::of(scope), options.limits());
        is_right &= print(&name, &found, false, true);
    }
    if options.all {
        for mutant in Mutant::ALL {
            is_right &= break_rule(options, *mutant, false);
        }
    }
    Ok(is_right)
}

/// Whether it is caught.
fn break_rule(options: &Options, mutant: Mutant, tells: bool) -> bool {
    let scope = Scope::catching(mutant);
    let name = format!("{} + {}", scope.name, mutant.name());
    print(
        &name,
        &explore(Commit::of(scope), options.limits()),
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
