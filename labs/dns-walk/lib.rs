//! The walk: from the root to the answer, as a resolver must do it, every step on record.
//!
//! Bytes to messages and back, names and record data are `hickory-proto`'s. Messages, names and
//! zone files are not what this project is for; the walk is, so it is written here.

mod args;
pub mod batch;
pub mod cache;
pub mod classify;
pub mod commands;
pub mod comparison;
pub mod cookie;
pub mod cross_check;
pub mod demo;
pub mod dname;
pub mod dnssec;
pub mod driver;
pub mod entropy;
pub mod event;
pub mod finding;
pub mod hints;
pub mod input;
pub mod limits;
pub mod message;
pub mod outcome;
pub mod question;
pub mod report;
pub mod resolver;
pub mod servers;
pub mod sim;
pub mod special_use;
pub mod survey;
pub mod text;
pub mod tolerant;
pub mod trust;
pub mod walk;

pub use hickory_proto::rr::{Name, RecordType};

/// The name of the lab.
pub(crate) const LAB: &str = "dns-walk";
