//! Clients: their requests in, their answers out.

use super::{Node, Work};
use crate::event::Effect;
use crate::keyspaces::{Judged, Keyspaces};
use crate::registry::OWN_CONNECTION;
use clock::Now;
use txn::{ClientTag, GatewayEvent};
use wire::ids::NodeId;
use wire::message::{
    ClientAnswer, ClientReply, ClientRequest, MapAnswer, MemberAddress, RequestError,
};

impl Node {
    pub(super) fn on_client(&mut self, now: &Now, client: ClientTag, request: ClientRequest) {
        self.counters.on_request(now.monotonic, client, &request);
        let reply = match request {
            ClientRequest::Status => self.status(now).map(|s| ClientAnswer::Status(Box::new(s))),
            ClientRequest::Map => self.map_answer().map(ClientAnswer::Map),
            ClientRequest::Transfer { partition, to } if self.membership.is_some() => {
                return self.on_client_transfer(now, client, partition, to);
            }
            request => match self.check_serving(now, &request) {
                Ok(()) => {
                    let judged = self.keyspaces.on_request(client, request);
                    return self.on_judged(now, judged);
                }
                Err(error) => Err(error),
            },
        };
        self.answer(now, client, reply);
    }

    /// Of some requests it is known now whether their keyspaces exist; those that wait for that are read for.
    fn on_judged(&mut self, now: &Now, judged: impl IntoIterator<Item = Judged>) {
        for judged in judged {
            match judged {
                Judged::GoesOn(client, request) => {
                    // Something may have come up while it waited.
                    if let Err(error) = self.check_serving(now, &request) {
                        self.answer(now, client, Err(error));
                        continue;
                    }
                    let event = GatewayEvent::Client { client, request };
                    self.work.push_back(Work::Gateway(event));
                }
                Judged::Refused(client, error) => self.answer(now, client, Err(error)),
            }
        }
        if let Some((number, request)) = self.keyspaces.due(now.monotonic) {
            self.ask_own_gateway(number, request);
        }
    }

    /// A request of this node's own, with its number.
    pub(super) fn ask_own_gateway(&mut self, number: u64, request: ClientRequest) {
        let client = ClientTag {
            connection: OWN_CONNECTION,
            number,
        };
        self.work
            .push_back(Work::Gateway(GatewayEvent::Client { client, request }));
    }

    fn check_serving(&self, now: &Now, request: &ClientRequest) -> Result<(), RequestError> {
        if self.membership.is_none() {
            return Err(self.not_founded());
        }
        if !self.identity_durable {
            let why = "it has just started and its log has not taken its first write".to_owned();
            return Err(RequestError::NotFounded { why });
        }
        // What only gives back is always welcome.
        let reveals_nothing = matches!(request, ClientRequest::Rollback { .. });
        if self.clock_watch.is_quarantined() && !reveals_nothing {
            return Err(self.clock_unusable(now, false));
        }
        Ok(())
    }

    pub(super) fn not_founded(&self) -> RequestError {
        RequestError::NotFounded {
            why: self.founder.state(),
        }
    }

    fn map_answer(&self) -> Result<MapAnswer, RequestError> {
        let membership = self.membership.as_ref().ok_or_else(|| self.not_founded())?;
        let leader = |partition| {
            let local = self
                .replicas
                .get(&partition)
                .and_then(|replica| replica.leader());
            local.or_else(|| membership.channel.leader_hint(partition))
        };
        Ok(MapAnswer {
            cluster: membership.identity.cluster,
            node: membership.identity.node,
            partitions: membership
                .map
                .iter()
                .map(|d| (d.clone(), leader(d.partition)))
                .collect(),
            nodes: self.addresses(membership.identity.node),
        })
    }

    fn addresses(&self, me: NodeId) -> Vec<MemberAddress> {
        let own = MemberAddress {
            node: me,
            address: self.config.address.clone(),
        };
        let others = self.peers.iter().map(|(node, peer)| MemberAddress {
            node,
            address: peer.address.clone(),
        });
        let mut addresses: Vec<_> = others.chain([own]).collect();
        addresses.sort_by_key(|member| member.node);
        addresses
    }

    /// An answer leaves, or reaches whatever of this node asked.
    pub(super) fn answer(&mut self, now: &Now, client: ClientTag, reply: ClientReply) {
        let ClientTag { connection, number } = client;
        if connection == OWN_CONNECTION {
            if Keyspaces::has_asked(number) {
                let judged = self.keyspaces.on_reply(number, reply);
                return self.on_judged(now, judged);
            }
            if self.settings.on_reply(number, &reply, now.monotonic) {
                return;
            }
            self.registry.on_reply(number, &reply, now.monotonic);
        } else {
            self.counters.on_answer(now.monotonic, client, &reply);
            self.effects.push(Effect::Reply {
                connection,
                number,
                reply,
            });
        }
    }
}
