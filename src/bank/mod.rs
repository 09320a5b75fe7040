//! The bank protocol: one message codec, two carriers, and what a client can know.
//!
//! It exists so that the same requests can be carried by a TCP stream and by UDP datagrams and be
//! compared. `PROTOCOL.md` beside this file is the specification, byte by byte.
//! It must never touch a socket, a clock, a thread or a global random source.
//!
//! | module | what it is for |
//! |---|---|
//! | [`message`] | values: accounts, money, requests, replies, refusals |
//! | [`frame`] | their bytes: header, fixed block, TLV tail, CRC32C |
//! | [`codec`] | values to frames and back |
//! | [`client`] | what both clients share: identity, keys, outcomes, open calls |
//! | [`transport`] | what a transport of requests must do |
//! | [`datagram`] | the client that retries over datagrams |
//! | [`stream`] | the client and the server's session on a stream |
//! | [`server`] | the server core: leases, duplicate check, dispatch, datagrams |
//! | [`ledger`] | what a request means for the accounts |
//! | [`storage`] | what a store must do; the stores are in [`store`] |
//! | [`audit`] | proof that cents are conserved and nothing was applied twice |
//! | [`violation`] | what a peer did against the protocol |
//! | [`rtt`] | round-trip estimate and timer, RFC 6298 |

pub mod audit;
pub mod cli;
pub mod client;
pub mod codec;
pub mod datagram;
pub mod driver;
pub mod frame;
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
