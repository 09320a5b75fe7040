//! Goodput of a Reno TCP bulk transfer under random loss: the Mathis and Padhye (PFTK) formulas.
//!
//! Mathis et al. model only window halvings: an upper bound. Padhye et al. add timeouts, more of
//! them than occur with selective acknowledgements: a lower bound. TCP with SACK lies between.

use super::Ppm;
use std::time::Duration;

/// A bulk transfer limited only by loss; every segment is acknowledged (b = 1 in both papers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkTcp {
    /// Payload of a segment, bytes.
    pub segment_bytes: u32,
    /// Round-trip time.
    pub rtt: Duration,
    /// First retransmission timeout.
    pub rto: Duration,
}

impl BulkTcp {
    /// Goodput in bits per second by Mathis, Semke, Mahdavi and Ott, "The macroscopic behavior of
    /// the TCP congestion avoidance algorithm", CCR 27(3), 1997: C = sqrt(3/2) = 1.22. Infinite
    /// without loss.
    pub fn mathis_bits_per_second(&self, loss: Ppm) -> f64 {
        let root = (2.0 * loss.fraction() / 3.0).sqrt();
        self.segment_bits() / (self.rtt.as_secs_f64() * root)
    }

    /// Goodput in bits per second by Padhye, Firoiu, Towsley and Kurose, "Modeling TCP throughput",
    /// SIGCOMM 1998, as RFC 5348 §3.1 writes it (PFTK). Infinite without loss.
    pub fn pftk_bits_per_second(&self, loss: Ppm) -> f64 {
        let p = loss.fraction();
        let halvings = self.rtt.as_secs_f64() * (2.0 * p / 3.0).sqrt();
        let timeouts = 3.0 * (3.0 * p / 8.0).sqrt() * p * (1.0 + 32.0 * p * p);
        self.segment_bits() / (halvings + self.rto.as_secs_f64() * timeouts)
    }

    fn segment_bits(&self) -> f64 {
        f64::from(self.segment_bytes) * 8.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas_agree_with_hand_calculation() {
        // Segments of 1,448 B, 20 ms, a timer of 220 ms; Mbit/s.
        let (rtt, rto) = (Duration::from_millis(20), Duration::from_millis(220));
        let tcp = BulkTcp { segment_bytes: 1_448, rtt, rto };
        for (ppm, mathis, pftk) in
            [(500, 31.7, 31.3), (2_000, 15.9, 15.1), (10_000, 7.09, 5.68), (100_000, 2.24, 0.53)]
        {
            let loss = Ppm::new(ppm).unwrap();
            let close = |bits: f64, wanted: f64| (bits / 1e6 / wanted - 1.0).abs() < 0.01;
            assert!(close(tcp.mathis_bits_per_second(loss), mathis), "Mathis, {loss}");
            assert!(close(tcp.pftk_bits_per_second(loss), pftk), "PFTK, {loss}");
        }
        assert!(tcp.pftk_bits_per_second(Ppm::ZERO).is_infinite());
    }
}
