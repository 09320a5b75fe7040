//! The flags of `bank-tcp` and `bank-udp`.
//!
//! It must never accept a value that nobody can have meant: half a cent, no account, no rate.

use super::ADDRESS;
use crate::bank::client::Delivery;
use crate::bank::driver::server::{CONNECTIONS_MAX, ServerLimits};
use crate::bank::frame::WINDOW;
use crate::bank::message::{AccountId, Amount, Cents, Operation, Request};
use crate::bank::server::Dedup;
use crate::bank::store::memory::ACCOUNTS_MAX;
use crate::bank::stream::SessionLimits;
use crate::cli::args::duration;
use crate::cli::generate::Generate;
use crate::cli::style::ColorChoice;
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use std::fmt::Debug;
use std::time::Duration;

/// What the codes of these labs mean.
const EXIT_CODES: &str = "\
Exit codes:
    0  done; serve: stopped, and the books balance
    1  refused, and certainly not applied; load: all of it; serve: the books do not balance
    2  wrong usage; nothing was run
    3  unknown: no answer came, and the request may have been applied
    5  the server or the network failed; of a call: nothing was asked
   70  a fault of wirelab: please report it
  130  load was interrupted; what was measured is printed
";

/// Clients of a load, at most: each takes a descriptor.
const CLIENTS_MAX: i64 = 10_000;
/// Requests of a load, at most: a record of each takes about 130 bytes until the end.
pub const OPS_MAX: u64 = 5_000_000;
/// Open loop: requests started in a second, at most, so that an interval is a microsecond at least.
const RATE_MAX: u64 = 1_000_000;

/// The command line of a lab; `S` and `X` are the flags that only its carrier has.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli<S: ServeFlags, X: ClientFlags> {
    /// What to do.
    #[command(subcommand)]
    pub what: Option<What<S, X>>,

    /// When to colour messages
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub color: ColorChoice,

    /// Say more on stderr; a call shows its frames, byte by byte
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Print completions:SHELL or man, and stop
    #[arg(long, value_name = "WHAT")]
    pub generate: Option<Generate>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum What<S: ServeFlags, X: ClientFlags> {
    /// Be the bank: serve until Ctrl-C, then say what was counted and audit the books
    Serve(Serve<S>),
    /// Ask the bank one thing and say what came of it
    Call(Call<X>),
    /// Ask many things from many clients and say how fast the answers were
    Load(Load<X>),
}

/// Flags that only one carrier's server has.
pub trait ServeFlags: Args + Debug {
    /// Limits of connections.
    fn limits(&self) -> ServerLimits;
    /// Whether small segments are sent at once.
    fn nodelay(&self) -> bool;
}

/// Flags that only one carrier's clients have.
pub trait ClientFlags: Args + Debug {
    /// What a client does when no answer comes.
    fn delivery(&self) -> Delivery;
    /// Whether small segments are sent at once.
    fn nodelay(&self) -> bool;
}

/// `serve`.
#[derive(Debug, Args)]
pub struct Serve<S: ServeFlags> {
    /// Where to listen; port 0 takes a free one and says which
    #[arg(long, value_name = "ADDR", default_value = ADDRESS)]
    pub listen: String,

    /// What to remember of requests done, so that a repeated one is not done twice.
    ///
    /// durable commits it together with the ledger. The ledger is in memory here: nothing survives
    /// the end of this process.
    #[arg(long, value_name = "HOW", value_enum, default_value = "durable")]
    pub dedup: DedupFlag,

    /// Accounts, numbered from 1
    #[arg(long, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = value_parser!(u64).range(1..=ACCOUNTS_MAX))]
    pub accounts: u64,

    /// What each account holds at first
    #[arg(long, value_name = "AMOUNT", default_value = "1000.00", value_parser = money)]
    pub opening: Cents,

    /// Clients remembered at once; one more is refused as busy
    #[arg(long, value_name = "N", default_value_t = 1_024)]
    #[arg(value_parser = value_parser!(u32).range(1..))]
    pub max_clients: u32,

    /// How long a silent client is remembered, with what it asked
    #[arg(long, value_name = "TIME", default_value = "10min", value_parser = time)]
    pub lease: Duration,

    /// Seed of the numbers given to clients; random where absent
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Print two lines of JSON: where it listens, and what was counted
    #[arg(long)]
    pub json: bool,

    /// What only this carrier has.
    #[command(flatten)]
    pub carrier: S,
}

/// `call`.
#[derive(Debug, Args)]
pub struct Call<X: ClientFlags> {
    /// The bank's address
    #[arg(long, global = true, value_name = "ADDR", default_value = ADDRESS)]
    pub server: String,

