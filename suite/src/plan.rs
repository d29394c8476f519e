//! Which workload under which nemeses.

use crate::load::{self, DRIVERS, Driver};
use crate::nemesis::{self, Built, ClockChange, Hook, Kind, NEMESES, Promise, Whom};
use crate::probe::Expected;
use verify::WORKLOADS;

/// One workload under one set of nemeses.
#[derive(Clone, Debug)]
pub struct Pair {
    /// What is asked.
    pub driver: &'static Driver,
    /// What is done meanwhile, all at once.
    pub nemeses: Vec<Kind>,
}

impl Pair {
    /// `list-append+kill-one`: also the name of its folder.
    pub fn name(&self) -> String {
        let nemeses = self.nemeses.iter().map(|kind| kind.name);
        let parts: Vec<&str> = std::iter::once(self.driver.name).chain(nemeses).collect();
        parts.join("+")
    }

    /// The changes of clocks among its nemeses.
    pub fn clocks(&self) -> impl Iterator<Item = ClockChange> {
        self.nemeses.iter().filter_map(|kind| match kind.built {
            Ok(Built::Clock(change)) => Some(change),
            _ => None,
        })
    }

    /// What must hold of the history.
    pub fn promise(&self) -> Promise {
        let promises = self.clocks().map(ClockChange::promise);
        match promises.into_iter().any(|p| p == Promise::Serializability) {
            true => Promise::Serializability,
            false => Promise::StrictSerializability,
        }
    }
}

/// What is expected of the store's going on during a fault: nothing if another nemesis is at work too.
pub fn expected(pair: &Pair, built: &Built, nodes: usize) -> Expected {
    use nemesis::Shape;
    if pair.nemeses.len() > 1 || nodes < 3 {
        return Expected::Nothing;
    }
    match built {
        Built::Kill(Whom::Leader) => Expected::GoesOnAfterKill,
        Built::Kill(Whom::One | Whom::Minority)
        | Built::Pause(Whom::One | Whom::Leader)
        | Built::Partition(Shape::One) => Expected::GoesOn,
        _ => Expected::Nothing,
    }
}

/// Names that cannot be taken, with the remedy.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoSuch(String);

/// The workloads of a list: names, or `all` that are driven.
pub fn workloads(names: &[String]) -> Result<Vec<&'static Driver>, NoSuch> {
    let mut chosen = Vec::new();
    for name in names {
        if name == "all" {
            chosen.extend(DRIVERS);
            continue;
        }
        let driver = load::find(name).ok_or_else(|| match verify::Workload::from_name(name) {
            Some(workload) => NoSuch(match workload.checker {
                verify::Checker::WaitsFor(what) => {
                    format!("the workload '{name}' cannot be run yet: it waits for {what}")
                }
                _ => format!(
                    "nothing drives the workload '{name}' yet: its histories can only be checked"
                ),
            }),
            None => {
                let known: Vec<&str> = DRIVERS.iter().map(|driver| driver.name).collect();
                NoSuch(format!(
                    "there is no workload '{name}': it is 'all' or one of {}",
                    known.join(", ")
                ))
            }
        })?;
        chosen.push(driver);
    }
    Ok(chosen)
}

/// The sets of nemeses of a list: names, several at once joined by `+`, or `all` that are built.
pub fn nemeses(names: &[String]) -> Result<Vec<Vec<Kind>>, NoSuch> {
    let mut chosen = Vec::new();
    for name in names {
        if name == "all" {
            let built = NEMESES.iter().filter(|kind| kind.built.is_ok());
            chosen.extend(built.map(|kind| vec![kind.clone()]));
            continue;
        }
        let together: Result<Vec<Kind>, NoSuch> = name.split('+').map(one).collect();
        chosen.push(together?);
    }
    Ok(chosen)
}

