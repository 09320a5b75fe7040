//! The flags of `bank-tcp` and `bank-udp`; refuses meaningless values such as a rate of 0.

use super::ADDRESS;
use crate::bank::client::Delivery;
use crate::bank::driver::server::{CONNECTIONS_MAX, ServerLimits};
use crate::bank::frame::WINDOW;
use crate::bank::message::{AccountId, Amount, Cents, Operation, Request};
use crate::bank::server::Dedup;
use crate::bank::store::memory::ACCOUNTS_MAX;
use crate::bank::stream::SessionLimits;
use crate::cli::args::{Common, Json, Seed};
use crate::cli::exit::{Exit, table};
use crate::cli::frame::HasCommon;
use crate::cli::listen::Beyond;
use crate::cli::mistakes::Elsewhere;
use crate::cli::predict::Predict;
use crate::cli::values::{Time, time_within, whole};
use clap::{Args, Parser, Subcommand};
use std::fmt::{self, Debug};
use std::path::PathBuf;
use std::time::Duration;

/// Exit codes of these labs.
pub(super) fn exit_codes() -> String {
    table(&[
        (Exit::Holds, "done; serve: stopped, and the ledger balances"),
        (
            Exit::Fails,
            "refused, certainly not applied; load: all of it; serve: the ledger does not balance",
        ),
        (Exit::Inconclusive, "unknown: no answer came, and the request may have been applied"),
        (Exit::Network, "the server or the network failed; of a call: no request was sent"),
        (Exit::Interrupted, "load was interrupted; what was measured is printed"),
    ])
}

/// Words of other tools, and their equivalents here.
pub(super) const ELSEWHERE: Elsewhere = &[
    ("withdraw", "there is no withdrawal: transfer FROM TO AMOUNT takes money out of an account"),
    ("pay", "transfer FROM TO AMOUNT moves money"),
    ("history", "transactions ACCOUNT lists the entries of an account"),
    ("bench", "load measures how fast the answers are"),
    ("client", "call asks one thing, load asks many"),
    ("server", "a server is started with `serve`; a client names one with --server ADDR"),
    ("host", "a client names its server with --server ADDR, a server its address with --listen"),
    ("port", "use --server HOST:PORT (call, load) or --listen HOST:PORT (serve)"),
    ("connections", "use --clients N: each has a socket of its own"),
    ("concurrency", "use --clients N and --depth N"),
    ("duration", "use --for TIME, such as --for 10s"),
    ("requests", "use --ops N"),
    ("timeout", "use --deadline TIME, such as --deadline 5s"),
    ("loss", "these labs lose nothing themselves: lossy-path --loss 2% -- bank-udp … does"),
    ("latency", "these labs add no delay; lossy-path --delay 40ms -- bank-udp … does"),
    ("delay", "these labs add no delay; lossy-path --delay 40ms -- bank-udp … does"),
    ("jitter", "these labs add no delay; lossy-path --delay normal:40ms,5ms -- bank-udp … does"),
    ("bandwidth", "--rate N is requests per second; lossy-path --rate 20Mbit limits a path"),
];

/// Maximum requests outstanding per client: the protocol's window.
const DEPTH_MAX: u32 = 512;
const _: () = assert!(DEPTH_MAX as u64 == WINDOW);

/// Maximum clients of a load: each takes a descriptor.
const CLIENTS_MAX: u32 = 10_000;
/// Maximum requests of a load: each has a record of about 130 bytes.
pub const OPS_MAX: u64 = 5_000_000;
/// Maximum rate of an open loop, requests per second: an interval is at least a microsecond.
const RATE_MAX: u64 = 1_000_000;

/// The command line of a lab; `S` and `X` are the flags that only its carrier has.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub struct Cli<S: ServeFlags, X: ClientFlags> {
    /// The command.
    #[command(subcommand)]
    pub what: Option<What<S, X>>,

    /// Flags of every lab.
    #[command(flatten)]
    pub common: Common,
}

impl<S: ServeFlags, X: ClientFlags> HasCommon for Cli<S, X> {
    fn common(&self) -> &Common {
        &self.common
    }
}

