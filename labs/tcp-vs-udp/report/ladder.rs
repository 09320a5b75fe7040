//! Packet ladders: the captured frames of a few slow requests.
//! Only requests whose frames were all captured are shown.

use crate::arms::Arm;
use crate::kernel::LaneCapture;
use crate::outcome::{Block, LaneOutcome};
use crate::result::{RunResult, Stage};
use crate::verdict;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use wirelab::bank::client::Key;
use wirelab::bank::frame::{Frame, Kind, MAX_FRAME, frame_len};
use wirelab::bank::load::{End, Sample};
use wirelab::measure::{Ppm, nanos};
use wirelab::path::Direction;

/// A slow request and its frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowRequest {
    /// The arm.
    pub arm: Arm,
    /// The depth of its lane.
    pub depth: u32,
    /// The loss of its stage.
    pub loss_ppm: Ppm,
    /// Sequence number in its lane.
    pub seq: u64,
    /// The operation: `deposit`, …
    pub operation: String,
    /// Latency, nanoseconds.
    pub latency_ns: u64,
    /// Attempts sent.
    pub attempts: u32,
    /// Its frames, in order of arrival at the path.
    pub frames: Vec<FrameSeen>,
}

/// One frame of a slow request. Observer: path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameSeen {
    /// Arrival at the path, nanoseconds since the request was sent.
    pub t_ns: u64,
    /// Time on the path, nanoseconds.
    pub delay_ns: u64,
    /// Its direction.
    pub direction: Direction,
    /// Its kind: `request`, `reply`, `SYN`, …
    pub what: String,
    /// Whether the path lost it.
    pub lost: bool,
}

/// Maximum frames of one ladder: it must fit a screen.
const FRAMES_MAX: usize = 24;

/// A parsed captured frame.
pub(crate) struct Seen {
    /// The client's port, which identifies the flow.
    pub(crate) port: u16,
    /// Whether the client sent it.
    pub(crate) from_client: bool,
    /// Its label.
    what: &'static str,
    /// Keys of the bank messages in it.
    pub(crate) keys: Vec<Key>,
    /// First sequence number of its payload and the one after it; `None` for a datagram.
    pub(crate) sequence: Option<(u32, u32)>,
}

/// One slow request of each arm of the headline, and of one with a connection per request, at the
/// headline's stage.
#[must_use]
pub fn slow_requests(
    result: &RunResult,
    blocks: &[Vec<Block>],
    captures: &[LaneCapture],
) -> Vec<SlowRequest> {
    let place = result.plan.headline_stage();
    let loss = result.plan.loss_ppm[place];
    let stage: Option<&Stage> = result.stages.iter().find(|stage| stage.loss_ppm == loss);
    let block = blocks.get(place).and_then(|blocks| blocks.first());
    let (Some(stage), Some(block)) = (stage, block) else { return Vec::new() };
    let find = |arm: Arm| {
        let (at, lane) =
            block.lanes.iter().enumerate().find(|(_, l)| l.arm == arm && l.depth == 1)?;
        let capture = captures.iter().find(|c| c.arm == arm && c.depth == 1 && c.loss == loss)?;
        let threshold = Duration::from_nanos(stage.lanes.get(at)?.theory.slow_threshold_ns);
        slow_request(lane, capture, threshold)
    };
    let (first, second) = verdict::pair(&result.plan.arms);
    let reconnect = result.plan.arms.iter().copied().find(|arm| arm.transport().per_request());
    let mut arms: Vec<Arm> = [first, second, reconnect].into_iter().flatten().collect();
    arms.sort_unstable();
    arms.dedup();
    arms.into_iter().filter_map(find).collect()
}

/// The first slow request of a lane whose frames were all captured.
fn slow_request(
    lane: &LaneOutcome,
    capture: &LaneCapture,
    threshold: Duration,
) -> Option<SlowRequest> {
    let until = capture.frames.last()?.arrived;
    let seen: Vec<Option<Seen>> =
        capture.frames.iter().map(|f| look(&f.bytes, f.direction)).collect();
    let slow = lane
        .samples
        .iter()
        .filter(|s| s.end != End::Unknown && s.latency() > threshold && s.finished < until);
    slow.filter_map(|sample| {
        let frames = frames_of(sample, capture, &seen)?;
        Some(SlowRequest {
            arm: lane.arm,
            depth: lane.depth,
            loss_ppm: capture.loss,
            seq: sample.op,
            operation: sample.operation.name().to_owned(),
            latency_ns: nanos(sample.latency()),
            attempts: u32::from(sample.attempts),
            frames,
        })
    })
    .next()
}

