//! A comparison as text, JSON, NDJSON and one offline page.

pub mod events;
pub mod explain;
pub mod html;
pub mod ladder;
mod lanes;
mod plots;
mod tables;
pub mod text;

/// The JSON schema of `result.json`.
#[must_use]
pub const fn schema() -> &'static str {
    include_str!("result.schema.json")
}

/// The JSON schema of one line of `events.ndjson`.
#[must_use]
pub const fn events_schema() -> &'static str {
    include_str!("events.schema.json")
}
