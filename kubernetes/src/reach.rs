//! Bytes to a port of a pod, from inside the cluster or from outside.
