//! From a spec to its objects. Pure.
