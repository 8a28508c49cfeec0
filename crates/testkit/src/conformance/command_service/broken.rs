//! Services that break one promise each.
