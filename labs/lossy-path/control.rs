//! Changes a running path: one JSON line to a Unix socket for each change, one JSON line back.
//!
//! `{"set": {"loss": "5%"}, "direction": "a-to-b"}` answers `{"ok": true}` once the change is in
//! force, or `{"error": "…"}`. Without `direction` it is for both.

use super::plan::{Plan, WAYS};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;
use wirelab::cli::run::Temporary;
use wirelab::path::{LinkPlan, ReadFile};

/// Bytes of a line, at most: every setting of a path, many times over.
const LINE_MAX: u64 = 16_384;
/// How long a client may take for its line: the run waits so long.
const LINE_PATIENCE: Duration = Duration::from_millis(100);
/// How long a client waits for the answer, which comes within 100 ms on an idle machine.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// A change of a running path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Settings and their new values, as on the command line.
    pub set: BTreeMap<String, String>,
    /// `a-to-b` or `b-to-a`; both without.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub direction: Option<String>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Whether the change is in force.
    pub ok: bool,
    /// Why it is not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// The socket of a run. Dropping it removes it.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    _socket: Temporary,
}

/// A client that has sent its line.
#[derive(Debug)]
pub struct Client(UnixStream);

impl Control {
    /// Listens at a path where nothing is yet.
    ///
    /// # Errors
    /// The error of `bind`: `EADDRINUSE` if there is something.
    pub fn open(path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, _socket: Temporary::made(path.to_owned()) })
    }

    /// The next line of a client, if one waits.
    #[must_use]
    pub fn next(&self) -> Option<(Client, Result<Request, String>)> {
        let (stream, _) = self.listener.accept().ok()?;
        let request = line_of(&stream).map_err(|error| error.to_string()).and_then(|line| {
            serde_json::from_str(&line).map_err(|error| format!("expected a JSON line: {error}"))
        });
        Some((Client(stream), request))
    }
}

impl Client {
    /// Sends the answer, if the client still waits for it.
    pub fn answer(mut self, done: Result<(), String>) {
        let answer = Answer { ok: done.is_ok(), error: done.err() };
        let mut line = serde_json::to_string(&answer).expect("invariant: two plain fields");
        line.push('\n');
        let _ = self.0.write_all(line.as_bytes());
    }
}

/// A line that a peer sends within [`LINE_PATIENCE`] for each part of it.
fn line_of(stream: &UnixStream) -> io::Result<String> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(LINE_PATIENCE))?;
    stream.set_write_timeout(Some(LINE_PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(LINE_MAX)).read_line(&mut line)?;
    Ok(line)
}

/// Asks a running path for a change.
///
/// # Errors
/// The error of the socket, or the run's answer.
pub fn ask(path: &Path, request: &Request) -> io::Result<()> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(ANSWER_PATIENCE))?;
    let line = serde_json::to_string(request).map_err(io::Error::other)?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream.take(LINE_MAX)).read_line(&mut answer)?;
    let answer: Answer = serde_json::from_str(&answer).map_err(io::Error::other)?;
    answer.error.map_or(Ok(()), |why| Err(io::Error::other(why)))
}

/// The links after a change.
///
/// # Errors
/// What is wrong with it, or cannot change while frames are on their way.
pub fn changed(
    plan: &Plan,
    request: &Request,
    read: ReadFile<'_>,
) -> Result<[LinkPlan; 2], String> {
    let mut links = plan.links.clone();
    let pairs: Vec<_> = request.set.iter().map(|(w, v)| (w.as_str(), v.as_str())).collect();
    let known = request.direction.as_deref().is_none_or(|way| WAYS.contains(&way));
    if !known {
        return Err(format!("direction: expected {} or {}", WAYS[0], WAYS[1]));
    }
    for (link, way) in links.iter_mut().zip(WAYS) {
        if request.direction.as_deref().is_some_and(|wanted| wanted != way) {
            continue;
        }
        let had_rate = link.rate.is_some();
        link.set_all(&pairs, read).map_err(|error| error.to_string())?;
        if link.rate.is_some() != had_rate {
            return Err("rate: a running path neither gets nor loses its queue".to_owned());
        }
        if !link.timetable.is_empty() {
            return Err("at: a path with a timetable does not change otherwise".to_owned());
        }
    }
    Ok(links)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_for_one_direction_or_both_and_keeps_the_rest() {
        let mut none = |_: &str| Err("no files".to_owned());
        let mut plan = Plan::default();
        for link in &mut plan.links {
            link.set_all(&[("delay", "40ms")], &mut none).unwrap();
        }
        let request = |word: &str, value: &str, way: Option<&str>| Request {
            set: BTreeMap::from([(word.to_owned(), value.to_owned())]),
            direction: way.map(str::to_owned),
        };
        let mut after = |word, value, way| changed(&plan, &request(word, value, way), &mut none);
        let [there, back] = after("loss", "5%", Some("a-to-b")).unwrap();
        assert_eq!((&back, &there.delay), (&plan.links[1], &back.delay));
        let both = after("loss", "5%", None).unwrap();
        assert_eq!(both, [there.clone(), there]);
        for (word, value, way) in [
            ("loss", "5", None),
            ("rate", "1Mbit", None),
            ("at", "1s down", None),
            ("loss", "5%", Some("up")),
        ] {
            assert!(after(word, value, way).is_err(), "{word} {value} {way:?}");
        }
    }
}
