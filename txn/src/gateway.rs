//! Dispatch.

use crate::{ClientTag, GatewayConfig, GatewayContext, GatewayEffect, GatewayEvent};
use clock::Timestamp;
use wire::message::{ClientAnswer, ClientRequest, CoordinatorState, RequestError};

/// One node's gateway.
pub struct Gateway {
    config: GatewayConfig,
}

impl Gateway {
    /// A gateway that has nothing under way.
    pub fn new(config: GatewayConfig) -> Gateway {
        Gateway { config }
    }

    /// Takes one event and pushes what is to be done.
    pub fn step(
        &mut self,
        cx: &mut GatewayContext,
        event: GatewayEvent,
        out: &mut Vec<GatewayEffect>,
    ) {
        match event {
            GatewayEvent::Client { client, request } => self.on_client(cx, client, request, out),
            GatewayEvent::AskedAbout { by, number, .. } => {
                out.push(GatewayEffect::TellCoordinatorState {
                    to: by,
                    number,
                    state: CoordinatorState::Unknown,
                });
            }
            _ => {}
        }
    }

    fn on_client(
        &mut self,
        cx: &mut GatewayContext,
        client: ClientTag,
        request: ClientRequest,
        out: &mut Vec<GatewayEffect>,
    ) {
        let reply = match request {
            ClientRequest::Timestamp => match cx.clock.timestamp(cx.now) {
                Ok(timestamp) => Ok(ClientAnswer::Timestamp(timestamp)),
                Err(why) => Err(RequestError::ClockUnusable {
                    node: self.config.me,
                    why: why.to_string(),
                }),
            },
            _ => Err(RequestError::Overloaded { retry_ms: 100 }),
        };
        out.push(GatewayEffect::Answer {
            client,
            reply,
            depends_on: Timestamp::ZERO,
        });
    }

    /// Lets time pass: retries and timeouts. About every 10 ms.
    pub fn tick(&mut self, _cx: &mut GatewayContext, _out: &mut Vec<GatewayEffect>) {}

    /// How many commits it coordinates now.
    pub fn coordinating(&self) -> usize {
        0
    }
}
