//! A finding as text, JSON, NDJSON and one offline page.

pub mod events;
mod explain;
mod numbers;
pub mod order;
pub mod page;
mod plots;
pub mod samples;
mod stamps;
pub mod text;

pub use explain::{explain, refusals};
