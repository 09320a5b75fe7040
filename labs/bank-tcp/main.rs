//! bank-tcp
fn main() {}
