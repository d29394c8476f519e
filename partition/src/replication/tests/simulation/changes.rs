//! Changes of members: machines without a replica, and voters that are wanted.

use super::super::*;
use super::machine::{Disk, Machine};
use super::run_with;
use super::world::{Packet, World};
use std::collections::BTreeSet;
use wire::message::{Configuration, Configured};

impl World {
    /// Machines without a replica, and changes of members that want them.
    pub(super) fn with_spares(&mut self, spares: u32) {
        let first = self.machines.len() as u32 + 1;
        for spare in first..first + spares {
            let mut machine = Machine::default();
            machine.disk.configured = self.founding.clone();
            self.machines.insert(node(spare), machine);
        }
        self.faults.changes = 1 + self.random.below(30);
    }

    pub(super) fn want_others(&mut self) {
        let mut wanted = BTreeSet::new();
        // What lies on one disk only goes with it.
        let least = if self.faults.wipes > 0 { 2 } else { 1 };
        let many = self.random.below(5) as usize;
        while wanted.len() < least || wanted.len() < many && self.random.chance(9, 10) {
            let any = self.random.below(self.machines.len() as u64) as u32;
            wanted.insert(node(1 + any));
        }
        self.wanted = Some(wanted);
    }

    /// A leader makes the next step to what is wanted.
    pub(super) fn go_on_changing(&mut self, member: NodeId) {
        if !self.leads(member) {
            return;
        }
        let now = self.now;
        let replication = self.running(member);
        let present = replication.configured().configuration.clone();
        let term = replication.term();
        let is_free = replication.first_of_term_committed()
            && replication.is_configuration_committed()
            && !replication.is_transferring()
            && replication.handed_over_to().is_none();
        if !is_free {
            return;
        }
        let wants_naming_anew = replication.wants_naming_anew();
        let wanted = match (present.is_joint(), &self.wanted) {
            (true, _) => present.voters.clone(),
            (false, Some(wanted)) => wanted.clone(),
            (false, None) => return,
        };
        let new: BTreeSet<NodeId> = wanted.difference(&present.voters).copied().collect();
        let change = match () {
            () if present.is_joint() => Change::Leave,
            () if wants_naming_anew => Change::Anew,
            () if present.voters == wanted && present.learners.is_empty() => return,
            () if present.learners != new => Change::Learners(new),
            () => Change::Voters(wanted),
        };
        let (_, start) = self.elected[&term];
        let obtained = self.obtained.get(&term).copied().unwrap_or_default();
        let promised = match self.without_promise {
            true => Timestamp::ZERO,
            false => obtained.max(start.at),
        };
        self.turn(member, |replication, _, out| {
            let proposed = replication.propose_change(now, &change, promised, out);
            let is_waited_for = matches!(proposed, Err(ChangeRefused::NotCaughtUp { .. }));
            assert!(
                proposed.is_ok() || is_waited_for,
                "{change:?}: {proposed:?}"
            );
        });
        self.deeds.changed += usize::from(change == Change::Leave);
    }

    /// A replica is no member any more: its machine drops it, and remembers since when.
    pub(super) fn remove(&mut self, member: NodeId, configured: Configured, as_of: LogPosition) {
        let founding = self.founding.clone();
        let machine = self.machine(member);
        let running = machine.running.take();
        let term = running.map(|replication| replication.term());
        machine.incarnation += 1;
        machine.batches.clear();
        machine.promises.clear();
        (machine.reading, machine.taking) = (None, None);
        let old = std::mem::take(&mut machine.disk);
        machine.disk = Disk {
            ceiling: old.ceiling,
            was_wiped: old.was_wiped,
            removed: Some((configured, as_of)),
            removed_in: term.unwrap_or(old.term).max(as_of.term),
            had_forgotten: old.memory == Recollection::Lost,
            configured: founding,
            ..Disk::default()
        };
        self.deeds.removed += 1;
    }

