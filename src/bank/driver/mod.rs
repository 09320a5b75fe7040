//! The bank's cores on real sockets: servers, clients, one call, and what a remote server says.

pub mod call;
pub mod client;
pub mod remote;
pub mod server;
