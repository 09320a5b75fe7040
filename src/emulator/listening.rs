//! Which ports a host serves: how a lab learns that a program it knows nothing of is ready.
//!
//! It must never connect to find out: a stranger's server would see a client that says nothing.

use crate::sys::netns::Netns;
use std::io;

/// The tables of the kernel, and the state (column `st`) of a socket that serves: TCP's listen is
/// 10, a UDP socket that is bound and not connected has TCP's name for closed, 7.
const TABLES: [(&str, u8); 4] = [("tcp", 10), ("tcp6", 10), ("udp", 7), ("udp6", 7)];

/// The ports that sockets of a namespace serve, TCP and UDP.
///
/// # Errors
/// Where the namespace cannot be entered. A table that cannot be read counts as empty: a kernel
/// without IPv6 has none for it.
pub fn ports(host: &Netns) -> io::Result<Vec<u16>> {
    host.run(|| {
        let mut ports = Vec::new();
        for (table, state) in TABLES {
            let text = std::fs::read_to_string(format!("/proc/thread-self/net/{table}"));
            ports.extend(text.unwrap_or_default().lines().filter_map(|line| serves(line, state)));
        }
        ports
    })
}

/// The local port of a line whose socket is in this state.
fn serves(line: &str, state: u8) -> Option<u16> {
    // sl, local address:port, remote address:port, state, all in hexadecimal.
    let mut columns = line.split_whitespace().skip(1);
    let (_, port) = columns.next()?.rsplit_once(':')?;
    let found = u8::from_str_radix(columns.nth(1)?, 16).ok()?;
    (found == state).then(|| u16::from_str_radix(port, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_is_read() {
        let line = "   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 0";
        assert_eq!(serves(line, 10), Some(80));
        assert_eq!(serves(line, 7), None);
        assert_eq!(serves("  sl  local_address rem_address   st tx_queue", 10), None);
        assert_eq!(serves("", 10), None);
    }
}
