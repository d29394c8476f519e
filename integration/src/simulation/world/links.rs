//! Connections between nodes, and what goes over them.

use super::{Happening, World};
use crate::simulation::machine::address;
use crate::simulation::network::{Passage, Seat};
use crate::simulation::telling;
use crate::simulation::trace::{About, node};
use node::Event;
use std::time::Duration;
use wire::ids::NodeId;
use wire::message::{FoundingMessage, PeerFrame, PeerMessage};

impl World {
    pub(super) fn connect_soon(&mut self, a: Seat, b: Seat) {
        let most = self.options.reconnect.as_nanos() as u64;
        let pause = Duration::from_nanos(most / 10 + self.random.below(most));
        self.heap.after(pause, Happening::Connect { a, b });
    }

    /// A connection is made if both nodes know who they are and nothing is cut. One such attempt is
    /// always under way while a pair is not connected.
    pub(super) fn try_connect(&mut self, a: Seat, b: Seat) {
        let now = self.now();
        let both = self.machines[a].identity.zip(self.machines[b].identity);
        let cut = self.network.is_cut(a, b) || self.network.is_cut(b, a);
        let old =
            self.network.connection(a, b).is_some() || self.network.connection(b, a).is_some();
        let Some((id_a, id_b)) = both.filter(|_| !cut && !old) else {
            return self.connect_soon(a, b);
        };
        let connection = self.network.connect(a, b, now);
        self.trace
            .record(now, "connect", &[a as u64, b as u64, connection], &[]);
        self.trace.line_about(now, About::pair(a, b), || {
            format!(
                "connection {connection} between {} and {}",
                node(a),
                node(b)
            )
        });
        for (at, peer, other) in [(a, id_b, b), (b, id_a, a)] {
            let address = address(other);
            self.give(
                at,
                Event::PeerUp {
                    node: peer,
                    address,
                },
            );
        }
    }

    pub(super) fn identified(&mut self, seat: Seat, node: NodeId) {
        self.machines[seat].identity = Some(node);
    }

    fn seat_of(&self, node: NodeId) -> Option<Seat> {
        // Ids follow the sorted list of founders; a node that is down has none at the moment.
        (0..self.machines.len()).find(|seat| self.machines[*seat].identity == Some(node))
    }

    pub(super) fn send_frame(&mut self, from: Seat, to: NodeId, frame: &PeerFrame) {
        let now = self.now();
        let Some(to) = self.seat_of(to) else {
            return;
        };
        let Some(connection) = self.network.connection(from, to) else {
            return;
        };
        let me = self.machines[from].identity;
        if let Some(me) = me {
            for message in &frame.messages {
                self.marks.see(me, message);
            }
        }
        self.machines[from].stamp = frame.stamp;
        let bytes = postcard::to_stdvec(frame).expect("every message can be encoded");
        self.trace
            .record(now, "send", &[from as u64, to as u64], &bytes);
        self.tell_frame(from, to, frame);
        let passage = self.network.send(from, to, now);
        let arrives = |bytes| Happening::Frame {
            from,
            to,
            connection,
            bytes,
        };
        match passage {
            Passage::Arrives(at) => self.heap.at(at, arrives(bytes)),
            Passage::Twice(first, second) => {
                self.heap.at(first, arrives(bytes.clone()));
                self.heap.at(second, arrives(bytes));
            }
            Passage::Lost => self.notice_silence(from, to, connection),
            Passage::Breaks => self.break_link(from, to),
        }
    }

    /// One line a message: each may be of another partition.
    fn tell_frame(&mut self, from: Seat, to: Seat, frame: &PeerFrame) {
        if !self.trace.is_readable() {
            return;
        }
        let now = self.now();
        for message in &frame.messages {
            let (named, text) = telling::peer(message);
            let partition = match message {
                PeerMessage::Request {
                    number, partition, ..
                } => {
                    self.trace.on_asked(from, *number, *partition);
                    named
                }
                PeerMessage::Reply { number, .. } => self.trace.asked(to, *number),
                _ => named,
            };
            let about = About::pair(from, to).of(partition);
            self.trace.line_about(now, about, || {
                format!("{} → {}: {text}", node(from), node(to))
            });
        }
    }

