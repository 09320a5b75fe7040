//! Safe functions around Linux calls that have no safe wrapper elsewhere; all `unsafe` is here.

pub mod clock;
pub mod datagrams;
pub mod dir;
pub mod error;
pub mod ethtool;
pub mod host;
pub mod limits;
pub mod locked_dir;
pub mod mounts;
pub mod netlink;
pub mod netns;
pub mod packet;
pub mod pidns_init;
pub mod poll;
pub mod privilege;
pub mod random;
pub mod sockets;
pub mod terminal;
pub mod timer;
pub mod timestamp;
pub mod tx_timestamp;