/// The command.
#[derive(Debug, Subcommand)]
pub enum What<S: ServeFlags, X: ClientFlags> {
    /// Run the bank server until Ctrl-C, then print its counters and audit the ledger
    Serve(Serve<S>),
    /// Make one request and print its outcome
    Call(Call<X>),
    /// Send many requests from many clients; print rate, latency and outcomes
    Load(Load<X>),
}

/// Flags of one carrier's server.
pub trait ServeFlags: Args + Debug {
    /// Connection limits.
    fn limits(&self) -> ServerLimits;
    /// Whether to send small segments at once (`TCP_NODELAY`).
    fn nodelay(&self) -> bool;
}

/// Flags of one carrier's clients.
pub trait ClientFlags: Args + Debug {
    /// Policy of a client that gets no reply.
    fn delivery(&self) -> Delivery;
    /// Whether to send small segments at once (`TCP_NODELAY`).
    fn nodelay(&self) -> bool;
}

/// `serve`.
#[derive(Debug, Args)]
pub struct Serve<S: ServeFlags> {
    /// Where to listen; port 0 takes a free port and prints it
    #[arg(long, value_name = "ADDR", default_value = ADDRESS)]
    pub listen: String,

    /// Beyond loopback.
    #[command(flatten)]
    pub beyond: Beyond,

    /// Where the ledger is kept: memory, or file:DIR, which survives a crash.
    ///
    /// file:DIR logs every change in DIR/bank.log, and syncs it before a reply leaves: accounts,
    /// leases and outcomes are there again after kill -9 or a power cut. DIR is made if its parent
    /// exists; the log keeps the --accounts and --opening it was created with. STORE.md specifies
    /// it. memory ends with the process.
    #[arg(long, value_name = "WHERE", default_value = "memory", value_parser = store)]
    pub store: Store,

    /// Outcomes to remember, so that a repeated request is applied once.
    ///
    /// durable commits it together with the ledger, and lasts as long as the --store.
    #[arg(long, value_name = "HOW", value_enum, default_value = "durable")]
    pub dedup: Dedup,

    /// Accounts, numbered from 1
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = whole(1..=ACCOUNTS_MAX))]
    pub accounts: u64,

    /// Opening balance of each account
    #[arg(long, value_name = "AMOUNT", default_value = "1000.00", value_parser = money)]
    pub opening: Cents,

    /// Clients with a lease at once; one more is refused as busy
    #[arg(long, value_name = "N", default_value_t = 1_024, value_parser = whole(1..=u32::MAX))]
    pub max_clients: u32,

    /// Lease: how long a silent client and its outcomes are remembered
    #[arg(long, value_name = "TIME", default_value = "10min", value_parser = above_zero())]
    pub lease: Duration,

    /// Seed of the lease numbers, which clients can then predict and a restart repeats
    #[arg(long, value_name = "N", value_parser = whole(0..=u64::MAX))]
    pub seed: Option<u64>,

    /// Print two lines of JSON: the address, and the counters at the end
    #[arg(long)]
    pub json: bool,

    /// Options of this transport alone.
    #[command(flatten)]
    pub carrier: S,
}

/// Where a server keeps its ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// In memory.
    Memory,
    /// In a directory.
    File(PathBuf),
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory"),
            Self::File(directory) => write!(f, "file:{}", directory.display()),
        }
    }
}

fn store(text: &str) -> Result<Store, String> {
    match text.strip_prefix("file:") {
        Some("") => Err("name a directory, such as file:bank".to_owned()),
        Some(directory) => Ok(Store::File(directory.into())),
        None if text == "memory" => Ok(Store::Memory),
        None => Err("use memory, or file:DIR, such as file:bank".to_owned()),
    }
}

/// `call`.
#[derive(Debug, Args)]
pub struct Call<X: ClientFlags> {
    /// The bank's address
    #[arg(long, global = true, value_name = "ADDR", default_value = ADDRESS)]
    pub server: String,

