//! Asking a leader to hand its partition over.

use super::{Client, Error};
use crate::ids::{NodeId, PartitionId};
use crate::message::{ClientAnswer, ClientRequest, RequestError, TransferFailure, Transferred};
use std::sync::Arc;
use std::time::Duration;

/// So often the leader is looked for, if leadership is on the move meanwhile.
const TRIES_MAX: u32 = 40;
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(50);

impl Client {
    /// Hands the leadership of a partition to a node, or to the fittest of its members. Requests under
    /// way are finished first, and later ones go to the new leader: clients notice a few milliseconds.
    ///
    /// # Errors
    /// [`RequestError::NotTransferred`] says why leadership stays where it is.
    pub async fn transfer(
        &self,
        partition: PartitionId,
        to: Option<NodeId>,
    ) -> Result<Transferred, Error> {
        let request = ClientRequest::Transfer { partition, to };
        let mut tries = 0;
        loop {
            tries += 1;
            let ended = match self.leader_address(partition).await? {
                Some(leader) => self.pool.ask(&leader, &request).await,
                None => Err(not_transferred(
                    partition,
                    TransferFailure::NotLeader { leader: None },
                )),
            };
            match ended {
                Ok(answered) => {
                    return match answered.answer {
                        ClientAnswer::Transferred(transferred) => Ok(transferred),
                        _ => Err(answered.unexpected("Transfer")),
                    };
                }
                Err(Error::Request(RequestError::NotTransferred { why, .. }))
                    if is_on_the_move(why) && tries < TRIES_MAX =>
                {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Where the leader of a partition listens, as far as some node knows.
    async fn leader_address(&self, partition: PartitionId) -> Result<Option<Arc<str>>, Error> {
        let map = self.map().await?;
        let mut partitions = map.partitions.iter();
        let Some((_, leader)) = partitions.find(|(d, _)| d.partition == partition) else {
            return Err(not_transferred(partition, TransferFailure::NoSuchPartition));
        };
        let mut nodes = map.nodes.iter();
        let member = leader.and_then(|leader| nodes.find(|member| member.node == leader));
        Ok(member.map(|member| member.address.as_str().into()))
    }
}

fn not_transferred(partition: PartitionId, why: TransferFailure) -> Error {
    RequestError::NotTransferred { partition, why }.into()
}

/// Whether another is about to lead, or has just been elected.
fn is_on_the_move(why: TransferFailure) -> bool {
    matches!(
        why,
        TransferFailure::NotLeader { .. } | TransferFailure::Electing
    )
}
