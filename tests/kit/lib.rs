//! Shared helpers of all labs' tests: lab processes, real tools, namespaces.
#![expect(clippy::missing_panics_doc, reason = "a helper of a test panics as the test would")]

pub mod bank;
pub mod hostile;
pub mod lab;
pub mod namespaces;
pub mod page;