    /// Give up after this time; the outcome is then unknown
    #[arg(long, global = true, value_name = "TIME", default_value = "5s")]
    #[arg(value_parser = above_zero())]
    pub deadline: Duration,

    /// Names the client: while its lease lasts, the same seed and request is applied once
    #[arg(long, global = true, value_name = "N", value_parser = whole(0..=u64::MAX))]
    pub seed: Option<u64>,

    /// Repeat a request of this lease, and never under another
    #[arg(long, global = true, value_name = "HEX", value_parser = lease, requires = "seed")]
    pub lease: Option<u64>,

    /// Where the answer goes as JSON.
    #[command(flatten)]
    pub json: Json,

    /// Options of this transport alone.
    #[command(flatten)]
    pub carrier: X,

    /// The request.
    #[command(subcommand)]
    pub ask: Ask,
}

/// A request to the bank.
#[derive(Clone, Debug, Subcommand)]
pub enum Ask {
    /// Balance of an account
    Balance {
        /// The account's number, from 1
        #[arg(value_parser = account)]
        account: AccountId,
    },
    /// Put money into an account
    Deposit {
        /// The account's number, from 1
        #[arg(value_parser = account)]
        account: AccountId,
        /// How much, such as 12.34
        #[arg(value_parser = amount, allow_negative_numbers = true)]
        amount: Amount,
    },
    /// Move money between two accounts
    Transfer {
        /// The account that pays
        #[arg(value_parser = account)]
        from: AccountId,
        /// The account that is paid
        #[arg(value_parser = account)]
        to: AccountId,
        /// How much, such as 12.34
        #[arg(value_parser = amount, allow_negative_numbers = true)]
        amount: Amount,
    },
    /// Sums over an account's entries
    Statement {
        /// The account's number, from 1
        #[arg(value_parser = account)]
        account: AccountId,
        /// First ledger entry
        #[arg(long, value_name = "ENTRY", default_value_t = 1, value_parser = whole(0..=u64::MAX))]
        from: u64,
    },
    /// An account's entries, oldest first, all pages
    Transactions {
        /// The account's number, from 1
        #[arg(value_parser = account)]
        account: AccountId,
        /// First ledger entry
        #[arg(long, value_name = "ENTRY", default_value_t = 1, value_parser = whole(0..=u64::MAX))]
        from: u64,
        /// Entries at most
        #[arg(long, value_name = "N", value_parser = whole(1..=u32::MAX))]
        limit: Option<u32>,
    },
    /// Address of an account's holder
    Address {
        /// The account's number, from 1
        #[arg(value_parser = account)]
        account: AccountId,
    },
}

impl Ask {
    /// The (first) request.
    pub fn request(&self) -> Request {
        match *self {
            Self::Balance { account } => Request::Balance { account },
            Self::Deposit { account, amount } => Request::Deposit { account, amount },
            Self::Transfer { from, to, amount } => Request::Transfer { from, to, amount },
            Self::Statement { account, from } => Request::Statement { account, from_entry: from },
            Self::Transactions { account, from, limit } => {
                Request::Transactions { account, from_entry: from, limit: page_limit(limit) }
            }
            Self::Address { account } => Request::Address { account },
        }
    }
}

impl Ask {
    /// The account that it concerns; of a transfer, the payer's.
    pub const fn account(&self) -> AccountId {
        match *self {
            Self::Balance { account }
            | Self::Deposit { account, .. }
            | Self::Transfer { from: account, .. }
            | Self::Statement { account, .. }
            | Self::Transactions { account, .. }
            | Self::Address { account } => account,
        }
    }
}

/// The limit of one page; a larger one returns as many entries as fit.
pub fn page_limit(left: Option<u32>) -> u16 {
    const AS_MANY_AS_FIT: u16 = 0;
    left.and_then(|left| u16::try_from(left).ok()).unwrap_or(AS_MANY_AS_FIT)
}

/// `load`.
#[derive(Debug, Args)]
pub struct Load<X: ClientFlags> {
    /// The bank's address
    #[arg(long, value_name = "ADDR", default_value = ADDRESS)]
    pub server: String,

