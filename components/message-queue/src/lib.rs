//! Message Queue: carries events from the log to the Event Handler.
