//! Vocabulary and registry of Diptych: what a domain is, without any I/O.