    /// Give up after this; the outcome is then unknown
    #[arg(long, global = true, value_name = "TIME", default_value = "5s", value_parser = time)]
    pub deadline: Duration,

    /// Names the client: the same seed and request again is the same operation, done once
    #[arg(long, global = true, value_name = "N")]
    pub seed: Option<u64>,

    /// Print one JSON document instead of words
    #[arg(long, global = true)]
    pub json: bool,

    /// What only this carrier has.
    #[command(flatten)]
    pub carrier: X,

    /// What to ask.
    #[command(subcommand)]
    pub ask: Ask,
}

/// What to ask the bank.
#[derive(Clone, Debug, Subcommand)]
pub enum Ask {
    /// What an account holds
    Balance {
        /// The account's number, from 1
        account: u64,
    },
    /// Put money into an account
    Deposit {
        /// The account's number, from 1
        account: u64,
        /// How much, such as 12.34
        #[arg(value_parser = amount, allow_negative_numbers = true)]
        amount: Amount,
    },
    /// Move money between two accounts
    Transfer {
        /// Who pays
        from: u64,
        /// Who is paid
        to: u64,
        /// How much, such as 12.34
        #[arg(value_parser = amount, allow_negative_numbers = true)]
        amount: Amount,
    },
    /// Sums over an account's entries
    Statement {
        /// The account's number, from 1
        account: u64,
        /// First ledger entry
        #[arg(long, value_name = "ENTRY", default_value_t = 1)]
        from: u64,
    },
    /// An account's entries, oldest first, all pages
    Transactions {
        /// The account's number, from 1
        account: u64,
        /// First ledger entry
        #[arg(long, value_name = "ENTRY", default_value_t = 1)]
        from: u64,
        /// Entries at most
        #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
        limit: Option<u32>,
    },
    /// Where an account's holder lives
    Address {
        /// The account's number, from 1
        account: u64,
    },
}

impl Ask {
    /// The (first) request.
    #[must_use]
    pub fn request(&self) -> Request {
        match *self {
            Self::Balance { account } => Request::Balance { account: AccountId(account) },
            Self::Deposit { account, amount } => {
                Request::Deposit { account: AccountId(account), amount }
            }
            Self::Transfer { from, to, amount } => {
                Request::Transfer { from: AccountId(from), to: AccountId(to), amount }
            }
            Self::Statement { account, from } => {
                Request::Statement { account: AccountId(account), from_entry: from }
            }
            Self::Transactions { account, from, limit } => Request::Transactions {
                account: AccountId(account),
                from_entry: from,
                limit: page_limit(limit),
            },
            Self::Address { account } => Request::Address { account: AccountId(account) },
        }
    }

    /// The words that ask it again on a command line.
    #[must_use]
    pub fn typed(&self) -> String {
        match *self {
            Self::Balance { account } => format!("balance {account}"),
            Self::Deposit { account, amount } => {
                format!("deposit {account} {}", Cents::from(amount))
            }
            Self::Transfer { from, to, amount } => {
                format!("transfer {from} {to} {}", Cents::from(amount))
            }
            Self::Statement { account, from } => format!("statement {account} --from {from}"),
            Self::Transactions { account, from, limit } => {
                let limit = limit.map_or_else(String::new, |limit| format!(" --limit {limit}"));
                format!("transactions {account} --from {from}{limit}")
            }
            Self::Address { account } => format!("address {account}"),
        }
    }
}

/// The limit of one page; more than a page can be asked to hold is as many as fit.
#[must_use]
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
    #[arg(long, value_name = "N", default_value_t = 8)]
    #[arg(value_parser = value_parser!(u32).range(1..=CLIENTS_MAX))]
    pub clients: u32,

    /// Closed loop: requests that each client keeps outstanding [default: 1]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = value_parser!(u32).range(1..=WINDOW.cast_signed()))]
    pub depth: Option<u32>,

    /// Open loop: requests started per second over all clients, whatever became of those before
    #[arg(long, value_name = "N", conflicts_with = "depth")]
    #[arg(value_parser = value_parser!(u64).range(1..=RATE_MAX))]
    pub rate: Option<u64>,

    /// Requests, at most [default: as many as the time allows, up to 5000000]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=OPS_MAX))]
    pub ops: Option<u64>,

    /// Start no request later than this [default: 5s, or no end where --ops is given]
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    pub limit: Option<Duration>,

    /// Ask only this; else half deposits, three in ten balances, two in ten transfers
    #[arg(long, value_name = "OPERATION", value_parser = operation)]
    pub only: Option<Operation>,

    /// Use accounts 1 to this
    #[arg(long, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = value_parser!(u64).range(2..))]
    pub accounts: u64,

    /// Give a request up after this; its outcome is then unknown
    #[arg(long, value_name = "TIME", default_value = "4s", value_parser = time)]
    pub deadline: Duration,

    /// Seed of what is asked; random where absent, and always printed
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Print one JSON document instead of words
    #[arg(long)]
    pub json: bool,

    /// What only this carrier has.
    #[command(flatten)]
    pub carrier: X,
}

