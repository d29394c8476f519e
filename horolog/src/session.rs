//! What the commands on data do with the client library: a connection, a keyspace, a form of output,
//! and in the shell perhaps an open transaction, which then takes the reads and writes.

use crate::cli::{ConnectionArgs, DataCommand};
use crate::failure::{Failure, reason_text};
use crate::operations::{Action, Statement};
use crate::output::{Format, Object, Output};
use crate::text::bytes::shown;
use bytes::Bytes;
use clock::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::time::Duration;
use tokio::task::JoinSet;
use wire::client::{Client, Error, ForUpdate, LockWait, Transaction};
use wire::ids::{KeyspaceId, NodeId, PartitionId, TransactionId};
use wire::keys::{Key, KeyRange};
use wire::message::{
    AbortReason, Committed, Guard, MapAnswer, MemberAddress, NodeStatus, Operation, OperationKind,
    OutcomeAnswer, RequestError, Rival, Row, TransactionName, Transferred, VersionedValue,
};

/// How long an answer may take before it is said that it does.
const TELL_AFTER: Duration = Duration::from_secs(3);
const OTHER_IDENTITY: &str = "the anchor key or the expiry is not this transaction's: give both as they were printed with its id, and the keyspace that it was run in";

/// A connection and what goes with it.
pub(crate) struct Session {
    client: Client,
    keyspace: String,
    open: Option<Transaction>,
    /// How to print.
    pub(crate) output: Output,
}

/// What a scan should read.
pub(crate) struct Wanted {
    /// Which keys.
    pub(crate) range: KeyRange,
    /// From the end backwards.
    pub(crate) reverse: bool,
    /// At most so many rows.
    pub(crate) limit: Option<u64>,
    /// At which timestamp; `None`: now.
    pub(crate) at: Option<Timestamp>,
}

/// Connects, runs one command, and leaves.
pub(crate) async fn run_once(
    connection: &ConnectionArgs,
    command: DataCommand,
) -> Result<(), Failure> {
    let mut session = Session::open(connection).await?;
    patiently(session.run(command)).await
}

/// Waits for an answer; on a terminal it is said once that it takes long.
pub(crate) async fn patiently<T>(answer: impl Future<Output = T>) -> T {
    let mut answer = std::pin::pin!(answer);
    if !io::stderr().is_terminal() {
        return answer.await;
    }
    match tokio::time::timeout(TELL_AFTER, &mut answer).await {
        Ok(answer) => answer,
        Err(_) => {
            eprintln!("still trying (it has not ended yet); ^C gives up");
            answer.await
        }
    }
}

/// Connects to the addresses of the command line.
pub(crate) async fn connect(connection: &ConnectionArgs) -> Result<Client, Failure> {
    if connection.connect.is_empty() {
        return Err(Failure::usage(
            "which cluster? Say --connect ADDRESS,… or set HOROLOG_CONNECT ('horolog dev' starts a cluster and prints its addresses)",
        ));
    }
    let client = Client::connect(&connection.connect).await?;
    if connection.keyspace == "default" {
        return Ok(client);
    }
    Ok(client.keyspace(&connection.keyspace).await?)
}

impl Session {
    /// Connects.
    pub(crate) async fn open(connection: &ConnectionArgs) -> Result<Session, Failure> {
        let format = if connection.json {
            Format::Json
        } else {
            Format::Text
        };
        Ok(Session {
            client: connect(connection).await?,
            keyspace: connection.keyspace.clone(),
            open: None,
            output: Output(format),
        })
    }