    /// Clients, each with a socket of its own
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = whole(1..=CLIENTS_MAX))]
    pub clients: u32,

    /// Closed loop: requests that each client keeps outstanding [default: 1]
    #[arg(long, value_name = "N", value_parser = whole(1..=DEPTH_MAX))]
    pub depth: Option<u32>,

    /// Open loop: requests started per second over all clients, answered or not
    #[arg(long, value_name = "N", conflicts_with = "depth", value_parser = rate)]
    pub rate: Option<u64>,

    /// Requests, at most [default: as many as the time allows, up to 5000000]
    #[arg(long, value_name = "N", value_parser = whole(1..=OPS_MAX))]
    pub ops: Option<u64>,

    /// Start no request later than this [default: 5s, or no limit with --ops]
    #[arg(long = "for", value_name = "TIME", value_parser = above_zero())]
    pub limit: Option<Duration>,

    /// Only this operation [default: 50 % deposits, 30 % balances, 20 % transfers]
    #[arg(long, value_name = "OPERATION", value_parser = operation)]
    pub only: Option<Operation>,

    /// Use accounts 1 to this
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = whole(2..=u64::MAX))]
    pub accounts: u64,

    /// Abandon a request after this; its outcome is then unknown
    #[arg(long, value_name = "TIME", default_value = "4s", value_parser = above_zero())]
    pub deadline: Duration,

    /// Seed of the workload.
    #[command(flatten)]
    pub seed: Seed,

    /// Guesses before the run.
    #[command(flatten)]
    pub predict: Predict,

    /// Where the result goes as JSON.
    #[command(flatten)]
    pub json: Json,

    /// Options of this transport alone.
    #[command(flatten)]
    pub carrier: X,
}

/// Options of a server on TCP.
#[derive(Clone, Debug, Args)]
pub struct TcpServe {
    /// Connections open at once; one more takes the place of an idle one or is refused
    #[arg(long, value_name = "N", default_value_t = CONNECTIONS_MAX)]
    #[arg(value_parser = whole(0..=usize::MAX))]
    pub max_connections: usize,

    /// Close a connection that has said no HELLO for this long
    #[arg(long, value_name = "TIME", default_value = "7s", value_parser = above_zero())]
    pub hello_deadline: Duration,

    /// Close a connection that takes longer than this over one frame
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = above_zero())]
    pub frame_deadline: Duration,

    /// Close a connection that has asked nothing for this long
    #[arg(long, value_name = "TIME", default_value = "4min", value_parser = above_zero())]
    pub idle_timeout: Duration,

    /// Leave Nagle's algorithm on: small segments wait for acknowledgements
    #[arg(long)]
    pub nagle: bool,
}

impl ServeFlags for TcpServe {
    fn limits(&self) -> ServerLimits {
        let session = SessionLimits {
            hello_deadline: self.hello_deadline,
            frame_deadline: self.frame_deadline,
            idle_timeout: self.idle_timeout,
            ..SessionLimits::default()
        };
        ServerLimits { connections: self.max_connections, session }
    }

    fn nodelay(&self) -> bool {
        !self.nagle
    }
}

/// Options of a server on UDP: none of its own.
#[derive(Clone, Debug, Args)]
pub struct UdpServe {}

impl ServeFlags for UdpServe {
    fn limits(&self) -> ServerLimits {
        ServerLimits { connections: 0, session: SessionLimits::default() }
    }

    fn nodelay(&self) -> bool {
        true
    }
}

/// Options of a client on TCP.
#[derive(Clone, Debug, Args)]
pub struct TcpClient {
    /// Leave Nagle's algorithm on: small segments wait for acknowledgements
    #[arg(long)]
    pub nagle: bool,
}

impl ClientFlags for TcpClient {
    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce
    }

    fn nodelay(&self) -> bool {
        !self.nagle
    }
}

/// Options of a client on UDP.
#[derive(Clone, Debug, Args)]
pub struct UdpClient {
    /// What to do when no reply comes
    #[arg(long, value_name = "HOW", value_enum, default_value = "exactly-once")]
    pub delivery: Delivery,
}

