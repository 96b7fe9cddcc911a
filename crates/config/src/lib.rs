//! Configuration: file, environment and flags into one checked value; units and secrets.