    /// Runs a command on data.
    pub(crate) async fn run(&mut self, command: DataCommand) -> Result<(), Failure> {
        match command {
            DataCommand::Get(command) => command.run(self).await,
            DataCommand::Put(command) => command.run(self).await,
            DataCommand::Delete(command) => command.run(self).await,
            DataCommand::Scan(command) => command.run(self).await,
            DataCommand::Add(command) => command.run(self).await,
            DataCommand::Min(command) => command.run(self).await,
            DataCommand::Max(command) => command.run(self).await,
            DataCommand::Append(command) => command.run(self).await,
            DataCommand::Cas(command) => command.run(self).await,
            DataCommand::Txn(command) => command.run(self).await,
            DataCommand::Outcome(command) => command.run(self).await,
            DataCommand::Timestamp(command) => command.run(self).await,
            DataCommand::Keyspace(command) => command.run(self).await,
            DataCommand::Settings(command) => command.run(self).await,
            DataCommand::Status(command) => command.run(self).await,
            DataCommand::Partitions(command) => command.run(self).await,
            DataCommand::Transfer(command) => command.run(self).await,
        }
    }

    /// The keyspace that keys are in.
    pub(crate) fn keyspace_id(&self) -> KeyspaceId {
        self.client.keyspace_id()
    }

    /// Reads a key: in the open transaction, at a timestamp, or now.
    pub(crate) async fn get(
        &mut self,
        key: &Bytes,
        at: Option<Timestamp>,
    ) -> Result<Option<VersionedValue>, Failure> {
        let read = match (&mut self.open, at) {
            (_, Some(at)) => self.client.at(at).get(key).await,
            (Some(open), None) => open.get(key).await,
            (None, None) => self.client.get(key).await,
        };
        Ok(read?)
    }

    /// Reads a range and hands over each row as it comes.
    pub(crate) async fn scan(
        &mut self,
        wanted: Wanted,
        mut each: impl FnMut(&Row) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let Wanted {
            range,
            reverse,
            limit,
            at,
        } = wanted;
        if let (Some(open), None) = (&mut self.open, at) {
            let mut scan = open.scan(range);
            if reverse {
                scan = scan.reverse();
            }
            if let Some(limit) = limit {
                scan = scan.limit(limit);
            }
            while let Some(row) = scan.next().await? {
                each(&row)?;
            }
            return Ok(());
        }
        let mut scan = match at {
            Some(at) => self.client.at(at).scan(range),
            None => self.client.scan(range),
        };
        if reverse {
            scan = scan.reverse();
        }
        if let Some(limit) = limit {
            scan = scan.limit(limit);
        }
        while let Some(row) = scan.next().await? {
            each(&row)?;
        }
        Ok(())
    }

    /// Changes one key: in the open transaction, or at once, and prints what became of it.
    pub(crate) async fn change(&mut self, key: Bytes, kind: OperationKind) -> Result<(), Failure> {
        if let Some(open) = &mut self.open {
            let full = self.client.key(&key);
            open.operation(Operation { key: full, kind });
            return Ok(self.output.print(
                || "written down; takes effect at commit".to_owned(),
                || Object::new().bytes("key", &key).with("pending", true),
            )?);
        }
        let operation = Operation {
            key: self.client.key(&key),
            kind,
        };
        let committed = self.client.transaction().operation(operation).commit();
        let committed = committed.await?;
        let value = committed.results.first().cloned().flatten();
        let at = committed.at;
        Ok(self.output.print(
            || match &value {
                Some(value) => format!("{} = {}   @ {at}", shown(&key), shown(value)),
                None => format!("done @ {at}"),
            },
            || {
                let object = Object::new().bytes("key", &key).timestamp("timestamp", at);
                match &value {
                    Some(value) => object.bytes("value", value),
                    None => object,
                }
            },
        )?)
    }

    /// Commits a transaction of guards and operations at once and prints what became of it.
    pub(crate) async fn one_shot(&mut self, statements: Vec<Statement>) -> Result<(), Failure> {
        self.refuse_in_transaction()?;
        let mut one_shot = self.client.transaction();
        let mut written = Vec::new();
        for Statement { key: user, action } in statements {
            let key = self.client.key(&user);
            one_shot = match action {
                Action::Guard(condition) => one_shot.guard(Guard { key, condition }),
                Action::Operation(kind) => {
                    written.push(user);
                    one_shot.operation(Operation { key, kind })
                }
            };
        }
        if written.is_empty() {
            return Err(Failure::usage(
                "the transaction writes nothing: give at least one put, delete, add, min, max or append",
            ));
        }
        let committed = one_shot.commit().await;
        self.print_outcome(&written, committed)
    }

