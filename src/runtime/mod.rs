//! The only code that waits: the run's clock, timers, shutdown.

pub mod clock;
pub mod shutdown;
pub mod timer;
