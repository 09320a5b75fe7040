//! The bank's cores on real sockets: servers, clients, single calls, and remote servers.

pub mod call;
pub mod client;
pub mod remote;
pub mod server;
