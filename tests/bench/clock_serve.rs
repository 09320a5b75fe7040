//! `clock-offset serve` against chronyd: requests answered per second of a processor.
//!
//! Both get the same load from the same sockets, in turn, and each is charged with the processor
//! time of its own process. It must never count a request that was not answered.

use super::clock_peers::{Served, free_port};
use super::path::{OTHERS_MAX, Spread, TRIES, Usage, said, say_how_quiet_it_was_but, spread};
use clock_offset::packet::{HEADER_LEN, Header};
use clock_offset::timestamp::NtpTimestamp;
use std::net::UdpSocket;
use std::thread::scope;
use std::time::Duration;
use wirelab::runtime::clock::Clock;
use wirelab::sys::host::pin_to_cpu;
use wirelab::sys::sockets::{receive_batch, send_batch};

const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_secs(1);
/// Clients, each with a socket.
const CLIENTS: usize = 48;
/// Requests of a client that wait for replies. All together are fewer than the 277 that a receive
/// buffer holds of what every kernel grants (212,992 bytes), so that none is lost.
const DEPTH: usize = 4;
/// When what did not come is given up.
const PATIENCE: Duration = Duration::from_millis(100);
/// The load has a processor for itself, and so has the server.
const LOAD_CPU: usize = 0;
const SERVER_CPU: usize = 1;

/// What came of one round.
#[derive(Clone, Copy)]
struct Round {
    replies: u64,
    lost: u64,
    elapsed: Duration,
    cpu: Duration,
}

impl Round {
    fn per_second(&self) -> f64 {
        self.replies as f64 / self.elapsed.as_secs_f64() / 1e3
    }

    fn per_core(&self) -> f64 {
        self.replies as f64 / self.cpu.as_secs_f64() / 1e3
    }
}

/// The bench; whether its target was met.
pub(crate) fn run() -> bool {
    let servers = scope(|scope| {
        let start = || {
            // What a thread starts stays where the thread is.
            pin_to_cpu(SERVER_CPU).ok()?;
            Some((Served::ours(""), Served::chronyd("127.0.0.1", free_port())?))
        };
        scope.spawn(start).join().unwrap()
    });
    let Some((ours, theirs)) = servers else {
        println!("clock-serve: skipped, there is no chronyd here, or only one processor");
        return true;
    };
    let (before, both) = (Usage::now(), [&ours, &theirs]);
    println!(
        "\nrequests answered, {CLIENTS} clients with {DEPTH} requests each in flight, {ROUNDS} \
         rounds of {ROUND:?} in turn, median (min-max)\n\n{:<22}{:>28}{:>34}{:>8}",
        "", "thousands per second", "thousands per second of processor", "lost"
    );
    // Until each answers; what it costs to start is not to count.
    for server in both {
        while load(server, Duration::from_millis(200)).replies == 0 {}
    }
    let rounds: Vec<[Round; 2]> = (0..ROUNDS).map(|_| undisturbed(both)).collect();
    for (index, server) in both.iter().enumerate() {
        let of = |figure: fn(&Round) -> f64| {
            spread(rounds.iter().map(|round| figure(&round[index])).collect()).show()
        };
        let lost: u64 = rounds.iter().map(|round| round[index].lost).sum();
        let (rate, core) = (of(Round::per_second), of(Round::per_core));
        println!("{:<22}{rate:>28}{core:>34}{lost:>8}", server.name);
    }
    let ratios = rounds.iter().map(|[ours, theirs]| ours.per_core() / theirs.per_core());
    let Spread { low, middle, high } = spread(ratios.collect());
    let met = middle >= 1.0;
    println!(
        "\nclock-offset serve / chronyd, per processor: {middle:.2} ({low:.2}-{high:.2}) >= 1.00: \
         {}",
        said(met)
    );
    say_how_quiet_it_was_but(before, ours.cpu() + theirs.cpu());
    met
}

/// A round of both, again while other programs disturb it.
fn undisturbed(servers: [&Served; 2]) -> [Round; 2] {
    let mut tries = 0;
    loop {
        let before = Usage::now();
        let rounds = servers.map(|server| load(server, ROUND));
        tries += 1;
        let (others, _) = before.others_but(rounds.iter().map(|round| round.cpu).sum());
        if others <= OTHERS_MAX || tries == TRIES {
            return rounds;
        }
    }
}

/// Asks a server for a while: every client sends as many as were answered.
fn load(server: &Served, time: Duration) -> Round {
    let asking = || {
        pin_to_cpu(LOAD_CPU).unwrap();
        let clients: Vec<UdpSocket> = (0..CLIENTS).map(|_| client(server.port)).collect();
        let request = Header::request(NtpTimestamp::from_bits(0x5a5a_5a5a_5a5a_5a5a)).encode();
        let batch = [&request[..]; DEPTH];
        let mut waiting = [0_usize; CLIENTS];
        let (mut buffers, mut lengths) = ([[0; 2048]; DEPTH], [0; DEPTH]);
        let (clock, cpu) = (Clock::start(), server.cpu());
        let (mut replies, mut lost) = (0_u64, 0_u64);
        let (began, mut came_last) = (clock.now(), clock.now());
        loop {
            let now = clock.now();
            if now.since(began) >= time {
                break Round { replies, lost, elapsed: time, cpu: server.cpu() - cpu };
            }
            if now.since(came_last) >= PATIENCE {
                lost += waiting.iter().sum::<usize>() as u64;
                (waiting, came_last) = ([0; CLIENTS], now);
            }
            for (client, waiting) in clients.iter().zip(&mut waiting) {
                if let Ok(came) = receive_batch(client, &mut buffers, &mut lengths) {
                    assert!(lengths[..came].iter().all(|length| *length == HEADER_LEN));
                    replies += came as u64;
                    *waiting = waiting.saturating_sub(came);
                    came_last = now;
                }
                // Refused while the server starts.
                *waiting += send_batch(client, &batch[*waiting..]).unwrap_or(0);
            }
        }
    };
    scope(|scope| scope.spawn(asking).join().unwrap())
}

fn client(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}
