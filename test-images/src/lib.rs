//! Images made from nothing: layouts of any size, seed, compression and media type.
