//! A run of a program over the path as text, JSON, NDJSON and captures.

pub mod capture;
pub mod events;
pub mod explain;
pub mod junit;
pub mod text;

/// The JSON schema of `result.json`.
#[must_use]
pub const fn schema() -> &'static str {
    include_str!("result.schema.json")
}

/// The JSON schema of a sweep.
#[must_use]
pub const fn sweep_schema() -> &'static str {
    include_str!("sweep.schema.json")
}

/// The JSON schema of one line of `events.ndjson`.
#[must_use]
pub const fn events_schema() -> &'static str {
    include_str!("events.schema.json")
}
