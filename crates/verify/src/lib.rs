//! Shows that log, rows and checkpoints agree.
