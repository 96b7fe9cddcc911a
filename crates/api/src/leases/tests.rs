//! Who waits for whom, and what is remembered for how long.
