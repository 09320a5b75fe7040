//! The walk: from the root to the answer, as a resolver must do it, every step on record.
//!
//! It exists because what people use hides the response code, stops at a server that refuses, and
//! does not say why a packet was sent. It must never know a socket, a clock, or a source of
//! randomness besides its seed.
//!
//! | module | what it is for |
//! |---|---|
//! | [`limits`] | what a walk may spend, each limit with its derivation |
//! | [`event`] | what happened, one record per thing |
//! | [`finding`] | what is wrong with the zones on the way |
//! | [`outcome`] | how a walk ended |
//! | [`text`] | questions, names and records as text |
//! | [`trust`] | how far a record is believed, why it is not learned |
//! | [`dname`] | names above a name, names that a DNAME makes |
//! | [`question`] | one question as bytes, and what to check before a reply is believed |
//! | [`entropy`] | source of unpredictable query IDs, case bits and cookies |
//! | [`cookie`] | a word that only the server that was asked has seen |
//! | [`message`] | messages as they were on the wire, and as JSON (RFC 8427) |
//! | [`tolerant`] | replies with records that must be ignored, and no more than these |
//! | [`hints`] | where a walk begins: the root's servers, ports |
//! | [`cache`] | what is known, since which step, for how long, and how far it is believed |
//! | [`classify`] | what a reply says about a question: pure |
//! | [`servers`] | how fast each server is, and what it cannot do |
//! | [`survey`] | what every server of every level said: shares of outcomes, best path |
//! | [`dnssec`] | whether an answer can be proved from a trust anchor down: pure |
//! | [`special_use`] | names that are answered without asking anybody |
//! | [`walk`] | the machine: commands and bytes in, queries and records out |
//! | [`input`] | a list of names, line by line |
//! | [`batch`] | many walks at once with one memory |
//! | [`resolver`] | a batch resolver that answers clients: what they may be told, and how much |
//! | [`comparison`] | another resolver's answer, and the differences |
//! | [`cross_check`] | what a resolver says of the same question, and why it may differ |
//! | [`demo`] | a hierarchy of zones with named faults, as servers without sockets |
//!
//! Bytes to messages and back, names and record data are `hickory-proto`'s. Messages, names and
//! zone files are not what this project is for; the walk is, so it is written here.

mod args;
pub mod batch;
pub mod cache;
pub mod classify;
pub mod commands;
pub mod comparison;
pub mod cookie;
pub mod cross_check;
pub mod demo;
pub mod dname;
pub mod dnssec;
pub mod driver;
pub mod entropy;
pub mod event;
pub mod finding;
pub mod hints;
pub mod input;
pub mod limits;
pub mod message;
pub mod outcome;
pub mod question;
pub mod report;
pub mod resolver;
pub mod servers;
pub mod sim;
pub mod special_use;
pub mod survey;
pub mod text;
pub mod tolerant;
pub mod trust;
pub mod walk;

pub use hickory_proto::rr::{Name, RecordType};

/// The name of the lab.
pub(crate) const LAB: &str = "dns-walk";
