//! The loops that wait: the run's clock, the emulated path, the drivers of the bank's cores.
//!
//! It exists so that protocol cores need not wait. It must never hold protocol logic.

pub mod alarm;
pub mod call;
pub mod client;
pub mod clock;
pub mod dns;
pub mod endpoint;
mod engine;
pub mod listening;
pub mod ntp;
mod pool;
pub mod probe;
pub mod record;
pub mod remote;
mod room;
pub mod router;
mod runs;
pub mod segments;
pub mod server;
pub mod stop;
pub mod stream;
pub mod topology;

/// What a lab may ask of the system by itself: the right to make namespaces, facts of the machine.
pub use crate::sys::{host, keeper, netns, privilege, terminal};
