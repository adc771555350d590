//! What makes projects' databases on a cluster.