    fn print_outcome(
        &self,
        written: &[Bytes],
        outcome: Result<Committed, Error>,
    ) -> Result<(), Failure> {
        match outcome {
            Ok(committed) => Ok(self.output.print(
                || committed_text(written, &committed),
                || committed_json(written, &committed),
            )?),
            Err(Error::Aborted { id, reason }) => {
                self.output
                    .print(|| aborted_text(&reason), || aborted_json(id, &reason))?;
                Err(Failure::aborted_and_told())
            }
            Err(other) => Err(other.into()),
        }
    }

    fn refuse_in_transaction(&self) -> Result<(), Failure> {
        match self.open {
            None => Ok(()),
            Some(_) => Err(Failure::usage(
                "a transaction is open, and this is a transaction of its own: commit or rollback first",
            )),
        }
    }

    /// Opens a transaction.
    pub(crate) async fn begin(&mut self) -> Result<(), Failure> {
        self.refuse_in_transaction()?;
        self.open = Some(self.client.begin());
        Ok(self.output.print(
            || "transaction open: end it with commit or rollback".to_owned(),
            || Object::new().with("transaction", "open"),
        )?)
    }

    fn open_transaction(&mut self) -> Result<&mut Transaction, Failure> {
        let open = self.open.as_mut();
        open.ok_or_else(|| Failure::usage("no transaction is open: 'begin' opens one"))
    }

    /// Reads and locks a key in the open transaction.
    pub(crate) async fn get_for_update(
        &mut self,
        key: &Bytes,
        wait: LockWait,
    ) -> Result<(), Failure> {
        let open = self.open_transaction()?;
        match open.get_for_update_with(key, wait).await? {
            ForUpdate::Locked(version) => Ok(self.output.version(key, version.as_ref())?),
            ForUpdate::Taken { rival, .. } => Ok(self.output.print(
                || format!("{} is locked by transaction {rival}", shown(key)),
                || {
                    let object = Object::new().bytes("key", key);
                    object.with("locked_by", rival.to_string())
                },
            )?),
        }
    }

    /// Commits the open transaction.
    pub(crate) async fn commit(&mut self) -> Result<(), Failure> {
        let committed = self.open_transaction()?.commit().await;
        self.open = None;
        self.print_outcome(&[], committed)
    }

    /// Gives up the open transaction.
    pub(crate) async fn rollback(&mut self) -> Result<(), Failure> {
        self.open_transaction()?.rollback().await;
        self.open = None;
        Ok(self.output.print(
            || "rolled back".to_owned(),
            || Object::new().with("transaction", "rolled_back"),
        )?)
    }

    /// Ends the session; an open transaction is given up.
    pub(crate) async fn leave(&mut self) -> Result<(), Failure> {
        match self.open {
            Some(_) => self.rollback().await,
            None => Ok(()),
        }
    }

    /// Changes the keyspace.
    pub(crate) async fn use_keyspace(&mut self, name: &str) -> Result<(), Failure> {
        self.refuse_in_transaction()?;
        self.client = self.client.keyspace(name).await?;
        self.keyspace = name.to_owned();
        Ok(())
    }

    /// What the shell writes in front of a line.
    pub(crate) fn prompt(&self) -> String {
        let open = if self.open.is_some() { " (open)" } else { "" };
        match self.keyspace.as_str() {
            "default" => format!("horolog{open}> "),
            keyspace => format!("horolog {keyspace}{open}> "),
        }
    }

    /// What became of a transaction.
    pub(crate) async fn outcome(
        &self,
        id: TransactionId,
        expires: Timestamp,
        anchor: &Bytes,
    ) -> Result<OutcomeAnswer, Failure> {
        let anchor = self.client.key(anchor);
        let name = TransactionName {
            id,
            expires,
            anchor,
        };
        let outcome = self.client.outcome(&name).await;
        outcome.map_err(other_identity)
    }

