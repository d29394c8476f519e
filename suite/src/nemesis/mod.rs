//! The nemeses: what is done to a cluster, one family a file.
