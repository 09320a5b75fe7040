//! Base 32 with the extended hex alphabet, without padding (RFC 4648 §7): NSEC3 labels.

const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// Encodes `bytes` in lower case.
pub fn encode_hex(bytes: &[u8]) -> String {
    let (mut text, mut buffer, mut held) = (String::new(), 0_usize, 0_u32);
    for byte in bytes {
        buffer = buffer << 8 | usize::from(*byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            text.push(char::from(DIGITS[buffer >> held & 0x1f]));
        }
        buffer &= (1 << held) - 1;
    }
    if held > 0 {
        text.push(char::from(DIGITS[buffer << (5 - held) & 0x1f]));
    }
    text
}

/// Decodes text of either case; trailing bits that fill no byte are ignored.
pub fn decode_hex(text: &[u8]) -> Option<Vec<u8>> {
    let (mut bytes, mut buffer, mut held) = (Vec::with_capacity(text.len() * 5 / 8), 0_u32, 0_u32);
    for byte in text {
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'v' => byte - b'a' + 10,
            b'A'..=b'V' => byte - b'A' + 10,
            _ => return None,
        };
        buffer = (buffer << 5 | u32::from(value)) & 0xffff;
        held += 5;
        if held >= 8 {
            held -= 8;
            let [.., low] = (buffer >> held).to_be_bytes();
            bytes.push(low);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_the_vectors_of_rfc_4648() {
        // RFC 4648 §10, without padding.
        for (bytes, text) in [
            ("", ""),
            ("f", "co"),
            ("fo", "cpng"),
            ("foo", "cpnmu"),
            ("foob", "cpnmuog"),
            ("fooba", "cpnmuoj1"),
            ("foobar", "cpnmuoj1e8"),
        ] {
            assert_eq!(encode_hex(bytes.as_bytes()), text);
            assert_eq!(decode_hex(text.as_bytes()).unwrap(), bytes.as_bytes());
            assert_eq!(decode_hex(text.to_uppercase().as_bytes()).unwrap(), bytes.as_bytes());
        }
        assert_eq!(decode_hex(b"cpnw"), None);
    }
}