    /// A timestamp of the cluster.
    pub(crate) async fn timestamp(&self) -> Result<Timestamp, Failure> {
        Ok(self.client.timestamp().await?)
    }

    /// The map.
    pub(crate) async fn map(&self) -> Result<MapAnswer, Failure> {
        Ok(self.client.map().await?)
    }

    /// Hands the leadership of a partition over.
    pub(crate) async fn transfer(
        &self,
        partition: PartitionId,
        to: Option<NodeId>,
    ) -> Result<Transferred, Failure> {
        Ok(self.client.transfer(partition, to).await?)
    }

    /// What each node says of itself, or why it does not answer. All are asked at once.
    pub(crate) async fn statuses(
        &self,
        nodes: &[MemberAddress],
    ) -> Result<Vec<Result<NodeStatus, String>>, Failure> {
        let mut asked = JoinSet::new();
        for (number, node) in nodes.iter().enumerate() {
            let (client, address) = (self.client.clone(), node.address.clone());
            asked.spawn(async move { (number, client.status_of(&address).await) });
        }
        let mut answers = BTreeMap::new();
        while let Some(answered) = asked.join_next().await {
            let (number, status) = answered.map_err(Failure::error)?;
            answers.insert(number, status.map_err(|error| error.to_string()));
        }
        Ok(answers.into_values().collect())
    }

    /// Makes a keyspace.
    pub(crate) async fn create_keyspace(&self, name: &str) -> Result<KeyspaceId, Failure> {
        Ok(self.client.create_keyspace(name).await?.keyspace_id())
    }

    /// All keyspaces.
    pub(crate) async fn keyspaces(&self) -> Result<Vec<(String, KeyspaceId)>, Failure> {
        Ok(self.client.keyspaces().await?)
    }

    /// How long old versions are kept.
    pub(crate) async fn retention(&self) -> Result<Duration, Failure> {
        Ok(self.client.retention().await?)
    }

    /// Changes how long old versions are kept.
    pub(crate) async fn set_retention(&self, retention: Duration) -> Result<(), Failure> {
        Ok(self.client.set_retention(retention).await?)
    }

    /// Reads once from every partition: returns when all of them have leaders that serve.
    pub(crate) async fn touch_every_partition(&mut self) -> Result<(), Failure> {
        for (descriptor, _) in self.map().await?.partitions {
            let mut scan = self.client.scan(descriptor.range).limit(1);
            scan.next().await?;
        }
        Ok(())
    }
}

/// A transaction that neither read nor wrote has no place among the others, so no timestamp.
fn did_nothing(committed: &Committed) -> bool {
    committed.at == Timestamp::ZERO
}

fn committed_text(written: &[Bytes], committed: &Committed) -> String {
    if did_nothing(committed) {
        return "nothing to commit: the transaction read and wrote nothing".to_owned();
    }
    let mut lines = vec![format!("committed @ {}", committed.at)];
    for (key, result) in written.iter().zip(&committed.results) {
        if let Some(value) = result {
            lines.push(format!("  {} = {}", shown(key), shown(value)));
        }
    }
    lines.join("\n")
}

fn committed_json(written: &[Bytes], committed: &Committed) -> Object {
    let at = (!did_nothing(committed)).then_some(committed.at);
    let results = written.iter().zip(&committed.results);
    let results: Vec<Value> = results
        .filter_map(|(key, result)| {
            let value = result.as_ref()?;
            Some(Object::new().bytes("key", key).bytes("value", value).into())
        })
        .collect();
    Object::new()
        .with("committed", true)
        .with("timestamp", at.map(|at| at.to_string()))
        .with("attempts", committed.attempts)
        .with("partitions", committed.partitions)
        .with("results", results)
}

fn aborted_text(reason: &AbortReason) -> String {
    let found = match reason {
        AbortReason::Guard { found: None, .. } => ": it is absent".to_owned(),
        AbortReason::Guard {
            found: Some(VersionedValue { value, timestamp }),
            ..
        } => format!(": it is {}   @ {timestamp}", shown(value)),
        _ => String::new(),
    };
    format!(
        "aborted, nothing was changed: {}{found}",
        reason_text(reason)
    )
}

