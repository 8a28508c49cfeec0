//! Query Database: rows, index columns and checkpoints, changed in one transaction.
