//! One result value to text, JSON, NDJSON, one offline HTML page, pcapng.

#[macro_use]
pub mod html;
pub mod escape;
pub mod explain;
pub mod ndjson;
pub mod page;
pub mod pcapng;
pub mod style;
pub mod svg;
pub mod table;
pub mod text;
