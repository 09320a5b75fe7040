//! bank-udp
fn main() {}
