//! Which cluster, and whether it may be used.