/// What a server on TCP has.
#[derive(Clone, Debug, Args)]
pub struct TcpServe {
    /// Connections open at once; one more is closed at once
    #[arg(long, value_name = "N", default_value_t = CONNECTIONS_MAX)]
    pub max_connections: usize,

    /// Close a connection that has said no HELLO for this long
    #[arg(long, value_name = "TIME", default_value = "7s", value_parser = time)]
    pub hello_deadline: Duration,

    /// Close a connection that takes longer than this over one frame
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    pub frame_deadline: Duration,

    /// Close a connection that has asked nothing for this long
    #[arg(long, value_name = "TIME", default_value = "4min", value_parser = time)]
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

/// What a server on UDP has: nothing of its own.
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

/// What a client on TCP has.
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

/// What a client on UDP has.
#[derive(Clone, Debug, Args)]
pub struct UdpClient {
    /// What to do when no answer comes: nothing, ask again, or ask again under one key
    #[arg(long, value_name = "HOW", value_enum, default_value = "exactly-once")]
    pub delivery: DeliveryFlag,
}

impl ClientFlags for UdpClient {
    fn delivery(&self) -> Delivery {
        match self.delivery {
            DeliveryFlag::AtMostOnce => Delivery::AtMostOnce,
            DeliveryFlag::AtLeastOnce => Delivery::AtLeastOnce,
            DeliveryFlag::ExactlyOnce => Delivery::ExactlyOnce,
        }
    }

    fn nodelay(&self) -> bool {
        true
    }
}

/// `--delivery`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum DeliveryFlag {
    /// Ask once
    AtMostOnce,
    /// Ask until an answer comes; the server may do it twice
    AtLeastOnce,
    /// Ask until an answer comes; the server does it once
    ExactlyOnce,
}

/// `--dedup`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum DedupFlag {
    /// Nothing: a repeated request is done again
    Off,
    /// Outcomes, apart from the ledger: a restart forgets them
    Volatile,
    /// Outcomes, committed with the ledger
    Durable,
}

impl From<DedupFlag> for Dedup {
    fn from(flag: DedupFlag) -> Self {
        match flag {
            DedupFlag::Off => Self::Off,
            DedupFlag::Volatile => Self::Volatile,
            DedupFlag::Durable => Self::Durable,
        }
    }
}

/// `5s`, `200ms`: above 0.
fn time(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    if time.is_zero() { Err("expected a time above 0, such as 5s".to_owned()) } else { Ok(time) }
}

/// `balance`, `deposit`, …
fn operation(text: &str) -> Result<Operation, String> {
    let found = Operation::ALL.into_iter().find(|operation| operation.name() == text);
    found.ok_or_else(|| {
        let names: Vec<_> = Operation::ALL.iter().map(|operation| operation.name()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

/// `12.34`, `12.3`, `12`, `0`: exact, in cents.
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

/// Money that can move: above zero.
fn amount(text: &str) -> Result<Amount, String> {
    let cents = money(text)?;
    Amount::new(cents.get().cast_unsigned()).ok_or_else(|| "an amount is above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bank::stream::{FRAME_DEADLINE, HELLO_DEADLINE, IDLE_TIMEOUT};

    /// A command line that holds nothing but what to ask.
    #[derive(Debug, Parser)]
    struct Typed {
        #[command(subcommand)]
        ask: Ask,
    }

    #[test]
    fn what_is_typed_again_asks_the_same() {
        for words in [
            "balance 1",
            "deposit 2 12.34",
            "transfer 1 2 0.05",
            "statement 3 --from 7",
            "transactions 3 --from 7 --limit 5",
            "transactions 3 --from 1",
            "address 4",
        ] {
            let line = std::iter::once("call").chain(words.split(' '));
            assert_eq!(Typed::try_parse_from(line).unwrap().ask.typed(), words);
        }
    }

    #[test]
    fn money_is_exact_and_never_guessed() {
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
    fn defaults_are_those_of_the_session() {
        assert_eq!(HELLO_DEADLINE, duration("7s").unwrap());
        assert_eq!(FRAME_DEADLINE, duration("10s").unwrap());
        assert_eq!(IDLE_TIMEOUT, duration("4min").unwrap());
    }
}