impl ClientFlags for UdpClient {
    fn delivery(&self) -> Delivery {
        self.delivery
    }

    fn nodelay(&self) -> bool {
        true
    }
}

/// A positive duration: `5s`, `200ms`.
fn above_zero() -> Time {
    time_within(Duration::from_nanos(1)..=Duration::MAX)
}

/// Requests per second; a bit rate belongs to a path, which these labs lack.
fn rate(text: &str) -> Result<u64, String> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').to_lowercase();
    let bits = ["bit", "bps", "b/s"].iter().any(|word| unit.contains(word));
    whole(1..=RATE_MAX)(text).map_err(|error| {
        if bits {
            format!("{error}; requests per second, not bits: lossy-path limits bit rates")
        } else {
            error
        }
    })
}

/// `balance`, `deposit`, …
fn operation(text: &str) -> Result<Operation, String> {
    let found = Operation::ALL.into_iter().find(|operation| operation.name() == text);
    found.ok_or_else(|| {
        let names: Vec<_> = Operation::ALL.iter().map(|operation| operation.name()).collect();
        let known = ELSEWHERE.iter().find(|(word, _)| *word == text);
        let known = known.map_or(String::new(), |(_, here)| format!("; {here}"));
        format!("expected one of {}, got {text:?}{known}", names.join(", "))
    })
}

/// Exact cents: `12.34`, `12.3`, `12`, `0`.
fn money(text: &str) -> Result<Cents, String> {
    if text.starts_with('-') {
        return Err("an amount is not negative; to take money out, transfer it".to_owned());
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err("expected an amount such as 12.34, with a point and no other sign".to_owned());
    }
    if fraction.len() > 2 {
        return Err("an amount has whole cents: at most two digits after the point".to_owned());
    }
    let cents = |whole: i64| {
        // "5" after the point is fifty cents.
        let fraction: i64 = format!("{fraction:0<2}").parse().ok()?;
        whole.checked_mul(100)?.checked_add(fraction)
    };
    let value = whole.parse().ok().and_then(cents);
    value.map(Cents).ok_or_else(|| format!("the largest amount is {}", Cents(i64::MAX)))
}

/// A lease, as an outcome shows it.
fn lease(text: &str) -> Result<u64, String> {
    let read = u64::from_str_radix(text, 16).ok().filter(|lease| *lease != 0);
    read.ok_or_else(|| format!("expected a lease such as 4f4078993de29a0a, got {text:?}"))
}

/// The number of an account.
fn account(text: &str) -> Result<AccountId, String> {
    whole(0..=u64::MAX)(text).map(AccountId)
}

/// A positive amount of money.
fn amount(text: &str) -> Result<Amount, String> {
    let cents = money(text)?;
    Amount::new(cents.get().cast_unsigned()).ok_or_else(|| "an amount is above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::values::duration;

    #[test]
    fn money_is_parsed_exactly() {
        for (text, cents) in
            [("12.34", 1_234), ("12.3", 1_230), ("12", 1_200), ("0.05", 5), ("0", 0)]
        {
            assert_eq!(money(text), Ok(Cents(cents)), "{text}");
        }
        for text in
            ["12.345", "-1", "", ".", "1.", ".5", "1,50", "1e3", "+1", "٣", "99999999999999999999"]
        {
            assert!(money(text).is_err(), "{text}");
        }
        assert_eq!(money("92233720368547758.07"), Ok(Cents(i64::MAX)));
        assert!(money("92233720368547758.08").is_err());
        assert!(amount("0.00").unwrap_err().contains("above 0"));
    }

    #[test]
    fn defaults_match_the_session() {
        let limits = SessionLimits::DEFAULT;
        assert_eq!(limits.hello_deadline, duration("7s").unwrap());
        assert_eq!(limits.frame_deadline, duration("10s").unwrap());
        assert_eq!(limits.idle_timeout, duration("4min").unwrap());
    }
}
