//! What a peer does next: the swarm's state machine, without sockets, clock or disk.
