//! The bank protocol over TCP streams and UDP datagrams: codec, clients, server, ledger.
//! `PROTOCOL.md` beside this file specifies it byte by byte, `STORE.md` the log on disk. The
//! protocol cores use no socket, clock, thread or global random source.
//!
//! | module | purpose |
//! |---|---|
//! | [`message`] | values: accounts, money, requests, replies, refusals |
//! | [`frame`] | their bytes: header, fixed block, TLV tail, CRC32C |
//! | [`codec`] | values to frames and back |
//! | [`client`] | state shared by both clients: identity, keys, outcomes, open calls |
//! | [`transport`] | the traits of a transport of requests |
//! | [`datagram`] | the client that retries over datagrams |
//! | [`stream`] | the client and the server's session on a stream |
//! | [`server`] | the server core: leases, duplicate check, dispatch, datagrams |
//! | [`ledger`] | the effect of a request on the accounts |
//! | [`held`] | replies that wait until what they saw is durable |
//! | [`storage`] | the trait of a store; the stores are in [`store`] |
//! | [`audit`] | proof that cents are conserved and nothing was applied twice |
//! | [`violation`] | protocol violations by a peer |
//! | [`rtt`] | round-trip estimate and timer, RFC 6298 |

pub mod audit;
pub mod cli;
pub mod client;
pub mod codec;
pub mod datagram;
pub mod driver;
pub mod frame;
pub mod held;
pub mod ledger;
pub mod load;
pub mod message;
pub mod rtt;
pub mod server;
mod session;
pub mod sim;
pub mod storage;
pub mod store;
pub mod stream;
pub mod transport;
pub mod violation;
