//! Interleaved mode (RFC 9769): each reply reports when the previous one left.
//!
//! In basic mode a reply holds a time from before it was sent. The time at which it left is known
//! only later, so the next reply brings it. A client asks for it by naming the receive timestamp of
//! the reply before, which a server must therefore remember.

use super::packet::Header;
use super::timestamp::NtpTimestamp;
use wirelab::measure::draw::keyed;

/// Exchanges that a server remembers: at one request in 64 s each, 64 new ones a second. A client
/// that is forgotten gets a reply in basic mode.
pub const EXCHANGES_MAX: usize = 4_096;

/// Bit of a receive timestamp; no transmit timestamp has it. Both bits are below the resolution of
/// any clock: a quarter and half a nanosecond.
const RECEIVE: u64 = 1;
/// Bit of a receive timestamp that is remembered: a reply in basic mode with the same time of
/// receipt must not name it.
const REMEMBERED: u64 = 2;
/// Distance between timestamps that differ.
const STEP: u64 = 4;
/// Remembered timestamps rise within this span, about 1 µs, even where the clock's do not.
const RISING: u64 = 1 << 12;

/// A transmit timestamp, which must not look like a receive timestamp.
#[must_use]
pub const fn unmarked(transmit: NtpTimestamp) -> NtpTimestamp {
    NtpTimestamp::from_bits(transmit.bits() & !RECEIVE)
}

/// Transmit times of replies, by the receive timestamps of their requests.
#[derive(Clone, Debug)]
pub struct Memory {
    /// A slot per hash of a receive timestamp; a new exchange replaces the old one.
    places: Vec<Exchange>,
    /// The last timestamp stored: as read, and as made unique.
    last: [u64; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Exchange {
    receive: u64,
    transmit: u64,
}

/// A server's timestamps of one reply, and those to store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Origin timestamp of the reply.
    pub origin: NtpTimestamp,
    /// When the request came, with the mark that tells it from a transmit timestamp.
    pub receive: NtpTimestamp,
    /// When the reply before left; `None` in basic mode, where this one's own time belongs.
    pub left: Option<NtpTimestamp>,
    /// Whether the client may ask when this reply left.
    pub remembered: bool,
}

impl Default for Memory {
    fn default() -> Self {
        Self { places: vec![Exchange::default(); EXCHANGES_MAX], last: [0; 2] }
    }
}

impl Memory {
    /// How to answer a request that came at `receive`.
    ///
    /// //= RFC 9769 §2: interleaved where the origin is a receive timestamp that was saved, and the
    /// //= request's own receive and transmit timestamps differ.
    #[must_use]
    pub fn answer(&mut self, request: &Header, receive: NtpTimestamp) -> Reply {
        let receive = NtpTimestamp::from_bits(receive.bits() & !REMEMBERED | RECEIVE);
        // A client in basic mode names nothing, or a transmit timestamp, which has no such bit.
        let named = request.origin.bits() & RECEIVE != 0
            && !request.receive.is_none()
            && request.receive != request.transmit;
        if !named {
            return Reply { origin: request.transmit, receive, left: None, remembered: false };
        }
        let left = self.left(request.origin);
        let receive = self.remember(receive);
        let origin = if left.is_some() { request.receive } else { request.transmit };
        Reply { origin, receive, left, remembered: true }
    }

    /// The reply to the request that came at `receive` left at `transmit`.
    pub fn handle_sent(&mut self, receive: NtpTimestamp, transmit: NtpTimestamp) {
        let place = &mut self.places[place(receive.bits())];
        if place.receive == receive.bits() {
            place.transmit = unmarked(transmit).bits();
        }
    }

    fn left(&self, receive: NtpTimestamp) -> Option<NtpTimestamp> {
        let Exchange { receive: saved, transmit } = self.places[place(receive.bits())];
        (saved == receive.bits() && transmit != 0).then(|| NtpTimestamp::from_bits(transmit))
    }

