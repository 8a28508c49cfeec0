//! The process: App and the roles.
