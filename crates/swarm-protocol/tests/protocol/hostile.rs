//! What one peer of bad will can cost, input by input.
