//! The transactions of a history as a table of numbers.
//!
//! Keys, and versions (a key with a value that somebody wrote to it), are numbered as they come; a list
//! that was read is a stretch of one array of elements, each packed into 64 bits. So two reads are
//! compared as memory is, and nothing is allocated for a transaction.

use crate::history::{History, Kind, Malformed, Node, Problem, Value};
use crate::intern::{Names, Pairs};

/// No transaction, no version.
pub(super) const NONE: u32 = u32::MAX;
/// Quotes longer than so many characters are cut.
const QUOTE_CHARS_MAX: usize = 400;

/// What a micro-operation does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    /// Writes this version.
    Write(u32),
    /// Read a list: `elements[from..to]`.
    List { from: u32, to: u32 },
    /// Read a register: this version, or [`NONE`] for nothing.
    Register(u32),
    /// A read of which nothing is known.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct MicroOperation {
    pub(super) key: u32,
    pub(super) access: Access,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Transaction {
    /// Its invocation, as a place of events.
    pub(super) begin: u32,
    /// Its completion, or its invocation if it has none.
    pub(super) last: u32,
    pub(super) process: i64,
    pub(super) outcome: Kind,
    /// It certainly committed: `:ok`, or `:info` and somebody read what it wrote.
    pub(super) counts: bool,
    from: u32,
    to: u32,
}

/// Which micro-operations a workload has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Vocabulary {
    /// `:append` and `:r` of lists.
    Lists,
    /// `:w` and `:r` of single values.
    Registers,
}

pub(super) struct Table<'h> {
    pub(super) history: &'h History,
    pub(super) transactions: Vec<Transaction>,
    micro_operations: Vec<MicroOperation>,
    pub(super) elements: Vec<u64>,
    keys: Pairs,
    pub(super) versions: Pairs,
    /// Of each version its writer.
    pub(super) writers: Vec<u32>,
    /// Of each version whether its writer wrote the key again.
    pub(super) intermediate: Vec<bool>,
    atoms: Atoms,
    pub(super) disorder: Option<Malformed>,
    pub(super) pairs_are_certain: bool,
}

