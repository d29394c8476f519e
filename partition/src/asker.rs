//! Who asked.

use wire::ids::NodeId;
use wire::message::RequestNumber;

/// Who gets the reply to a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Asker {
    /// The node that asked.
    pub node: NodeId,
    /// Its number for the request.
    pub number: RequestNumber,
}
