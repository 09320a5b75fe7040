//! Forwards signals to the program that a lab runs, which decides when to end.
//!
//! Keys such as Ctrl-C reach the whole foreground group of a terminal, the program included; a
//! signal from `kill` or `timeout` reaches the lab alone.

use crate::sys::terminal;
use signal_hook::consts::{
    SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::flag;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Signals that ask a program for something; others end or stop it outright.
const FORWARDED: [i32; 9] =
    [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH, SIGCONT];
/// Those that a terminal sends to its whole foreground group.
const BY_TERMINAL: [i32; 5] = [SIGINT, SIGHUP, SIGQUIT, SIGWINCH, SIGCONT];

/// Signals that came and were not passed on yet.
#[derive(Clone, Debug)]
pub struct SignalForwarder(Vec<(i32, Arc<AtomicBool>)>);

impl SignalForwarder {
    /// Listens from now on.
    ///
    /// # Errors
    /// Errors of registering a handler.
    pub fn install() -> io::Result<Self> {
        let mut came = Vec::new();
        for signal in FORWARDED {
            let flag = Arc::new(AtomicBool::new(false));
            flag::register(signal, Arc::clone(&flag))?;
            came.push((signal, flag));
        }
        Ok(Self(came))
    }

    /// A signal to pass on to the program, once each time it came.
    #[must_use]
    pub fn take(&self) -> Option<u8> {
        let came = self.next()?;
        let by_key = BY_TERMINAL.contains(&came) && terminal::is_foreground();
        if by_key { None } else { u8::try_from(came).ok() }
    }

    /// A signal that came, once each time.
    fn next(&self) -> Option<i32> {
        let came = self.0.iter().find(|(_, flag)| flag.swap(false, Ordering::Relaxed));
        came.map(|(signal, _)| *signal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_passed_on_once() {
        let signals = SignalForwarder::install().unwrap();
        assert_eq!(signals.next(), None);
        // One that no other test of this process listens to.
        signal_hook::low_level::raise(SIGHUP).unwrap();
        assert_eq!((signals.next(), signals.next()), (Some(SIGHUP), None));
    }
}
