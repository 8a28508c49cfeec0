//! Every drill, short: the promises hold over real processes. Figures need a quiet machine and the long drills.

mod everyday;
