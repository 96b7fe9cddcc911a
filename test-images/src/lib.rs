//! Images made from nothing: layouts of any size, seed, compression and media type.
//!
//! Tests, the demo and the benches need images that no registry has to provide. The same [`ImageSpec`] gives the same bytes on
//! every machine, and a layer is streamed while it is made, so a layer of 1 GiB costs a few hundred KiB of memory.
//!
//! The documents are written here by hand, with media types of their own, and not with the types of `shoal-oci`: a generator
//! that shared its words with the code under test could not find that code's spelling mistakes.
//!
//! Non-goal: content that looks like real software. Files are random bytes, so compression gains nothing and sizes hold.

pub mod busybox;
pub mod document;
pub mod image;
pub mod layer;
pub mod layout;
pub mod media_type;
pub mod memory;
pub mod random;
pub mod sink;
pub mod spec;

pub use image::{Descriptor, Image, PlatformImage, build};
pub use layout::Layout;
pub use memory::MemoryBlobs;
pub use sink::Sink;
pub use spec::{Compression, Format, ImageSpec, Platform};