impl<'h> Table<'h> {
    pub(super) fn new(
        history: &'h History,
        vocabulary: Vocabulary,
    ) -> Result<Table<'h>, Malformed> {
        let operations = history.operations()?;
        let mut table = Table {
            history,
            transactions: Vec::with_capacity(operations.all.len()),
            micro_operations: Vec::with_capacity(3 * operations.all.len()),
            elements: Vec::new(),
            keys: Pairs::default(),
            versions: Pairs::default(),
            writers: Vec::new(),
            intermediate: Vec::new(),
            atoms: Atoms::default(),
            disorder: operations.disorder,
            pairs_are_certain: operations.pairs_are_certain,
        };
        // Of each key who wrote it last, and what.
        let mut last_writes: Vec<(u32, u32)> = Vec::new();
        for operation in operations.all {
            let outcome = operation.outcome(history);
            let invocation = &history.events()[operation.invocation()];
            let mut last = operation.last();
            if history.value(&history.events()[last]).is_nil() && outcome != Kind::Ok {
                // Somebody wrote down no value with an `:info`: the invocation has it.
                last = operation.invocation();
            }
            table.check_same(invocation, &history.events()[last])?;
            let from = table.micro_operations.len() as u32;
            table.read_micro_operations(last, outcome, vocabulary, &mut last_writes)?;
            table.transactions.push(Transaction {
                begin: operation.invocation() as u32,
                last: operation.last() as u32,
                process: match invocation.process {
                    crate::history::Process::Client(number) => number,
                    crate::history::Process::Other(_) => -1,
                },
                outcome,
                counts: outcome == Kind::Ok,
                from,
                to: table.micro_operations.len() as u32,
            });
        }
        Ok(table)
    }

    /// A completion repeats all micro-operations in order; only what was read is new.
    fn check_same(
        &self,
        invocation: &crate::history::Event,
        completion: &crate::history::Event,
    ) -> Result<(), Malformed> {
        let (asked, told) = (
            self.history.value(invocation),
            self.history.value(completion),
        );
        if asked.is_nil() {
            return Ok(());
        }
        let mut told_members = told.members();
        let mut same = true;
        for asked in asked.members() {
            let Some(told) = told_members.next() else {
                same = false;
                break;
            };
            if let (Some([f, key, value]), Some([g, other, result])) = (asked.tuple(), told.tuple())
            {
                let is_read = f.name() == Some("r");
                same &= f.same(g) && key.same(other) && (is_read || value.same(result));
            }
        }
        if same && told_members.next().is_none() {
            return Ok(());
        }
        let why = format!(
            "the transaction was invoked as {asked} and completed as {told}: a completion repeats all micro-operations, only what was read is new"
        );
        Err(Malformed::new(Problem::WritesChanged, completion, why))
    }

    fn read_micro_operations(
        &mut self,
        place: usize,
        outcome: Kind,
        vocabulary: Vocabulary,
        last_writes: &mut Vec<(u32, u32)>,
    ) -> Result<(), Malformed> {
        let history = self.history;
        let event = &history.events()[place];
        let transaction = self.transactions.len() as u32;
        let write = match vocabulary {
            Vocabulary::Lists => "append",
            Vocabulary::Registers => "w",
        };
        let unknown = |value: Value| {
            let why = format!("{value} is neither [:{write} KEY VALUE] nor [:r KEY …]");
            Malformed::new(Problem::UnknownOperation, event, why)
        };
        let whole = history.value(event);
        if whole.sequence().is_none() && !whole.is_nil() {
            return Err(unknown(whole));
        }
        for member in whole.members() {
            let [f, key, value] = member.tuple().ok_or_else(|| unknown(member))?;
            let (key, new) = self.keys.intern((0, self.atoms.pack(key)));
            if new {
                last_writes.push((NONE, NONE));
            }
            let access = match f.name() {
                Some("r") if outcome == Kind::Fail || outcome == Kind::Info && value.is_nil() => {
                    Access::Unknown
                }
                Some("r") if vocabulary == Vocabulary::Lists => {
                    if value.sequence().is_none() && !value.is_nil() {
                        return Err(unknown(member));
                    }
                    let from = self.elements.len() as u32;
                    for element in value.members() {
                        let packed = self.atoms.pack(element);
                        self.elements.push(packed);
                    }
                    let to = self.elements.len() as u32;
                    Access::List { from, to }
                }
                Some("r") if value.is_nil() => Access::Register(NONE),
                Some("r") => Access::Register(self.version(key, value).0),
                Some(name) if name == write => {
                    let (version, _) = self.version(key, value);
                    if self.writers[version as usize] != NONE {
                        let why = format!(
                            "{value} is written to key {} twice: every value must be unique for its key over the whole history, failed and retried ones included",
                            member.members().nth(1).unwrap_or(member)
                        );
                        return Err(Malformed::new(Problem::DuplicateWrite, event, why));
                    }
                    self.writers[version as usize] = transaction;
                    let last = &mut last_writes[key as usize];
                    if last.0 == transaction {
                        self.intermediate[last.1 as usize] = true;
                    }
                    *last = (transaction, version);
                    Access::Write(version)
                }
                _ => return Err(unknown(member)),
            };
            self.micro_operations.push(MicroOperation { key, access });
        }
        Ok(())
    }

    fn version(&mut self, key: u32, value: Value) -> (u32, bool) {
        let packed = self.atoms.pack(value);
        let (version, new) = self.versions.intern((key, packed));
        if new {
            self.writers.push(NONE);
            self.intermediate.push(false);
        }
        (version, new)
    }

    /// What a transaction did, in order.
    pub(super) fn of(&self, transaction: u32) -> &[MicroOperation] {
        let t = &self.transactions[transaction as usize];
        &self.micro_operations[t.from as usize..t.to as usize]
    }

    /// The transactions that are told `:ok`.
    pub(super) fn committed(&self) -> impl Iterator<Item = u32> {
        let ok = |t: &u32| self.transactions[*t as usize].outcome == Kind::Ok;
        (0..self.transactions.len() as u32).filter(ok)
    }

    /// The transactions that certainly committed.
    pub(super) fn counting(&self) -> impl Iterator<Item = u32> {
        let counts = |t: &u32| self.transactions[*t as usize].counts;
        (0..self.transactions.len() as u32).filter(counts)
    }

    /// Somebody saw what this version's writer wrote.
    pub(super) fn observe(&mut self, version: u32) {
        let writer = self.writers[version as usize];
        if writer != NONE {
            let transaction = &mut self.transactions[writer as usize];
            transaction.counts |= transaction.outcome == Kind::Info;
        }
    }

    /// The writer of a version, if it certainly committed.
    pub(super) fn committed_writer(&self, version: u32) -> Option<u32> {
        let writer = self.writers[version as usize];
        (writer != NONE && self.transactions[writer as usize].counts).then_some(writer)
    }

    /// How the writer of a version ended.
    pub(super) fn writer_outcome(&self, version: u32) -> Option<Kind> {
        let writer = self.writers[version as usize];
        (writer != NONE).then(|| self.transactions[writer as usize].outcome)
    }

    pub(super) fn keys(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn key_text(&self, key: u32) -> String {
        self.atoms.text(self.keys.get(key).1, self.history)
    }

    pub(super) fn value_text(&self, version: u32) -> String {
        self.atoms.text(self.versions.get(version).1, self.history)
    }

    pub(super) fn list_text(&self, elements: &[u64]) -> String {
        let texts: Vec<String> = elements
            .iter()
            .map(|e| self.atoms.text(*e, self.history))
            .collect();
        cut(format!("[{}]", texts.join(" ")))
    }

    pub(super) fn element_text(&self, element: u64) -> String {
        self.atoms.text(element, self.history)
    }

    /// The number that an event carries.
    pub(super) fn index(&self, place: u32) -> u64 {
        self.history.events()[place as usize].index
    }

    /// A transaction in the words of the history.
    pub(super) fn quote(&self, transaction: u32) -> String {
        let t = &self.transactions[transaction as usize];
        let event = &self.history.events()[t.last as usize];
        let value = cut(self.history.value(event).to_string());
        format!(
            "event {} (process {}, {}): {value}",
            event.index,
            t.process,
            t.outcome.name()
        )
    }

    /// Places of the last events of transactions.
    pub(super) fn places(&self, transactions: &[u32]) -> Vec<usize> {
        let place = |t: &u32| self.transactions[*t as usize].last as usize;
        transactions.iter().map(place).collect()
    }
}

