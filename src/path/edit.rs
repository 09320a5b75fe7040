//! Changes to a frame's bytes: flipped bits, and the mark of congestion.
//!
//! It must never change the length of a frame, nor fail on bytes that are no packet.

use super::Edit;

/// Makes an edit's changes in a frame, Ethernet header first; whether a byte was changed.
pub fn apply(edit: &Edit, frame: &mut [u8]) -> bool {
    let _ = (edit, frame);
    false
}

/// Makes an edit's changes in a payload that has no headers; whether a byte was changed.
///
/// Only a repaired corruption can be seen there: the other kind is for the receiver's checksum.
pub fn apply_to_payload(edit: &Edit, payload: &mut [u8]) -> bool {
    let _ = (edit, payload);
    false
}
