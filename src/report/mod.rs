//! One result value to text, JSON, NDJSON, one offline HTML page, pcapng.
//!
//! It must never compute a figure that the result does not hold, nor touch a file or a terminal.
