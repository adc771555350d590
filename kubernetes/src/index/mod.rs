//! What is there, by sandbox, kept up to date by one watch a kind.