fn aborted_json(id: TransactionId, reason: &AbortReason) -> Object {
    let (name, key) = abort_parts(reason);
    let object = Object::new()
        .with("committed", false)
        .with("transaction", id.to_string())
        .with("reason", name)
        .with("message", aborted_text(reason))
        .maybe_bytes("key", key.map(Key::user));
    match reason {
        AbortReason::Guard { found, .. } => object.version(found.as_ref()),
        AbortReason::Contention { rival, .. } => object.with("rival", rival.to_string()),
        AbortReason::Changed { rival, .. } => match rival {
            Rival::Version { at } => object.with("changed_at", at.to_string()),
            Rival::Transaction { id, at } => object
                .with("changed_at", at.to_string())
                .with("rival", id.to_string()),
        },
        _ => object,
    }
}

/// Asking under another anchor or expiry than the transaction's own is a slip of the arguments.
fn other_identity(error: Error) -> Failure {
    match &error {
        Error::Aborted {
            reason: AbortReason::OtherIdentity,
            ..
        } => Failure::usage(OTHER_IDENTITY),
        Error::Request(RequestError::OtherIdentity { .. }) => Failure::usage(OTHER_IDENTITY),
        _ => error.into(),
    }
}

fn abort_parts(reason: &AbortReason) -> (&'static str, Option<&Key>) {
    match reason {
        AbortReason::Guard { key, .. } => ("guard", Some(key)),
        AbortReason::Operation { key, .. } => ("operation", Some(key)),
        AbortReason::Changed { key, .. } => ("changed", Some(key)),
        AbortReason::HotKey { key, .. } => ("hot_key", Some(key)),
        AbortReason::Contention { key, .. } => ("contention", Some(key)),
        AbortReason::Expired => ("expired", None),
        AbortReason::Closed => ("closed", None),
        AbortReason::OtherIdentity => ("other_identity", None),
        AbortReason::BelowHorizon { .. } => ("below_horizon", None),
        AbortReason::DiskFull { .. } => ("disk_full", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::keys::DEFAULT_KEYSPACE;

    #[test]
    fn a_commit_shows_what_the_server_computed() {
        let committed = Committed {
            at: Timestamp::from_micros(1_000_000),
            results: vec![None, Some("95".into())],
            attempts: 1,
            partitions: 2,
        };
        let written = [Bytes::from("a"), Bytes::from("b c")];
        assert_eq!(
            committed_text(&written, &committed),
            "committed @ 1.000000+0\n  \"b c\" = 95"
        );
        assert_eq!(
            Value::from(committed_json(&written, &committed)).to_string(),
            r#"{"attempts":1,"committed":true,"partitions":2,"results":[{"key":"b c","value":"95"}],"timestamp":"1.000000+0"}"#
        );
    }

    #[test]
    fn a_transaction_that_did_nothing_says_so() {
        let nothing = Committed {
            at: Timestamp::ZERO,
            results: vec![],
            attempts: 0,
            partitions: 0,
        };
        assert!(committed_text(&[], &nothing).starts_with("nothing to commit"));
        let json = Value::from(committed_json(&[], &nothing));
        assert_eq!(json["timestamp"], Value::Null);
    }

    #[test]
    fn an_abort_names_the_key_and_what_it_is() {
        let reason = AbortReason::Guard {
            key: Key::new(DEFAULT_KEYSPACE, b"alice"),
            found: Some(VersionedValue {
                timestamp: Timestamp::from_micros(1_000_000),
                value: "3".into(),
            }),
        };
        assert_eq!(
            aborted_text(&reason),
            "aborted, nothing was changed: the guard on alice does not hold: it is 3   @ 1.000000+0"
        );
        let id = TransactionId {
            time: Timestamp::ZERO,
            random: 1,
        };
        let json = Value::from(aborted_json(id, &reason));
        assert_eq!(json["reason"], "guard");
        assert_eq!(json["key"], "alice");
        assert_eq!(json["value"], "3");
        assert_eq!(json["committed"], false);
    }
}
