//! One seed, one thread, virtual time: the boxes up to their edge adapters.
