//! Reads a host's tables: the ports that it serves, and the packets on its loopback.
//!
//! It reads the kernel's tables: a connection to test the port would be visible to the server.

use crate::sys::netns::Netns;
use std::io;

/// The kernel's tables, and the state (column `st`) of a serving socket: 10 is TCP's listen; a UDP
/// socket that is bound and not connected has 7, TCP's closed.
const TABLES: [(&str, u8); 4] = [("tcp", 10), ("tcp6", 10), ("udp", 7), ("udp6", 7)];

/// The ports that sockets of a namespace serve, TCP and UDP.
///
/// # Errors
/// If the namespace cannot be entered. An unreadable table counts as empty: a kernel without IPv6
/// has none for it.
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

/// Packets that a namespace's loopback interface carried.
///
/// # Errors
/// If the namespace cannot be entered. A table without the interface counts 0.
pub fn loopback_packets(host: &Netns) -> io::Result<u64> {
    host.run(|| {
        let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
        text.lines().find_map(received_on_loopback).unwrap_or(0)
    })
}

/// The packets received, if the line is the loopback's: `lo: BYTES PACKETS …`.
fn received_on_loopback(line: &str) -> Option<u64> {
    line.trim_start().strip_prefix("lo:")?.split_whitespace().nth(1)?.parse().ok()
}

/// The local port of a line whose socket has this state.
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
    fn the_loopbacks_packets_are_read() {
        assert_eq!(received_on_loopback("    lo:   1234      12    0    0"), Some(12));
        assert_eq!(received_on_loopback("    va:   1234      12    0    0"), None);
        assert_eq!(received_on_loopback(" face |bytes    packets errs drop"), None);
    }

    #[test]
    fn a_line_of_the_table_is_read() {
        let line = "   0: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 0";
        assert_eq!(serves(line, 10), Some(80));
        assert_eq!(serves(line, 7), None);
        assert_eq!(serves("  sl  local_address rem_address   st tx_queue", 10), None);
        assert_eq!(serves("", 10), None);
    }
}
