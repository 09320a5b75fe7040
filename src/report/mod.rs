//! One result value to text, JSON, NDJSON, one offline HTML page, pcapng.
//!
//! It must never compute a figure that the result does not hold, nor touch a file or a terminal.

#[macro_use]
pub mod html;
pub mod explain;
pub mod ndjson;
pub mod page;
pub mod pcapng;
pub mod style;
pub mod svg;
pub mod table;
pub mod text;