fn cut(text: String) -> String {
    if text.chars().count() <= QUOTE_CHARS_MAX {
        return text;
    }
    let head: String = text.chars().take(QUOTE_CHARS_MAX).collect();
    head + " …"
}

/// Values in 64 bits: small integers and names as they are, the rest by their text.
#[derive(Default)]
struct Atoms {
    texts: Names,
}

const INT: u64 = 0;
const KEYWORD: u64 = 1;
const TEXT: u64 = 2;
const SYMBOL: u64 = 3;
const OTHER: u64 = 4;
const TAG_BITS: u32 = 3;

impl Atoms {
    fn pack(&mut self, value: Value) -> u64 {
        let tagged = |number: u64, tag: u64| number << TAG_BITS | tag;
        match value.node() {
            Node::Int(n) if n << TAG_BITS >> TAG_BITS == n => tagged(n as u64, INT),
            Node::Keyword(name) => tagged(u64::from(name.0), KEYWORD),
            Node::Text(name) => tagged(u64::from(name.0), TEXT),
            Node::Symbol(name) => tagged(u64::from(name.0), SYMBOL),
            _ => {
                let name = self.texts.intern(&value.to_string());
                let name = name.expect("the texts of a history that was read fit 4 GiB");
                tagged(u64::from(name.0), OTHER)
            }
        }
    }

    fn text(&self, atom: u64, history: &History) -> String {
        let number = atom >> TAG_BITS;
        let name = crate::intern::Name(number as u32);
        match atom & ((1 << TAG_BITS) - 1) {
            INT => (atom as i64 >> TAG_BITS).to_string(),
            KEYWORD => format!(":{}", history.name(name)),
            TEXT => format!("{:?}", history.name(name)),
            SYMBOL => history.name(name).to_owned(),
            _ => self.texts.text(name).to_owned(),
        }
    }
}
