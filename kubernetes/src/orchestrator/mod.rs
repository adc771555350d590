//! Makes sandboxes exist on a cluster.
