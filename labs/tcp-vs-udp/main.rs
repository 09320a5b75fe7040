//! tcp-vs-udp
fn main() {}
