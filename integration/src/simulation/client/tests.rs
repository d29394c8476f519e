//! The client's half of the protocol, effect by effect.

use super::*;
use crate::history::Fate;
use crate::workload::put;
use wire::keys::DEFAULT_KEYSPACE;
use wire::message::{AbortReason, Aborted, ClientAnswer, Committed, OutcomeAnswer, RequestError};

const MS: Duration = Duration::from_millis(1);

struct Script {
    client: Client,
    history: History,
    plans: VecDeque<Plan>,
    processes: u32,
    now: Duration,
    last_ticket: u64,
    last_number: u64,
}

impl Script {
    fn new(sends_max: u32) -> Script {
        Script::of(sends_max, None)
    }

    fn of(sends_max: u32, sign_after: Option<Duration>) -> Script {
        let timing = ClientTiming {
            think: (MS, MS),
            timeout: 100 * MS,
            sign_after,
            retry: 10 * MS,
            sends_max,
            reruns_max: 0,
            expires: 1000 * MS,
            asides_one_in: 0,
            past_one_in: 0,
        };
        let key = Key::new(DEFAULT_KEYSPACE, b"a");
        let plan = Plan::one_shot("test", vec![], vec![put(&key, "1")]);
        let mut script = Script {
            client: Client::new(timing, 0, 3, 0, 7),
            history: History::new(),
            plans: VecDeque::from([plan]),
            processes: 0,
            now: Duration::ZERO,
            last_ticket: 0,
            last_number: 0,
        };
        let mut out = Vec::new();
        script.client.start(&mut out);
        script.note(&out);
        script
    }

    fn note(&mut self, out: &[ClientEffect]) {
        for effect in out {
            match effect {
                ClientEffect::Timer { ticket, .. } => self.last_ticket = *ticket,
                ClientEffect::Send { number, .. } => self.last_number = *number,
                ClientEffect::Connect(_) | ClientEffect::Aside { .. } => {}
            }
        }
    }

    fn step(&mut self, event: ClientEvent) -> Vec<ClientEffect> {
        self.now += MS;
        let plans = &mut self.plans;
        let mut next = |_: &mut SplitMix64| plans.pop_front();
        let mut cx = ClientContext {
            now: self.now,
            begun: Duration::ZERO,
            history: &mut self.history,
            plans: &mut next,
            processes: &mut self.processes,
        };
        let mut out = Vec::new();
        self.client.step(&mut cx, event, &mut out);
        self.note(&out);
        out
    }

    /// The timer rings; what is sent then.
    fn ring(&mut self) -> Option<ClientRequest> {
        sent(self.step(ClientEvent::Timer(self.last_ticket)))
    }

    fn reply(&mut self, reply: ClientReply) -> Option<ClientRequest> {
        let number = self.last_number;
        sent(self.step(ClientEvent::Reply { number, reply }))
    }

    fn told(&self) -> &Told {
        &self.history.get(TransactionIndex(0)).told
    }
}

fn sent(out: Vec<ClientEffect>) -> Option<ClientRequest> {
    out.into_iter().find_map(|effect| match effect {
        ClientEffect::Send { request, .. } => Some(request),
        _ => None,
    })
}

fn commit(request: Option<ClientRequest>) -> Commit {
    match request {
        Some(ClientRequest::Commit(commit)) => commit,
        other => panic!("a commit is sent, not {other:?}"),
    }
}

fn aborted(durable: bool) -> ClientReply {
    let reason = AbortReason::Expired;
    Ok(ClientAnswer::Aborted(Aborted { reason, durable }))
}

#[test]
fn a_refusal_of_what_was_sent_once_is_believed() {
    let mut script = Script::new(3);
    assert!(!commit(script.ring()).resent);
    script.reply(aborted(false));
    assert!(matches!(
        script.told(),
        Told::Aborted { durable: false, .. }
    ));
}

#[test]
fn a_commit_without_an_answer_is_sent_again_under_the_same_name_elsewhere() {
    let mut script = Script::new(3);
    let first = commit(script.ring());
    assert_eq!(script.ring(), None, "it pauses");
    let out = script.step(ClientEvent::Timer(script.last_ticket));
    assert!(matches!(out[0], ClientEffect::Connect(gateway) if gateway != 0));
    let second = commit(sent(out));
    assert_eq!(second.name, first.name);
    assert!(second.resent);
}

#[test]
fn of_what_was_sent_twice_only_a_durable_refusal_is_believed() {
    let mut script = Script::new(3);
    commit(script.ring());
    script.ring();
    commit(script.ring());
    assert_eq!(script.reply(aborted(false)), None);
    assert_eq!(script.told(), &Told::Nothing);
    commit(script.ring());
    script.reply(aborted(true));
    assert!(matches!(script.told(), Told::Aborted { durable: true, .. }));
}

#[test]
fn what_stays_unknown_is_asked_for_and_its_process_ends() {
    let mut script = Script::new(1);
    commit(script.ring());
    let unavailable = RequestError::Overloaded { retry_ms: 1 };
    let mut request = script.step(ClientEvent::Lost);
    while sent(request.clone()).is_none() {
        request = script.step(ClientEvent::Timer(script.last_ticket));
    }
    assert!(matches!(sent(request), Some(ClientRequest::Outcome { .. })));
    assert_eq!(script.processes, 1);
    assert_eq!(
        script.reply(Err(unavailable)),
        None,
        "an error is no answer"
    );
    while !matches!(script.ring(), Some(ClientRequest::Outcome { .. })) {}
    let at = Timestamp::from_micros(9);
    script.reply(Ok(ClientAnswer::Outcome(OutcomeAnswer::Committed { at })));
    let transaction = script.history.get(TransactionIndex(0));
    assert_eq!(transaction.told, Told::Nothing);
    assert_eq!(transaction.fate(), Fate::Committed { at });
}

#[test]
fn an_answer_to_an_earlier_request_counts_for_nothing() {
    let mut script = Script::new(3);
    commit(script.ring());
    let first = script.last_number;
    script.ring();
    commit(script.ring());
    let committed = Committed {
        at: Timestamp::from_micros(9),
        results: vec![],
        attempts: 1,
        partitions: 1,
    };
    let reply = Ok(ClientAnswer::Committed(committed));
    let number = first;
    script.step(ClientEvent::Reply { number, reply });
    assert_eq!(script.told(), &Told::Nothing);
}

#[test]
fn a_patient_client_waits_for_a_slow_gateway_and_leaves_a_silent_one() {
    let mut script = Script::of(3, Some(50 * MS));
    commit(script.ring());
    for _ in 0..100 {
        assert_eq!(script.ring(), Some(ClientRequest::Timestamp));
        let sign = ClientAnswer::Timestamp(Timestamp::from_micros(9));
        assert_eq!(script.reply(Ok(sign)), None, "it waits on");
    }
    assert_eq!(script.ring(), Some(ClientRequest::Timestamp));
    assert_eq!(script.ring(), None, "it pauses");
    let out = script.step(ClientEvent::Timer(script.last_ticket));
    assert!(matches!(out[0], ClientEffect::Connect(gateway) if gateway != 0));
    assert!(commit(sent(out)).resent);
}
