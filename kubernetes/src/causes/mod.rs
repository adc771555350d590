//! Why something on the cluster is not as intended: one pure function from the index to the closed list.
