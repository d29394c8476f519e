//! `transfer`: leadership of partitions handed over.

use crate::failure::Failure;
use crate::output::Object;
use crate::session::Session;
use clap::Args;
use wire::ids::{NodeId, PartitionId};
use wire::message::Transferred;

/// Hand the leadership of a partition to another of its nodes
///
/// The leader finishes what is under way, hands over, and the new one goes on where it stopped:
/// clients notice a few milliseconds, nothing fails. Without --to the fittest node is chosen: up, not
/// behind, leading the fewest. A node that stops (^C or SIGTERM) hands over by itself, and nodes spread
/// leaderships evenly by themselves, so this is rarely needed; 'horolog partitions' shows who leads.
#[derive(Debug, Args)]
#[command(after_long_help = "Examples:
  horolog transfer --partition 3
  horolog transfer --partition 3 --to 2
  horolog transfer --all --from 1          before work on node 1")]
pub(crate) struct Transfer {
    /// The partition, as 'horolog partitions' numbers it
    #[arg(long, value_name = "N", value_parser = parse_partition)]
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    partition: Option<PartitionId>,

    /// The node that is to lead it; a member of the partition
    #[arg(long, value_name = "NODE", value_parser = parse_node)]
    to: Option<NodeId>,

    /// Every partition that the node of --from leads
    #[arg(long, requires = "from")]
    all: bool,

    /// The node that is to lead nothing
    #[arg(long, value_name = "NODE", value_parser = parse_node, requires = "all")]
    from: Option<NodeId>,
}

fn parse_number(text: &str, prefix: char, what: &str) -> Result<u32, String> {
    let digits = text.strip_prefix(prefix).unwrap_or(text);
    digits
        .parse()
        .map_err(|_| format!("'{text}' is no {what}: write its number, for example 2 or {prefix}2"))
}

fn parse_partition(text: &str) -> Result<PartitionId, String> {
    parse_number(text, 'p', "partition").map(PartitionId)
}

fn parse_node(text: &str) -> Result<NodeId, String> {
    parse_number(text, 'n', "node").map(NodeId)
}

impl Transfer {
    pub(crate) async fn run(self, session: &mut Session) -> Result<(), Failure> {
        for partition in self.partitions(session).await? {
            let transferred = session.transfer(partition, self.to).await?;
            print(session, transferred)?;
        }
        Ok(())
    }

    async fn partitions(&self, session: &Session) -> Result<Vec<PartitionId>, Failure> {
        let Some(from) = self.from else {
            return Ok(self.partition.into_iter().collect());
        };
        let map = session.map().await?;
        if map.nodes.iter().all(|member| member.node != from) {
            let known: Vec<String> = map.nodes.iter().map(|m| m.node.to_string()).collect();
            let known = known.join(", ");
            return Err(Failure::error(format!("there is no node {from}: {known}")));
        }
        let led = map.partitions.iter();
        let led = led.filter(|(_, leader)| *leader == Some(from));
        Ok(led.map(|(descriptor, _)| descriptor.partition).collect())
    }
}

fn print(session: &Session, transferred: Transferred) -> Result<(), Failure> {
    let Transferred {
        partition,
        from,
        to,
    } = transferred;
    Ok(session.output.print(
        || format!("{partition}: led by {to}, no longer by {from}"),
        || {
            Object::new()
                .with("partition", partition.0)
                .with("from", from.0)
                .with("to", to.0)
        },
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        transfer: Transfer,
    }

    fn read(line: &[&str]) -> Result<Transfer, String> {
        let program = std::iter::once(&"transfer");
        let read = Line::try_parse_from(program.chain(line));
        read.map(|line| line.transfer)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn numbers_are_taken_with_and_without_their_letter() {
        let transfer = read(&["--partition", "p3", "--to", "2"]).unwrap();
        assert_eq!(transfer.partition, Some(PartitionId(3)));
        assert_eq!(transfer.to, Some(NodeId(2)));
        let transfer = read(&["--all", "--from", "n1"]).unwrap();
        assert_eq!(transfer.from, Some(NodeId(1)));
    }

    #[test]
    fn half_a_request_is_refused_with_the_remedy() {
        let why = read(&["--partition", "north"]).err().unwrap();
        assert!(why.contains("for example 2 or p2"), "{why}");
        for line in [&[][..], &["--all"], &["--from", "1"], &["--to", "1"]] {
            assert!(read(line).is_err(), "{line:?}");
        }
        assert!(read(&["--all", "--from", "1", "--partition", "2"]).is_err());
    }
}
