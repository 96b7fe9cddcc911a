//! HTTP both ways over hyper: accept, limits, drain, client pool, bodies.
