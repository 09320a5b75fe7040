//! Version and commit of this build.

/// What `-V` prints after the name: version, and the commit that a release build was made of.
pub const LONG: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("WIRELAB_COMMIT"), ")");

/// The commit that a release build was made of, with `-dirty` where files differed from it.
pub const COMMIT: &str = env!("WIRELAB_COMMIT");
