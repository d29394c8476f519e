//! Replication of one partition's log.