fn one(name: &str) -> Result<Kind, NoSuch> {
    let Some(kind) = nemesis::find(name) else {
        let built = NEMESES.iter().filter(|kind| kind.built.is_ok());
        let known: Vec<&str> = built.map(|kind| kind.name).collect();
        return Err(NoSuch(format!(
            "there is no nemesis '{name}': it is 'all' or one of {}; several at once are joined by '+'",
            known.join(", ")
        )));
    };
    match kind.built {
        Ok(_) => Ok(kind.clone()),
        Err(waits_for) => Err(NoSuch(format!(
            "the nemesis '{name}' is not built: it waits for {waits_for}"
        ))),
    }
}

/// A nemesis of the user's own.
pub fn hooked(command: &str) -> Kind {
    Kind {
        name: "hook",
        meaning: "a command of the user's",
        built: Ok(Built::Hook(Hook {
            command: command.to_owned(),
        })),
    }
}

/// Every workload under every set of nemeses.
pub fn pairs(workloads: &[&'static Driver], nemeses: &[Vec<Kind>]) -> Vec<Pair> {
    let all = workloads.iter().flat_map(|driver| {
        nemeses.iter().map(|together| Pair {
            driver,
            nemeses: together.clone(),
        })
    });
    all.collect()
}

/// The tables of workloads and nemeses, with what those wait for that cannot be run.
pub fn tables() -> String {
    let mut lines = vec!["Workloads:".to_owned()];
    for workload in WORKLOADS {
        let waits = match (load::find(workload.name), &workload.checker) {
            (_, verify::Checker::WaitsFor(what)) => format!(" (waits for {what})"),
            (None, _) => " (waits for a driver; histories can be checked)".to_owned(),
            (Some(_), _) => String::new(),
        };
        lines.push(format!(
            "  {:<20}{}{waits}",
            workload.name, workload.meaning
        ));
    }
    lines.push("\nNemeses (several at once: joined by '+'):".to_owned());
    for kind in NEMESES {
        let waits = match kind.built {
            Ok(_) => String::new(),
            Err(waits_for) => format!(" (waits for {waits_for})"),
        };
        lines.push(format!("  {:<20}{}{waits}", kind.name, kind.meaning));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn names_are_found_and_others_refused_with_what_there_is() {
        let together = nemeses(&names(&["kill-one+packet-loss", "none"])).unwrap();
        let lengths: Vec<usize> = together.iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 1]);
        let no = nemeses(&names(&["kill-two"])).unwrap_err().to_string();
        assert!(no.contains("kill-one"), "{no}");
        let no = nemeses(&names(&["split"])).unwrap_err().to_string();
        assert!(no.contains("waits for splits"), "{no}");
        let no = workloads(&names(&["watch"])).unwrap_err().to_string();
        assert!(no.contains("waits for watches"), "{no}");
        let no = workloads(&names(&["lists"])).unwrap_err().to_string();
        assert!(no.contains("list-append"), "{no}");
        let all = pairs(
            &workloads(&names(&["list-append"])).unwrap(),
            &nemeses(&names(&["all"])).unwrap(),
        );
        let built = NEMESES.iter().filter(|kind| kind.built.is_ok()).count();
        assert_eq!(all.len(), built);
        assert!(all.iter().any(|pair| pair.name() == "list-append+kill-one"));
    }

    #[test]
    fn a_clock_out_of_its_bound_costs_the_order_of_real_time_only() {
        let pair = |nemesis: &str| Pair {
            driver: load::find("list-append").unwrap(),
            nemeses: nemeses(&names(&[nemesis])).unwrap().remove(0),
        };
        let promise = |nemesis| pair(nemesis).promise();
        assert_eq!(promise("clock-inside"), Promise::StrictSerializability);
        assert_eq!(promise("kill-all"), Promise::StrictSerializability);
        assert_eq!(promise("kill-all+clock-twice"), Promise::Serializability);
        let two = pair("kill-leader+packet-delay");
        assert_eq!(
            expected(&two, &Built::Kill(Whom::Leader), 3),
            Expected::Nothing
        );
    }

    #[test]
    fn the_tables_list_everything() {
        let tables = tables();
        for name in WORKLOADS
            .iter()
            .map(|w| w.name)
            .chain(NEMESES.iter().map(|k| k.name))
        {
            assert!(
                tables.contains(&format!("\n  {name} ")),
                "{name} is missing"
            );
        }
    }
}
