//! Metric names, logging, health.
