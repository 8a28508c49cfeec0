//! Event Handler: folds events into rows, from the queue or directly from the log.
