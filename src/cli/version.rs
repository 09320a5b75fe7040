//! Version and commit of this build.

/// Text of `-V` after the name: version, and the commit of a release build.
pub const LONG: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("WIRELAB_COMMIT"), ")");

/// The commit that a release build was made of, with `-dirty` where files differed from it.
pub const COMMIT: &str = env!("WIRELAB_COMMIT");
