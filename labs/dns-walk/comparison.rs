//! The answer of another resolver to the same question, and how it differs from the walk's.

use super::text::{Asked, ExtendedError, RecordText};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;

/// The server asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "who", rename_all = "snake_case")]
pub enum AskedResolver {
    /// The stub resolver of this system, as its configuration says.
    System {
        /// The servers of that configuration.
        servers: Vec<SocketAddr>,
    },
    /// A server that the user named.
    Server {
        /// Where it is.
        address: SocketAddr,
    },
}

impl fmt::Display for AskedResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { servers } => {
                let servers: Vec<String> = servers.iter().map(SocketAddr::to_string).collect();
                write!(f, "the system's resolver ({})", servers.join(", "))
            }
            Self::Server { address } => write!(f, "@{address}"),
        }
    }
}

/// How its answer ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "snake_case")]
pub enum AnswerOutcome {
    /// The records asked for.
    Answer,
    /// The name exists and has no such record.
    NoData,
    /// The name does not exist.
    NxDomain,
    /// Another response code.
    Error {
        /// Its name.
        rcode: String,
    },
    /// Nothing, or nothing that could be read.
    Nothing {
        /// In the words of the system.
        why: String,
    },
}

/// Reply of a resolver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolverAnswer {
    /// The resolver.
    #[serde(flatten)]
    pub who: AskedResolver,
    /// How its answer ended.
    #[serde(flatten)]
    pub said: AnswerOutcome,
    /// Aliases on the way.
    pub aliases: Vec<RecordText>,
    /// The records asked for.
    pub answers: Vec<RecordText>,
    /// The zone whose SOA record came with an absence.
    pub absent_in: Option<String>,
    /// It says that the answer is its own (AA).
    pub authoritative: bool,
    /// It says that the answer is proved (AD); unknown where that was not asked.
    pub authentic: Option<bool>,
    /// Extended errors (RFC 8914).
    pub errors: Vec<ExtendedError>,
    /// How long it took.
    pub elapsed_ns: u64,
}

/// Why a resolver and a walk differ, most likely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LikelyCause {
    /// It returns data cached before the zone changed, or keeps it too long.
    Stale,
    /// It withholds or replaces the answer on purpose.
    Filtered,
    /// Clients here get another zone than the public one.
    SplitHorizon,
    /// The zone gives each asker a server near it, or another one each time.
    Location,
    /// One of the two judges signatures as the other does not.
    Validation,
    /// It does not answer this client at all.
    Refused,
    /// It failed, or nothing came.
    Failed,
}

impl LikelyCause {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Stale => "an older state, kept",
            Self::Filtered => "filtered",
            Self::SplitHorizon => "split horizon: another zone inside than outside",
            Self::Location => "location: the zone answers by asker",
            Self::Validation => "validation: signatures are judged differently",
            Self::Refused => "it does not serve this client",
            Self::Failed => "it failed",
        }
    }
}

/// The difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// How it ended: an answer, none, an error.
    Outcome,
    /// The records.
    Answers,
    /// The aliases on the way, where the records are the same.
    Aliases,
    /// How long the same records may be kept.
    Ttl,
    /// Whether they are said to be proved.
    Proof,
}

impl Field {
    /// In a word.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Outcome => "outcome",
            Self::Answers => "answers",
            Self::Aliases => "aliases",
            Self::Ttl => "ttl",
            Self::Proof => "proof",
        }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// In what.
    pub field: Field,
    /// Result of the walk.
    pub walk: String,
    /// Reply of the resolver.
    pub resolver: String,
    /// The likely cause.
    pub cause: LikelyCause,
    /// The rule that makes it likely, in a sentence.
    pub because: String,
}

/// A walk beside a resolver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// The common question.
    pub question: Asked,
    /// Reply of the resolver.
    pub opinion: ResolverAnswer,
    /// Where they differ; nothing where they agree.
    pub differences: Vec<Difference>,
}
