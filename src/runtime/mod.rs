//! The only code that waits: clock, timer, shutdown, worker threads, and the event loop with its
//! server.

pub mod clock;
pub mod event_loop;
pub mod server;
pub mod shutdown;
pub mod stream;
pub mod timer;
pub mod worker;
