//! What the tests of all labs need: labs as processes, real tools, namespaces.
#![expect(clippy::missing_panics_doc, reason = "a helper of a test panics as the test would")]

pub mod lab;
pub mod namespaces;
pub mod page;
