//! Nouns of the swarm: piece layout, bitfield, metainfo, peer. Pure.
