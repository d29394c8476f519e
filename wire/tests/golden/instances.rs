//! One instance, at least, of every variant. Values are small, but no two fields of a message are
//! equal, so that swapped fields are noticed too.

use super::variants::{Group, Instance, Variants, group, hex};
use bytes::{Bytes, BytesMut};
use clock::Timestamp;
use wire::frame::{FRAME_BYTES_MAX, FrameKind, encode_frame};
use wire::handshake::{Goodbye, HandshakeError, Hello, HelloReply, Role, Welcome};
use wire::ids::*;
use wire::keys::{Descriptor, Key, KeyRange};
use wire::message::*;

fn ts(micros: u64) -> Timestamp {
    Timestamp::from_bits(Timestamp::from_micros(micros).to_bits() + 1)
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn key(user: &str) -> Key {
    Key::new(KeyspaceId(1), user.as_bytes())
}

fn range() -> KeyRange {
    KeyRange::new(key("a"), Some(key("b")))
}

fn id(random: u64) -> TransactionId {
    let time = ts(1000);
    TransactionId { time, random }
}

fn name() -> TransactionName {
    TransactionName {
        id: id(2),
        expires: ts(2000),
        anchor: key("anchor"),
    }
}

fn attempt() -> Attempt {
    Attempt {
        number: 3,
        coordinator: CoordinatorIncarnation {
            node: NodeId(4),
            start: 5,
            sequence: 6,
        },
    }
}

fn version() -> VersionedValue {
    VersionedValue {
        timestamp: ts(7),
        value: bytes("value"),
    }
}

fn row() -> Row {
    Row {
        key: key("row"),
        version: version(),
    }
}

fn guards() -> Vec<Guard> {
    conditions()
        .into_iter()
        .map(|condition| Guard {
            key: key("guard"),
            condition,
        })
        .collect()
}

fn conditions() -> Vec<Condition> {
    vec![
        Condition::Exists,
        Condition::Absent,
        Condition::Equals(bytes("eq")),
        Condition::NotEquals(bytes("ne")),
        Condition::VersionIs(None),
        Condition::VersionIs(Some(ts(8))),
        Condition::AtLeast(-9),
        Condition::AtMost(10),
    ]
}

fn operation_kinds() -> Vec<OperationKind> {
    vec![
        OperationKind::Put(bytes("put")),
        OperationKind::Delete,
        OperationKind::Add(-1),
        OperationKind::Min(i64::MIN),
        OperationKind::Max(i64::MAX),
        OperationKind::Append(bytes("append")),
    ]
}

fn operations() -> Vec<Operation> {
    operation_kinds()
        .into_iter()
        .map(|kind| Operation {
            key: key("operation"),
            kind,
        })
        .collect()
}

fn read_requests() -> Vec<ReadRequest> {
    vec![
        ReadRequest::Get { key: key("get") },
        ReadRequest::Scan {
            range: range(),
            reverse: true,
            limit: 11,
            bytes_max: 12,
        },
    ]
}

fn read_results() -> Vec<ReadResult> {
    vec![
        ReadResult::Value(None),
        ReadResult::Value(Some(version())),
        ReadResult::Rows {
            rows: vec![row()],
            rest: Some(range()),
        },
        ReadResult::Rows {
            rows: vec![],
            rest: None,
        },
    ]
}

fn descriptor() -> Descriptor {
    Descriptor {
        partition: PartitionId(13),
        generation: Generation(14),
        range: KeyRange::new(Key::least(), None),
        members: vec![NodeId(1), NodeId(2)],
    }
}

fn position() -> LogPosition {
    LogPosition {
        term: Term(15),
        index: LogIndex(16),
    }
}

fn locked() -> Locked {
    Locked {
        value: Some(version()),
        newest: ts(17),
    }
}

fn committed() -> Committed {
    Committed {
        at: ts(18),
        results: vec![None, Some(bytes("result"))],
        attempts: 19,
        partitions: 20,
    }
}

fn handshake_errors() -> Vec<HandshakeError> {
    vec![
        HandshakeError::NoCommonVersion {
            ours: (1, 2),
            theirs: (3, 4),
        },
        HandshakeError::WrongCluster {
            ours: ClusterId(1),
            theirs: ClusterId(u128::MAX),
        },
        HandshakeError::Stale {
            node: NodeId(1),
            start: 2,
            session: 3,
        },
        HandshakeError::SameNode { node: NodeId(1) },
        HandshakeError::AddressTooLong { bytes: 600 },
        HandshakeError::TooManyConnections { connections: 9000 },
        HandshakeError::NoHello,
    ]
}

fn roles() -> Vec<Role> {
    vec![
        Role::Client,
        Role::Peer {
            node: NodeId(1),
            start: 2,
            session: 3,
            address: "a:1".into(),
        },
        Role::Founder {
            address: "b:2".into(),
        },
    ]
}

fn welcome() -> Welcome {
    Welcome {
        version: 1,
        cluster: Some(ClusterId(2)),
        node: Some(NodeId(3)),
        address: "c:3".into(),
        start: 4,
    }
}

fn goodbyes() -> Vec<Goodbye> {
    vec![
        Goodbye::BadFrame { why: "why".into() },
        Goodbye::NumberNotRising { number: 1, last: 2 },
        Goodbye::Misplaced {
            kind: "Peer".into(),
        },
        Goodbye::Replaced,
        Goodbye::Founded,
    ]
}

fn client_requests() -> Vec<ClientRequest> {
    vec![
        ClientRequest::Read {
            reader: Some(id(1)),
            snapshot: Snapshot::At(ts(2)),
            requests: read_requests(),
        },
        ClientRequest::Lock {
            id: id(1),
            age: id(2),
            snapshot: Snapshot::Fresh,
            key: key("lock"),
            wait: LockWait::Refuse,
        },
        ClientRequest::Refresh {
            id: id(1),
            from: ts(2),
            to: ts(3),
            reads: vec![range()],
        },
        ClientRequest::Rollback {
            id: id(1),
            keys: vec![key("locked")],
        },
        ClientRequest::Commit(Commit {
            name: name(),
            age: id(1),
            snapshot: Snapshot::At(ts(3)),
            reads: vec![range()],
            guards: guards(),
            operations: operations(),
            locked: vec![key("locked")],
            resent: true,
        }),
        ClientRequest::Outcome { name: name() },
        ClientRequest::Timestamp,
        ClientRequest::Map,
        ClientRequest::Status,
        ClientRequest::Transfer {
            partition: PartitionId(1),
            to: Some(NodeId(2)),
        },
    ]
}

fn abort_reasons() -> Vec<AbortReason> {
    vec![
        AbortReason::Guard {
            key: key("guard"),
            found: Some(version()),
        },
        AbortReason::Operation {
            key: key("operation"),
            why: "why".into(),
        },
        AbortReason::Changed {
            key: key("changed"),
            rival: Rival::Version { at: ts(1) },
        },
        AbortReason::HotKey {
            key: key("hot"),
            waiting: 7,
        },
        AbortReason::Contention {
            key: key("hot"),
            rival: id(1),
        },
        AbortReason::Expired,
        AbortReason::Closed,
        AbortReason::OtherIdentity,
        AbortReason::BelowHorizon {
            timestamp: ts(1),
            horizon: ts(2),
        },
        AbortReason::DiskFull {
            node: NodeId(3),
            free: 11,
            reserve: 12,
        },
    ]
}

fn request_errors() -> Vec<RequestError> {
    vec![
        RequestError::KeyTooLong {
            key: "long".into(),
            bytes: 5000,
        },
        RequestError::ValueTooLong {
            key: key("k"),
            bytes: 9_000_000,
        },
        RequestError::TransactionTooLarge { bytes: 70_000_000 },
        RequestError::Invalid { why: "why".into() },
        RequestError::BelowHorizon {
            timestamp: ts(1),
            horizon: ts(2),
        },
        RequestError::TooFarAhead {
            timestamp: ts(2),
            latest: ts(1),
        },
        RequestError::ClockUnusable {
            node: NodeId(1),
            why: "why".into(),
            begun: true,
        },
        RequestError::LockWait {
            key: key("k"),
            rival: id(1),
        },
        RequestError::HotKey {
            key: key("hot"),
            waiting: 7,
        },
        RequestError::LockLost {
            key: key("k"),
            loss: LockLoss::Wounded { by: id(1) },
        },
        RequestError::Unavailable {
            partition: PartitionId(1),
            start: key("s"),
            members: vec![NodeId(2)],
            waited_ms: 3,
        },
        RequestError::Overloaded { retry_ms: 4 },
        RequestError::ReadTooLarge { key: key("k") },
        RequestError::NoSuchKeyspace { id: KeyspaceId(9) },
        RequestError::OtherIdentity { id: id(3) },
        RequestError::NotFounded { why: "why".into() },
        RequestError::NotTransferred {
            partition: PartitionId(1),
            why: TransferFailure::NotSettled,
        },
    ]
}

fn replica(role: ReplicaRole) -> ReplicaStatus {
    ReplicaStatus {
        descriptor: descriptor(),
        configuration: configured().configuration,
        role,
        term: Term(1),
        leader: Some(NodeId(2)),
        low_water: LogIndex(3),
        stored: LogIndex(4),
        commit: LogIndex(5),
        last: LogIndex(6),
        horizon: Timestamp::from_micros(77),
        promise: ts(7),
        locks: 8,
        waiting: 9,
        installing: Some(InstallingStatus {
            up_to: LogIndex(10),
            bytes: 11,
            is_complete: true,
        }),
        has_forgotten: true,
    }
}

fn replica_roles() -> Vec<ReplicaRole> {
    vec![
        ReplicaRole::Follower,
        ReplicaRole::Candidate,
        ReplicaRole::LeaderStarting,
        ReplicaRole::Leader,
    ]
}

fn status() -> NodeStatus {
    NodeStatus {
        cluster: ClusterId(1),
        node: NodeId(2),
        start: 3,
        address: "d:4".into(),
        version: "0.1.0".into(),
        clock_bound_us: Some(500),
        clock_source: "fixed".into(),
        clock_trouble: Some(ClockTrouble {
            cause: ClockCause::Contradicted {
                off_us: -1,
                against: 2,
                heard: 3,
            },
            for_ms: 4,
            back_in_ms: Some(5),
        }),
        clock_quarantines: 6,
        unfit: Some(Unfit::DiskStalls),
        hybrid_clock: ts(5),
        ceiling: ts(6),
        up_ms: 7,
        log_bytes: 8,
        disk_free: Some(5 << 30),
        disk_reserve: 1 << 30,
        drift_refused: 9,
        coordinating: 10,
        replicas: replica_roles().into_iter().map(replica).collect(),
        peers: vec![PeerStatus {
            node: NodeId(11),
            address: "e:5".into(),
            connected: true,
            heard_ms: Some(12),
            clock: Some(PeerClock {
                ahead_us: -13,
                within_us: 14,
                bound_us: Some(15),
                agrees: Some(true),
            }),
        }],
    }
}

fn client_answers() -> Vec<ClientAnswer> {
    vec![
        ClientAnswer::Read {
            at: ts(1),
            results: read_results(),
        },
        ClientAnswer::Locked {
            at: ts(1),
            locked: locked(),
        },
        ClientAnswer::Taken {
            key: key("k"),
            rival: id(1),
        },
        ClientAnswer::Refreshed { changed: None },
        ClientAnswer::Refreshed {
            changed: Some(Change {
                key: key("changed"),
                rival: Rival::Version { at: ts(3) },
            }),
        },
        ClientAnswer::RolledBack,
        ClientAnswer::Committed(committed()),
        ClientAnswer::Aborted(Aborted {
            reason: AbortReason::Expired,
            durable: true,
        }),
        ClientAnswer::Outcome(OutcomeAnswer::Aborted),
        ClientAnswer::Timestamp(ts(1)),
        ClientAnswer::Map(MapAnswer {
            cluster: ClusterId(1),
            node: NodeId(2),
            partitions: vec![(descriptor(), Some(NodeId(3)))],
            nodes: vec![MemberAddress {
                node: NodeId(4),
                address: "f:6".into(),
            }],
        }),
        ClientAnswer::Status(Box::new(status())),
        ClientAnswer::Transferred(Transferred {
            partition: PartitionId(1),
            from: NodeId(2),
            to: NodeId(3),
        }),
    ]
}

fn founding_messages() -> Vec<FoundingMessage> {
    let ballot = Ballot {
        round: 1,
        proposer: 2,
    };
    let list = vec!["a:1".to_owned(), "b:2".to_owned()];
    let value = Founding {
        cluster: ClusterId(3),
        members: vec![FoundingMember {
            node: NodeId(4),
            address: "a:1".into(),
        }],
        descriptors: vec![descriptor()],
    };
    vec![
        FoundingMessage::Prepare {
            list: list.clone(),
            ballot,
        },
        FoundingMessage::Promise {
            ballot,
            accepted: Some((ballot, value.clone())),
        },
        FoundingMessage::Accept {
            list: list.clone(),
            ballot,
            value: value.clone(),
        },
        FoundingMessage::Accepted { ballot },
        FoundingMessage::Outbid {
            ballot,
            promised: Ballot {
                round: 5,
                proposer: 6,
            },
        },
        FoundingMessage::Founded { value },
        FoundingMessage::OtherList { list },
    ]
}

fn partition_requests() -> Vec<PartitionRequest> {
    vec![
        PartitionRequest::Read(Read {
            reader: Some(id(1)),
            timestamp: ts(2),
            requests: read_requests(),
        }),
        PartitionRequest::Lock(Lock {
            id: id(1),
            age: id(2),
            key: key("lock"),
            timestamp: ts(3),
            gateway: NodeId(4),
            wait: LockWait::Queue,
        }),
        PartitionRequest::LockAll(LockAll {
            id: id(1),
            age: id(2),
            keys: vec![key("a"), key("b")],
            gateway: NodeId(4),
        }),
        PartitionRequest::KeepLocks {
            id: id(1),
            keys: vec![key("lock")],
        },
        PartitionRequest::Unlock {
            id: id(1),
            keys: vec![key("lock")],
        },
        PartitionRequest::Commit(CommitOne {
            name: name(),
            attempt: attempt(),
            age: id(1),
            timestamp: ts(3),
            reads: vec![range()],
            guards: guards(),
            operations: operations(),
            resent: true,
        }),
        PartitionRequest::Prepare(Prepare {
            name: name(),
            attempt: attempt(),
            age: id(1),
            timestamp: ts(3),
            reads: vec![range()],
            guards: guards(),
            operations: operations(),
            locked_reads: vec![key("read")],
            staging: Some((Timestamp::MAX, vec![key("staged")])),
        }),
        PartitionRequest::Refresh(Refresh {
            reader: id(1),
            from: ts(2),
            to: ts(3),
            reads: vec![range()],
        }),
        PartitionRequest::ChangeRecord(ChangeRecord {
            name: name(),
            expected: RecordState::Missing,
            change: RecordChange::Close,
        }),
        PartitionRequest::CheckPrepared(CheckPrepared {
            name: name(),
            attempt: attempt(),
            keys: vec![key("prepared")],
        }),
        PartitionRequest::Resolve(Resolve {
            name: name(),
            attempt: attempt(),
            decision: Decision::Aborted,
        }),
        PartitionRequest::ForgetRecord { name: name() },
        PartitionRequest::Outcome { name: name() },
    ]
}

fn checked() -> Vec<Checked> {
    vec![
        Checked::Prepared(ts(1)),
        Checked::Refused,
        Checked::Ended(Decision::Committed(ts(2))),
    ]
}

fn refusals() -> Vec<Refusal> {
    vec![
        Refusal::Guard {
            key: key("guard"),
            found: None,
        },
        Refusal::Operation {
            key: key("operation"),
            why: "why".into(),
        },
        Refusal::Changed {
            key: key("changed"),
            rival: Rival::Transaction {
                id: id(2),
                at: ts(1),
            },
        },
        Refusal::Contention {
            key: key("hot"),
            rival: id(1),
        },
        Refusal::HotKey {
            key: key("hot"),
            waiting: 7,
        },
        Refusal::Expired,
        Refusal::StaleAttempt,
        Refusal::Closed,
        Refusal::OtherIdentity,
        Refusal::DiskFull {
            node: NodeId(4),
            free: 13,
            reserve: 14,
        },
    ]
}

fn partition_replies() -> Vec<PartitionReply> {
    vec![
        PartitionReply::Read(ReadAnswer {
            results: read_results(),
            depends_on: ts(1),
        }),
        PartitionReply::Locked(locked()),
        PartitionReply::Taken {
            key: key("lock"),
            rival: id(1),
        },
        PartitionReply::LockedAll,
        PartitionReply::Kept {
            lost: vec![key("lock")],
        },
        PartitionReply::Unlocked,
        PartitionReply::Committed {
            at: ts(1),
            results: vec![None, Some(bytes("result"))],
        },
        PartitionReply::Unchanged { at: ts(1) },
        PartitionReply::Refused {
            refusal: Refusal::Expired,
            durable: true,
            depends_on: ts(1),
        },
        PartitionReply::OtherCoordinator { attempt: attempt() },
        PartitionReply::Prepared(Prepared {
            timestamp: ts(1),
            attempt: attempt(),
            limit: Some(ts(2)),
            results: vec![Some(bytes("result"))],
        }),
        PartitionReply::Refreshed {
            changed: Some(Change {
                key: key("changed"),
                rival: Rival::Version { at: ts(3) },
            }),
        },
        PartitionReply::Record(RecordAnswer {
            state: RecordState::Closed,
            keys: vec![key("recorded")],
            changed: true,
        }),
        PartitionReply::Checked(Checked::Refused),
        PartitionReply::Done,
        PartitionReply::Outcome(OutcomeAnswer::NoLongerKept),
        PartitionReply::Error(PartitionError::Overloaded {
            partition: PartitionId(1),
        }),
    ]
}

fn partition_errors() -> Vec<PartitionError> {
    let partition = PartitionId(1);
    vec![
        PartitionError::NotLeader {
            partition,
            leader: Some(NodeId(2)),
            term: Term(3),
        },
        PartitionError::LeadershipLost { partition },
        PartitionError::WrongRange {
            partition,
            descriptor: Some(descriptor()),
        },
        PartitionError::TooFarAhead {
            timestamp: ts(2),
            latest: ts(1),
        },
        PartitionError::BelowHorizon {
            timestamp: ts(1),
            horizon: ts(2),
        },
        PartitionError::LockWait {
            key: key("k"),
            rival: id(1),
        },
        PartitionError::HotKey {
            key: key("hot"),
            waiting: 7,
        },
        PartitionError::Overloaded { partition },
        PartitionError::ReadTooLarge { key: key("k") },
    ]
}

fn peer_messages() -> Vec<PeerMessage> {
    vec![
        PeerMessage::Request {
            number: RequestNumber(1),
            partition: PartitionId(2),
            generation: Generation(3),
            body: PartitionRequest::ForgetRecord { name: name() },
        },
        PeerMessage::Reply {
            number: RequestNumber(1),
            body: PartitionReply::Done,
        },
        PeerMessage::Replication {
            partition: PartitionId(1),
            message: ReplicationMessage::Appended {
                term: Term(2),
                matched: LogIndex(3),
            },
        },
        PeerMessage::Heartbeat(Heartbeat {
            sequence: 1,
            promise: ts(2),
            leading: vec![Leading {
                partition: PartitionId(3),
                term: Term(4),
                commit: LogIndex(5),
            }],
        }),
        PeerMessage::HeartbeatReply(HeartbeatReply {
            sequence: 1,
            acknowledged: ts(2),
            later: vec![(PartitionId(3), Term(4))],
            standing: Standing {
                leads: 5,
                unfit: Some(Unfit::NoClock),
            },
        }),
        PeerMessage::AskCoordinator {
            number: RequestNumber(1),
            name: name(),
            attempt: attempt(),
        },
        PeerMessage::CoordinatorState {
            number: RequestNumber(1),
            state: CoordinatorState::Unknown,
        },
        PeerMessage::LockLost(LockLost {
            id: id(1),
            keys: vec![key("k")],
            loss: LockLoss::Dropped,
        }),
        PeerMessage::Cancel {
            number: RequestNumber(1),
            partition: PartitionId(2),
        },
        PeerMessage::ClockProbe { sequence: 1 },
        PeerMessage::ClockReading(ClockReading {
            sequence: 1,
            physical_ns: 2,
            bound_ns: Some(3),
            standing: ClockStanding::Doubted,
        }),
    ]
}

fn clock_standings() -> Vec<ClockStanding> {
    vec![
        ClockStanding::ReliedOn,
        ClockStanding::New,
        ClockStanding::Doubted,
    ]
}

fn clock_causes() -> Vec<ClockCause> {
    vec![
        ClockCause::Unproven,
        ClockCause::NotVouched,
        ClockCause::BoundTooWide {
            bound_us: 2,
            max_us: 1,
        },
        ClockCause::Stepped {
            by_us: -2,
            allowed_us: 1,
        },
        ClockCause::Drifted {
            by_us: 2,
            within_ms: 3,
            allowed_us: 1,
        },
        ClockCause::Contradicted {
            off_us: -1,
            against: 2,
            heard: 3,
        },
        ClockCause::Behind { by_us: 4 },
    ]
}

fn record_states() -> Vec<RecordState> {
    vec![
        RecordState::Missing,
        RecordState::Staging {
            attempt: attempt(),
            limit: Timestamp::MAX,
        },
        RecordState::Aborted { attempt: attempt() },
        RecordState::Closed,
        RecordState::Committed { at: ts(1) },
    ]
}

fn record_changes() -> Vec<RecordChange> {
    vec![
        RecordChange::None,
        RecordChange::Abort { attempt: attempt() },
        RecordChange::Close,
        RecordChange::Commit { at: ts(1) },
        RecordChange::RaiseLimit { to: ts(2) },
    ]
}

fn outcomes() -> Vec<OutcomeAnswer> {
    vec![
        OutcomeAnswer::Committed { at: ts(1) },
        OutcomeAnswer::Aborted,
        OutcomeAnswer::Staging {
            attempt: attempt(),
            gateway: NodeId(7),
        },
        OutcomeAnswer::NoLongerKept,
    ]
}

fn replication_messages() -> Vec<ReplicationMessage> {
    let (term, last) = (Term(1), position());
    vec![
        ReplicationMessage::PreVote { term, last },
        ReplicationMessage::PreVoteReply {
            term,
            granted: true,
        },
        ReplicationMessage::Vote { term, last },
        ReplicationMessage::VoteReply {
            term,
            granted: true,
            promised: ts(2),
        },
        ReplicationMessage::Append {
            term,
            previous: last,
            entries: vec![Entry {
                term: Term(2),
                index: LogIndex(17),
                body: bytes("body"),
            }],
            commit: LogIndex(3),
        },
        ReplicationMessage::Appended {
            term,
            matched: LogIndex(2),
        },
        ReplicationMessage::AppendRefused {
            term,
            previous: last,
            hint: LogIndex(2),
        },
        ReplicationMessage::HandOver {
            term,
            high_water: ts(3),
        },
        ReplicationMessage::Snapshot {
            term,
            number: 2,
            chunk: SnapshotChunk {
                position: last,
                sequence: 3,
                is_last: true,
                body: bytes("rows"),
            },
        },
        ReplicationMessage::SnapshotReceived {
            term,
            number: 2,
            chunks: 3,
        },
        ReplicationMessage::AskMemory { nonce: 2 },
        ReplicationMessage::Memory {
            nonce: 2,
            memory: Some(Memory {
                term,
                promised: ts(3),
                last,
                configured: configured(),
                remembers: true,
            }),
        },
        ReplicationMessage::Join {
            configured: configured(),
            since: Some(3),
        },
        ReplicationMessage::Removed {
            configured: configured(),
            as_of: last,
        },
    ]
}

fn configured() -> Configured {
    Configured {
        configuration: Configuration {
            voters: [NodeId(1), NodeId(2)].into(),
            outgoing: [NodeId(2), NodeId(3)].into(),
            learners: [NodeId(4)].into(),
        },
        at: LogPosition {
            term: Term(1),
            index: LogIndex(2),
        },
    }
}

fn unfit() -> Vec<Unfit> {
    vec![
        Unfit::Starting,
        Unfit::DiskStalls,
        Unfit::NoClock,
        Unfit::Leaving,
        Unfit::Rebuilding,
        Unfit::DiskShort,
    ]
}

fn transfer_failures() -> Vec<TransferFailure> {
    use TransferFailure as F;
    let target = NodeId(2);
    vec![
        F::NotLeader {
            leader: Some(NodeId(3)),
        },
        F::NoSuchPartition,
        F::Electing,
        F::NotMember { target },
        F::LeadsAlready { target },
        F::Unreachable { target },
        F::Unfit {
            target,
            why: Unfit::Starting,
        },
        F::NobodyFit,
        F::UnderWay { target },
        F::Behind { target, entries: 3 },
        F::NotSettled,
        F::NotTakenUp { target },
        F::LeadershipLost,
    ]
}

/// Whole frames, header and checksum included.
fn frames() -> Group {
    let framed = |kind: FrameKind, encoded: &dyn Fn(&mut BytesMut)| {
        let mut out = BytesMut::new();
        encoded(&mut out);
        Instance {
            variant: kind.variant(),
            hex: hex(&out),
            problem: None,
        }
    };
    macro_rules! frame {
        ($kind:ident, $number:literal, $message:expr) => {
            framed(FrameKind::$kind, &|out| {
                let kind = FrameKind::$kind;
                encode_frame(kind, $number, &$message, FRAME_BYTES_MAX, out)
                    .expect("a small frame can be encoded");
            })
        };
    }
    let hello = Hello {
        versions: (1, 1),
        cluster: Some(ClusterId(2)),
        role: Role::Client,
    };
    let refused: ClientReply = Err(RequestError::Overloaded { retry_ms: 1 });
    let answered: ClientReply = Ok(ClientAnswer::RolledBack);
    let peer = PeerFrame {
        stamp: ts(1),
        messages: peer_messages(),
    };
    let founding = FoundingMessage::OtherList { list: vec![] };
    Group {
        name: "Frame",
        variants: FrameKind::ALL,
        instances: vec![
            frame!(Hello, 0, hello),
            frame!(HelloReply, 0, HelloReply::Welcome(welcome())),
            frame!(ClientRequest, 258, ClientRequest::Map),
            frame!(ClientReply, 258, answered),
            frame!(ClientReply, 259, refused),
            frame!(Peer, 0, peer),
            frame!(Founding, 0, founding),
            frame!(Goodbye, 0, Goodbye::Replaced),
            frame!(Ping, 0, ()),
            frame!(Pong, 0, ()),
        ],
    }
}

/// Every message.
pub(crate) fn all() -> Vec<Group> {
    let hello_replies = handshake_errors()
        .into_iter()
        .map(HelloReply::Refused)
        .chain([HelloReply::Welcome(welcome())])
        .collect();
    vec![
        frames(),
        group("Role", roles()),
        group("HelloReply", hello_replies),
        group("HandshakeError", handshake_errors()),
        group("Goodbye", goodbyes()),
        group("Snapshot", vec![Snapshot::Fresh, Snapshot::At(ts(1))]),
        group("ClientRequest", client_requests()),
        group("AbortReason", abort_reasons()),
        group("RequestError", request_errors()),
        group("ClientAnswer", client_answers()),
        group("ReplicaRole", replica_roles()),
        group("FoundingMessage", founding_messages()),
        group("PartitionRequest", partition_requests()),
        group("Checked", checked()),
        group("Refusal", refusals()),
        group("PartitionReply", partition_replies()),
        group("PartitionError", partition_errors()),
        group("PeerMessage", peer_messages()),
        group("ClockStanding", clock_standings()),
        group("ClockCause", clock_causes()),
        group(
            "CoordinatorState",
            vec![CoordinatorState::Working, CoordinatorState::Unknown],
        ),
        group("RecordState", record_states()),
        group("RecordChange", record_changes()),
        group(
            "Decision",
            vec![Decision::Committed(ts(1)), Decision::Aborted],
        ),
        group("OutcomeAnswer", outcomes()),
        group("ReplicationMessage", replication_messages()),
        group("Unfit", unfit()),
        group("TransferFailure", transfer_failures()),
        group("ReadRequest", read_requests()),
        group("ReadResult", read_results()),
        group("Condition", conditions()),
        group("OperationKind", operation_kinds()),
    ]
}
