//! The arithmetic of a transformer on a CPU, forward and backward.
