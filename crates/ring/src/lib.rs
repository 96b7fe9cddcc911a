//! Who owns a digest: weighted rendezvous hashing. Pure.