/// The frames of a request's flow while it was open; `None` if none was lost, or too many.
fn frames_of(
    sample: &Sample,
    capture: &LaneCapture,
    seen: &[Option<Seen>],
) -> Option<Vec<FrameSeen>> {
    let pairs = || capture.frames.iter().zip(seen).filter_map(|(f, s)| Some((f, s.as_ref()?)));
    let (_, first) = pairs().find(|(_, s)| s.keys.contains(&sample.key))?;
    let open = |at| sample.intended <= at && at <= sample.finished;
    let frames: Vec<FrameSeen> = pairs()
        .filter(|(frame, seen)| seen.port == first.port && open(frame.arrived))
        .map(|(frame, seen)| FrameSeen {
            t_ns: nanos(frame.arrived.since(sample.intended)),
            delay_ns: frame.departed.map_or(0, |at| nanos(at.since(frame.arrived))),
            direction: frame.direction,
            what: seen.what.to_owned(),
            lost: frame.copies == 0,
        })
        .collect();
    (frames.iter().any(|f| f.lost) && frames.len() <= FRAMES_MAX).then_some(frames)
}

const ETHERNET: usize = 14;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Parses ports, flags and bank messages of an IPv4 frame (RFC 791, 768, 9293).
pub(crate) fn look(bytes: &[u8], direction: Direction) -> Option<Seen> {
    let ip = bytes.get(ETHERNET..)?;
    let header = usize::from(ip.first()? & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]));
    let transport = ip.get(header..total)?;
    let place = if direction == Direction::AToB { 0 } else { 2 };
    let port = u16::from_be_bytes([*transport.get(place)?, *transport.get(place + 1)?]);
    let (payload, flags, sequence) = match *ip.get(9)? {
        UDP => (transport.get(8..)?, None, None),
        TCP => {
            let offset = usize::from(transport.get(12)? >> 4) * 4;
            let payload = transport.get(offset..)?;
            let first = u32::from_be_bytes(*transport.get(4..)?.first_chunk()?);
            let length = u32::try_from(payload.len()).expect("invariant: a frame fits the MTU");
            (payload, Some(*transport.get(13)?), Some((first, first.wrapping_add(length))))
        }
        _ => return None,
    };
    let (kinds, keys) = messages(payload);
    let from_client = direction == Direction::AToB;
    Some(Seen { port, from_client, what: name(flags, payload, &kinds), keys, sequence })
}

fn messages(mut payload: &[u8]) -> (Vec<Kind>, Vec<Key>) {
    let (mut kinds, mut keys) = (Vec::new(), Vec::new());
    while let Ok(Some(length)) = frame_len(payload, MAX_FRAME) {
        let Some((message, rest)) = payload.split_at_checked(length) else { break };
        let Ok(frame) = Frame::parse(message) else { break };
        let header = frame.header();
        kinds.push(header.kind);
        keys.push(Key { client: header.client, seq: header.seq });
        payload = rest;
    }
    (kinds, keys)
}

fn name(tcp_flags: Option<u8>, payload: &[u8], kinds: &[Kind]) -> &'static str {
    const FIN: u8 = 1;
    const SYN: u8 = 2;
    const RST: u8 = 4;
    const ACK: u8 = 16;
    if kinds.contains(&Kind::Request) {
        return "request";
    }
    if kinds.contains(&Kind::Response) {
        return "reply";
    }
    match tcp_flags {
        Some(flags) if flags & (SYN | ACK) == SYN | ACK => "SYN-ACK",
        Some(flags) if flags & SYN != 0 => "SYN",
        Some(flags) if flags & RST != 0 => "RST",
        Some(flags) if flags & FIN != 0 => "FIN",
        Some(_) if payload.is_empty() => "ACK",
        _ => "data",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use wirelab::bank::codec::encode_request;
    use wirelab::bank::frame::Header;
    use wirelab::bank::message::{AccountId, Request};

    fn datagram(payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; ETHERNET];
        let total = u16::try_from(28 + payload.len()).unwrap().to_be_bytes();
        frame.extend([0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, UDP, 0, 0]);
        frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0x12, 0x34, 0x1c, 0xf3, 0, 0, 0, 0]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn a_request_is_known_by_its_key_and_its_port() {
        let mut message = BytesMut::new();
        let mut header = Header::of(Kind::Request);
        (header.client, header.seq, header.attempt) = (7, 9, 1);
        encode_request(&mut message, &header, &Request::Balance { account: AccountId(1) }, 0);
        let seen = look(&datagram(&message), Direction::AToB).unwrap();
        assert_eq!((seen.port, seen.what), (0x1234, "request"));
        assert_eq!(seen.keys, [Key { client: 7, seq: 9 }]);
        assert_eq!(look(&datagram(b"junk"), Direction::BToA).unwrap().port, 0x1cf3);
    }

    #[test]
    fn arbitrary_bytes_do_not_panic() {
        let whole = datagram(&[0xff; 60]);
        for length in 0..whole.len() {
            let seen = look(&whole[..length], Direction::AToB);
            assert!(seen.is_none_or(|seen| seen.keys.is_empty()), "{length}");
        }
    }
}