    pub(super) fn on_message_without_replica(
        &mut self,
        to: NodeId,
        from: NodeId,
        message: ReplicationMessage,
    ) {
        use ReplicationMessage as M;
        let removed = self.machines[&to].disk.removed.clone();
        match message {
            M::Join { configured, .. }
                if removed
                    .as_ref()
                    .is_none_or(|(_, as_of)| configured.at > *as_of) =>
            {
                self.begin(to, configured);
            }
            M::PreVote { .. } | M::Vote { .. } | M::AskMemory { .. } => {
                if let M::AskMemory { nonce: nonce @ 1.. } = message {
                    self.tell_memory(to, from, nonce);
                }
                if let Some((configured, as_of)) = removed
                    && !configured.configuration.has_member(from)
                {
                    let told = M::Removed { configured, as_of };
                    self.send(to, from, Packet::Message(told));
                }
            }
            _ => {}
        }
    }

    fn tell_memory(&mut self, by: NodeId, to: NodeId, nonce: u64) {
        let machine = self.machine(by);
        let promised = machine.disk.ceiling.max(machine.told);
        let term = machine.disk.removed_in;
        let removed = machine.disk.removed.clone();
        let remembers = !machine.disk.had_forgotten;
        let memory = removed.map(|(configured, last)| wire::message::Memory {
            term,
            promised,
            last,
            configured,
            remembers,
        });
        let told = ReplicationMessage::Memory { nonce, memory };
        self.send(by, to, Packet::Message(told));
    }

    fn begin(&mut self, member: NodeId, configured: Configured) {
        let disk = &mut self.machine(member).disk;
        let is_new = configured.configuration.learners.contains(&member) && !disk.was_wiped;
        let above = disk.removed.as_ref().map(|_| disk.removed_in.next());
        disk.term = above.unwrap_or_default();
        if is_new {
            disk.term = disk.term.max(configured.at.term);
        }
        disk.exists = true;
        disk.memory = match is_new {
            true => Recollection::BegunAt(configured.at),
            false => Recollection::Lost,
        };
        self.start_told(member, Some(configured));
        self.deeds.begun += 1;
    }

    /// After healing: what was wanted is there, and whoever is no member has heard of it.
    pub(super) fn check_changed(&self, leader: NodeId) {
        let present = &self.running(leader).configured().configuration;
        if let Some(wanted) = &self.wanted {
            assert_eq!(
                *present,
                Configuration::of(wanted.iter().copied()),
                "what is wanted comes about"
            );
        }
        for (member, machine) in &self.machines {
            assert!(
                present.has_member(*member) || !machine.disk.exists,
                "{member} is no member of {present:?}, and nobody tells it"
            );
        }
    }
}

#[test]
fn members_come_and_go_under_whatever_may_happen() {
    for (members, spares, seeds) in [(3, 2, 0..400), (3, 4, 1000..1200), (1, 3, 2000..2200)] {
        let count = seeds.clone().count();
        let deeds = run_with(members, seeds, |world| world.with_spares(spares));
        assert!(
            deeds.changed > count && deeds.begun > count && deeds.removed > count,
            "too little happened in {count} worlds: {deeds:?}"
        );
    }
}

/// Nodes lose their disks, one at a time, while members come and go.
#[test]
fn members_come_and_go_and_lose_their_memory() {
    let deeds = run_with(3, 5000..5400, |world| {
        world.with_spares(2);
        world.faults.wipes = 300;
        world.faults.crashes = world.faults.crashes.max(3);
    });
    assert!(
        deeds.wiped > 400 && deeds.changed > 200 && deeds.named_anew > 0,
        "too little happened: {deeds:?}"
    );
}

#[test]
fn changes_that_carry_no_promise_are_noticed() {
    let noticed = std::panic::catch_unwind(|| {
        run_with(3, 0..400, |world| {
            world.with_spares(2);
            world.without_promise = true;
        })
    });
    let why = noticed.expect_err("nothing notices that changes carry no promise");
    let why = why.downcast_ref::<String>().expect("in words");
    assert!(why.contains("obtained"), "{why}");
}
