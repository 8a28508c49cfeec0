//! Command Service: decodes, decides, appends, relays.