    /// Takes a place, and a timestamp that names no other exchange.
    ///
    /// A later timestamp is still an upper bound of the offset, so that it misleads no client.
    ///
    /// //= RFC 9769 §2: saved receive timestamps must be unique.
    fn remember(&mut self, receive: NtpTimestamp) -> NtpTimestamp {
        let clock = receive.bits() | REMEMBERED;
        let [last_clock, last] = self.last;
        let follows = clock == last_clock || last.wrapping_sub(clock) < RISING;
        let mut bits = if follows { last.wrapping_add(STEP) } else { clock };
        while self.places[place(bits)].receive == bits {
            bits = bits.wrapping_add(STEP);
        }
        self.last = [clock, bits];
        self.places[place(bits)] = Exchange { receive: bits, transmit: 0 };
        NtpTimestamp::from_bits(bits)
    }
}

fn place(receive: u64) -> usize {
    // Timestamps a power of two apart must not share a place.
    usize::try_from(keyed(0, receive) % EXCHANGES_MAX as u64).expect("below the number of places")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const fn at(bits: u64) -> NtpTimestamp {
        NtpTimestamp::from_bits(bits)
    }

    #[test]
    fn the_third_reply_tells_when_the_second_left() {
        let mut memory = Memory::default();
        let first = memory.answer(&Header::request(at(7)), at(1_000));
        assert_eq!((first.origin, first.left, first.remembered), (at(7), None, false));
        let asked = |origin, receive, transmit| Header {
            origin,
            receive: at(receive),
            ..Header::request(at(transmit))
        };
        let second = memory.answer(&asked(first.receive, 8, 9), at(2_000));
        assert_eq!((second.origin, second.left, second.remembered), (at(9), None, true));
        memory.handle_sent(second.receive, at(2_010));
        let third = memory.answer(&asked(second.receive, 10, 11), at(3_000));
        assert_eq!((third.origin, third.left), (at(10), Some(at(2_010))));
        // Equal timestamps are what an old client sends.
        let same = memory.answer(&asked(second.receive, 12, 12), at(4_000));
        assert_eq!((same.origin, same.left, same.remembered), (at(12), None, false));
    }

    #[test]
    fn a_reply_in_basic_mode_names_no_other_exchange_of_the_same_time() {
        let mut memory = Memory::default();
        let basic = memory.answer(&Header::request(at(7)), at(1_000));
        let asked = |origin| Header { origin, receive: at(8), ..Header::request(at(9)) };
        let other = memory.answer(&asked(at(1)), at(1_000));
        assert_eq!((basic.remembered, other.remembered), (false, true));
        memory.handle_sent(other.receive, at(1_010));
        assert_eq!(memory.answer(&asked(basic.receive), at(2_000)).left, None);
        assert_eq!(memory.answer(&asked(other.receive), at(3_000)).left, Some(at(1_010)));
    }

    #[test]
    fn requests_that_come_as_one_are_told_apart_and_none_costs_more_memory() {
        let mut memory = Memory::default();
        let request = Header { origin: at(1), receive: at(2), ..Header::request(at(3)) };
        let [first, second] = [(); 2].map(|()| memory.answer(&request, at(5_000)).receive);
        assert_ne!(first, second);
        for number in 0..3 * EXCHANGES_MAX as u64 {
            assert!(memory.answer(&request, at(number << 20)).remembered);
        }
        assert_eq!(memory.places.len(), EXCHANGES_MAX);
    }

    proptest! {
        /// Any requests in any order, several of them at one time.
        #[test]
        fn a_time_is_of_the_exchange_that_was_named(
            asked in prop::collection::vec((any::<u64>(), any::<u64>(), 0_usize..40), 1..200),
            clock in any::<u64>(), pause in 0_u64..5,
        ) {
            let (mut memory, mut told) = (Memory::default(), HashMap::new());
            let mut receives = vec![0_u64];
            for (number, (receive, transmit, back)) in (1_u64..).zip(asked) {
                let origin = receives[receives.len().saturating_sub(1 + back)];
                let plain = Header::request(at(transmit));
                let request = Header { origin: at(origin), receive: at(receive), ..plain };
                let reply = memory.answer(&request, at(clock.wrapping_add(number * pause)));
                let left = reply.left.map(NtpTimestamp::bits);
                prop_assert_eq!(left, left.and_then(|_| told.get(&origin).copied()));
                let repeated = if reply.left.is_some() { receive } else { transmit };
                prop_assert_eq!(reply.origin.bits(), repeated);
                prop_assert!(!told.contains_key(&reply.receive.bits()));
                if reply.remembered {
                    memory.handle_sent(reply.receive, at(number * 2));
                    told.insert(reply.receive.bits(), number * 2);
                }
                receives.push(reply.receive.bits());
            }
        }
    }
}