    /// What is sent into a cut is not acknowledged: in time the sender takes the connection for dead.
    fn notice_silence(&mut self, from: Seat, to: Seat, connection: u64) {
        if self.network.is_cut(from, to) {
            let wait = Duration::from_millis(20 + self.random.below(400));
            for (at, peer) in [(from, to), (to, from)] {
                self.heap.after(
                    wait,
                    Happening::LinkDown {
                        at,
                        peer,
                        connection,
                    },
                );
            }
        }
    }

    pub(super) fn frame_arrives(&mut self, from: Seat, to: Seat, connection: u64, bytes: &[u8]) {
        let cut = self.network.is_cut(from, to);
        if cut || self.network.connection(to, from) != Some(connection) {
            return;
        }
        let Some(id) = self.machines[from]
            .identity
            .or_else(|| self.last_identity(from))
        else {
            return;
        };
        match postcard::from_bytes::<PeerFrame>(bytes) {
            Ok(frame) => self.give(to, Event::Peer { from: id, frame }),
            Err(error) => self.fail(format!("a frame does not read back: {error}")),
        }
    }

    /// Who the node at a seat is although it is down: its place in the sorted list of founders.
    fn last_identity(&self, seat: Seat) -> Option<NodeId> {
        let mut list: Vec<String> = (0..self.machines.len()).map(address).collect();
        list.sort();
        let place = list.iter().position(|a| *a == address(seat))?;
        Some(NodeId(place as u32 + 1))
    }

    pub(super) fn send_founding(&mut self, from: Seat, to: &str, message: FoundingMessage) {
        let now = self.now();
        let Some(to) = (0..self.machines.len()).find(|seat| address(*seat) == to) else {
            return self.fail(format!("node {from} speaks to {to}, who is no founder"));
        };
        if to == from {
            return self.give(
                to,
                Event::Founding {
                    from: address(from),
                    message,
                },
            );
        }
        self.trace
            .record(now, "founding", &[from as u64, to as u64], &[]);
        self.trace.line_about(now, About::pair(from, to), || {
            format!(
                "{} → {}: {}",
                node(from),
                node(to),
                telling::clipped(&message)
            )
        });
        let arrives = |message| Happening::Founding { from, to, message };
        match self.network.send(from, to, now) {
            Passage::Arrives(at) => self.heap.at(at, arrives(message)),
            Passage::Twice(first, second) => {
                self.heap.at(first, arrives(message.clone()));
                self.heap.at(second, arrives(message));
            }
            Passage::Lost | Passage::Breaks => {}
        }
    }

    /// The connection of a pair breaks: each side notices in its own time.
    pub(super) fn break_link(&mut self, a: Seat, b: Seat) {
        for (at, peer) in [(a, b), (b, a)] {
            if let Some(connection) = self.network.connection(at, peer) {
                let wait = Duration::from_micros(self.random.below(20_000));
                self.heap.after(
                    wait,
                    Happening::LinkDown {
                        at,
                        peer,
                        connection,
                    },
                );
            }
        }
    }

    pub(super) fn break_links_of(&mut self, seat: Seat) {
        for peer in (0..self.machines.len()).filter(|peer| *peer != seat) {
            if let Some(connection) = self.network.connection(seat, peer) {
                self.link_down(seat, peer, connection);
            }
            if let Some(connection) = self.network.connection(peer, seat) {
                // A machine without power says nothing; its peers find out late, or when it is back.
                let wait = Duration::from_millis(self.random.below(300));
                self.heap.after(
                    wait,
                    Happening::LinkDown {
                        at: peer,
                        peer: seat,
                        connection,
                    },
                );
            }
        }
    }

    pub(super) fn link_down(&mut self, at: Seat, peer: Seat, connection: u64) {
        if !self.network.disconnect(at, peer, connection) {
            return;
        }
        let now = self.now();
        self.trace
            .record(now, "down", &[at as u64, peer as u64, connection], &[]);
        self.trace.line_about(now, About::pair(at, peer), || {
            format!("{} loses its connection to {}", node(at), node(peer))
        });
        if let Some(gone) = self.last_identity(peer) {
            self.give(at, Event::PeerDown { node: gone });
        }
        if self.network.connection(peer, at).is_none() {
            let (a, b) = (at.min(peer), at.max(peer));
            self.connect_soon(a, b);
        } else {
            let wait = Duration::from_millis(self.random.below(200));
            self.heap.after(
                wait,
                Happening::LinkDown {
                    at: peer,
                    peer: at,
                    connection,
                },
            );
        }
    }
}
