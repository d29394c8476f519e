//! The write-ahead log of a node, shared by its partitions.
