//! Starts and stops real servers, agents and clients for the end-to-end tests. Not shipped.
