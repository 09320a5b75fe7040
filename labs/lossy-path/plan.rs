//! The plan of a run in words: a preset, a plan file and flags, each overriding the one before.
//!
//! Flags and files share their words ([`LinkPlan::words`]). Each mistake names the flag, or the
//! file, line and column, and what was expected there.

use crate::sysctl::Sysctl;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use toml::Spanned;
use wirelab::emulator::topology::FrameMode;
use wirelab::measure::human;
use wirelab::path::{LinkPlan, PlanError, Preset, ReadFile};

/// Bytes of a plan file, at most: 100,000 changes, and twice as much.
pub const PLAN_FILE_MAX: usize = 8 << 20;

/// The plan of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// From host A to host B, and back.
    pub links: [LinkPlan; 2],
    /// The command on the other host, for `sh -c`.
    pub server: Option<String>,
    /// The condition for the other host to be ready.
    pub ready: Ready,
    /// Time before a deadline to poll the clock; `None` leaves the router's default.
    pub spin: Option<Duration>,
    /// Units in which hosts and path exchange frames.
    pub frames: FrameMode,
    /// Whether the router has a processor of its own, which programs do not use.
    pub own_cpu: bool,
    /// Whether the path is the loopback of host A, which has no other end then.
    pub localhost: bool,
    /// Kernel settings of the hosts.
    pub sysctls: Vec<Sysctl>,
}

/// The condition for the program on the other host to be ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ready {
    /// It listens on any TCP port or has bound any UDP port.
    #[default]
    Listening,
    /// It does so on this port.
    Port(u16),
    /// It has started.
    Started,
}

impl FromStr for Ready {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "listening" => Ok(Self::Listening),
            "started" => Ok(Self::Started),
            port => match port.parse() {
                Ok(port @ 1..) => Ok(Self::Port(port)),
                _ => Err(format!(
                    "expected listening, started or a port from 1 to 65535, got {text:?}"
                )),
            },
        }
    }
}

impl fmt::Display for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening => f.write_str("listening"),
            Self::Port(port) => port.fmt(f),
            Self::Started => f.write_str("started"),
        }
    }
}

/// One setting, and its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// One of [`LinkPlan::words`].
    pub word: String,
    /// Its text.
    pub text: String,
    /// Its origin: a flag, or a position in a file.
    pub origin: String,
}

/// The link settings of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    /// Of both directions.
    pub both: Vec<Said>,
    /// Of one direction, which overrides both.
    pub ways: [Vec<Said>; 2],
}

/// A mistake in a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Its origin: a flag, or a position in a file.
    pub origin: String,
    /// The expected form and the text found.
    pub why: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.why)
    }
}

impl std::error::Error for Mistake {}

/// The names of the two directions in flags and plan files.
pub const WAYS: [&str; 2] = ["a-to-b", "b-to-a"];

impl Said {
    /// Parses `NAME=VALUE`, the value of a flag for one direction.
    ///
    /// # Errors
    /// The expected form.
    pub fn pair(text: &str) -> Result<(String, String), String> {
        let Some((word, value)) = text.split_once('=') else {
            return Err(format!("expected NAME=VALUE such as loss=2%, got {text:?}"));
        };
        known(word.trim())?;
        Ok((word.trim().to_owned(), value.trim().to_owned()))
    }
}

/// Whether there is a setting of this name.
fn known(word: &str) -> Result<(), String> {
    let names = LinkPlan::names();
    if names.contains(&word) {
        return Ok(());
    }
    let words = names.join(", ");
    Err(format!("no setting is called {word:?}{} There are {words}", nearest(word, names)))
}

/// `; did you mean …?` if one of the words is near, else a full stop.
fn nearest(word: &str, words: &[&str]) -> String {
    /// Letters to change, at most, in a near word.
    const NEAR: usize = 2;
    let near = words.iter().map(|w| (distance(word, w), w)).min();
    near.filter(|(far, _)| *far <= NEAR)
        .map_or_else(|| ".".to_owned(), |(_, near)| format!("; did you mean {near}?"))
}

/// Edit distance of two words (Levenshtein), a swap of neighbours counting one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                let swapped = if swap { rows[i - 2][j - 2] + 1 } else { usize::MAX };
                change.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(swapped)
            };
        }
    }
    rows[a.len()][b.len()]
}

/// The layer of a preset.
///
/// # Errors
/// If no preset has that name.
pub fn preset(name: &str, origin: &str) -> Result<Layer, Mistake> {
    let Some(preset) = Preset::find(name) else {
        let names: Vec<_> = wirelab::path::preset::ALL.iter().map(|preset| preset.name).collect();
        let near = nearest(name, &names);
        let why = format!("no preset is called {name:?}{near} There are {}", names.join(", "));
        return Err(Mistake { origin: origin.to_owned(), why });
    };
    let ways = preset.plans().map(|plan| {
        let said = |(word, text): (&str, String)| Said {
            word: word.to_owned(),
            text,
            origin: format!("preset {name}"),
        };
        plan.settings().into_iter().map(said).collect()
    });
    Ok(Layer { both: Vec::new(), ways })
}

/// Origins that an error names.
const ORIGINS_SHOWN: usize = 3;

/// Builds both links from layers, later ones overriding earlier; within a layer a setting for one
/// direction overrides that for both.
///
/// A source with `at` replaces the whole earlier timetable.
///
/// # Errors
/// The first mistake, and its origin.
pub fn links(layers: &[Layer], read: ReadFile<'_>) -> Result<[LinkPlan; 2], Mistake> {
    let mut links = [LinkPlan::default(), LinkPlan::default()];
    for (way, link) in links.iter_mut().enumerate() {
        let mut in_force: Vec<&Said> = Vec::new();
        for said in layers.iter().flat_map(|layer| [&layer.both, &layer.ways[way]]) {
            in_force.retain(|old| !said.iter().any(|new| new.word == old.word));
            in_force.extend(said);
        }
        for said in &in_force {
            alone(said, read)?;
        }
        let pairs: Vec<_> = in_force.iter().map(|s| (s.word.as_str(), s.text.as_str())).collect();
        link.set_all(&pairs, read).map_err(|error| {
            let mut origins: Vec<_> = in_force.iter().map(|said| said.origin.as_str()).collect();
            origins.dedup();
            let others = origins.len().saturating_sub(ORIGINS_SHOWN);
            origins.truncate(ORIGINS_SHOWN);
            let others = if others > 0 { format!(" and {others} more") } else { String::new() };
            Mistake {
                origin: origins.join(" with ") + &others,
                why: format!("from {}: {error}", WAYS[way].replace("-to-", " to ")),
            }
        })?;
    }
    Ok(links)
}

/// Checks a setting by itself.
fn alone(said: &Said, read: ReadFile<'_>) -> Result<(), Mistake> {
    let mistake = |why: String| Mistake { origin: said.origin.clone(), why };
    known(&said.word).map_err(mistake)?;
    match LinkPlan::default().set_all(&[(&said.word, &said.text)], read) {
        // It may be valid in combination.
        Ok(()) | Err(PlanError::Together(_)) => Ok(()),
        // The origin already names the setting.
        Err(PlanError::Text { what, expected, got }) if what == said.word => {
            let meant = human::suggestion(expected, &got);
            Err(mistake(format!("expected {expected}, got {got:?}{meant}")))
        }
        Err(error) => Err(mistake(error.to_string())),
    }
}

/// A parsed plan file.
#[derive(Debug, Default)]
pub struct PlanFile {
    /// Its link settings, its preset first.
    pub layers: Vec<Layer>,
    /// The command on the other host.
    pub server: Option<String>,
    /// The condition for it to be ready.
    pub ready: Option<Ready>,
    /// Time before a deadline to poll the clock.
    pub spin: Option<Duration>,
    /// Units in which hosts and path exchange frames.
    pub frames: Option<FrameMode>,
    /// Whether the router has a processor of its own.
    pub own_cpu: Option<bool>,
    /// Whether the path is the loopback of host A.
    pub localhost: Option<bool>,
    /// Kernel settings of the hosts.
    pub sysctls: Vec<Sysctl>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct FileText {
    preset: Option<Spanned<String>>,
    b: Option<String>,
    b_ready: Option<Spanned<String>>,
    spin: Option<Spanned<String>>,
    frames: Option<Spanned<String>>,
    own_cpu: Option<bool>,
    localhost: Option<bool>,
    sysctl: Vec<Spanned<String>>,
    both: FileWords,
    a_to_b: FileWords,
    b_to_a: FileWords,
}

/// The settings of a table, in the order of [`LinkPlan::words`].
#[derive(Default)]
struct FileWords(Vec<(&'static str, Spanned<String>)>);

/// One of [`LinkPlan::names`].
struct Name(&'static str);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let name = LinkPlan::names().iter().find(|name| **name == text);
        name.map(|name| Self(name))
            .ok_or_else(|| de::Error::unknown_field(&text, LinkPlan::names()))
    }
}

impl<'de> Deserialize<'de> for FileWords {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self::default())
    }
}

impl<'de> Visitor<'de> for FileWords {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table")
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<Self, M::Error> {
        while let Some(Name(name)) = map.next_key()? {
            if name == "at" {
                let lines: Vec<_> = map.next_value()?;
                self.0.extend(lines.into_iter().map(|line| (name, line)));
            } else {
                self.0.push((name, map.next_value()?));
            }
        }
        let place = |name| LinkPlan::names().iter().position(|other| *other == name);
        self.0.sort_by_key(|(name, _)| place(*name));
        Ok(self)
    }
}

impl FileWords {
    fn said(self, place: &dyn Fn(usize) -> String) -> Vec<Said> {
        let said = |(word, text): (&str, Spanned<String>)| Said {
            word: word.to_owned(),
            origin: place(text.span().start),
            text: text.into_inner(),
        };
        self.0.into_iter().map(said).collect()
    }
}

impl PlanFile {
    /// Parses a plan file; mistakes call it `name`.
    ///
    /// # Errors
    /// The first mistake, with its line and column.
    pub fn parse(name: &str, text: &str) -> Result<Self, Mistake> {
        // Offsets mostly ascend: each count begins where the last one ended.
        let last = Cell::new((0, 1, 1));
        let place = |offset: usize| {
            let (from, line, column) =
                Some(last.get()).filter(|(from, ..)| *from <= offset).unwrap_or((0, 1, 1));
            let between = text.get(from..offset).unwrap_or_default();
            let lines = between.matches('\n').count();
            let tail = between.rsplit('\n').next().unwrap_or_default().chars().count();
            let column = if lines > 0 { tail + 1 } else { column + tail };
            last.set((offset, line + lines, column));
            format!("{name}, line {}, column {column}", line + lines)
        };
        if text.len() > PLAN_FILE_MAX {
            let why = format!("expected at most {PLAN_FILE_MAX} bytes, got {}", text.len());
            return Err(Mistake { origin: name.to_owned(), why });
        }
        let file: FileText = toml::from_str(text).map_err(|error| Mistake {
            origin: error.span().map_or_else(|| name.to_owned(), |span| place(span.start)),
            why: in_words(error.message()),
        })?;
        let at = |offset: usize, why: String| Mistake { origin: place(offset), why };
        let mut layers = Vec::with_capacity(2);
        if let Some(name) = &file.preset {
            layers.push(preset(name.as_ref(), &place(name.span().start))?);
        }
        layers.push(Layer {
            both: file.both.said(&place),
            ways: [file.a_to_b.said(&place), file.b_to_a.said(&place)],
        });
        let ready = file
            .b_ready
            .map(|text| text.as_ref().parse().map_err(|why| at(text.span().start, why)));
        let spin = file.spin.map(|text| {
            let parsed = human::parse_duration(text.as_ref());
            parsed.map_err(|error| at(text.span().start, error.to_string()))
        });
        let frames =
            file.frames.map(|text| text.as_ref().parse().map_err(|why| at(text.span().start, why)));
        let sysctls = file
            .sysctl
            .iter()
            .map(|text| text.as_ref().parse().map_err(|why| at(text.span().start, why)));
        Ok(Self {
            layers,
            server: file.b,
            ready: ready.transpose()?,
            spin: spin.transpose()?,
            frames: frames.transpose()?,
            own_cpu: file.own_cpu,
            localhost: file.localhost,
            sysctls: sysctls.collect::<Result<_, _>>()?,
        })
    }
}

/// toml's message, with the nearest key for an unknown one.
fn in_words(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let near = match (message.starts_with("unknown field"), quoted.next()) {
        (true, Some(wrong)) => nearest(wrong, &quoted.collect::<Vec<_>>()),
        _ => String::new(),
    };
    message.trim().to_owned() + &near
}

/// One setting of a link, for a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// One of [`LinkPlan::words`].
    pub word: String,
    /// Its text.
    pub text: String,
}

/// A plan in words, for a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanWords {
    /// From host A to host B.
    pub a_to_b: Vec<Setting>,
    /// From host B to host A.
    pub b_to_a: Vec<Setting>,
    /// The command on the other host.
    pub server: Option<String>,
    /// The condition for it to be ready.
    pub ready: String,
    /// Time before a deadline to poll the clock, if set, nanoseconds.
    pub spin_ns: Option<u64>,
    /// Units in which hosts and path exchanged frames: `mtu` or `segmented`.
    pub frames: String,
    /// Whether the router had a processor of its own.
    pub own_cpu: bool,
    /// Whether the path was the loopback of host A.
    #[serde(default)]
    pub localhost: bool,
    /// Kernel settings of the hosts: `[a:|b:]NAME=VALUE`.
    #[serde(default)]
    pub sysctls: Vec<String>,
}

impl Plan {
    /// Converts the plan to words.
    #[must_use]
    pub fn words(&self) -> PlanWords {
        let setting = |(word, text): (&str, String)| Setting { word: word.to_owned(), text };
        let [a_to_b, b_to_a] =
            [0, 1].map(|way: usize| self.links[way].settings().into_iter().map(setting).collect());
        PlanWords {
            a_to_b,
            b_to_a,
            server: self.server.clone(),
            ready: self.ready.to_string(),
            spin_ns: self.spin.map(wirelab::measure::nanos),
            frames: self.frames.name().to_owned(),
            own_cpu: self.own_cpu,
            localhost: self.localhost,
            sysctls: self.sysctls.iter().map(Sysctl::to_string).collect(),
        }
    }

    /// Parses these words.
    ///
    /// # Errors
    /// The first mistake.
    pub fn of_words(words: &PlanWords, read: ReadFile<'_>) -> Result<Self, Mistake> {
        let origin = || "result.json".to_owned();
        let said = |settings: &[Setting]| {
            let one =
                |s: &Setting| Said { word: s.word.clone(), text: s.text.clone(), origin: origin() };
            settings.iter().map(one).collect()
        };
        let ways = [said(&words.a_to_b), said(&words.b_to_a)];
        let sysctls = words
            .sysctls
            .iter()
            .map(|text| text.parse().map_err(|why| Mistake { origin: origin(), why }));
        Ok(Self {
            links: links(&[Layer { both: Vec::new(), ways }], read)?,
            server: words.server.clone(),
            ready: words.ready.parse().map_err(|why| Mistake { origin: origin(), why })?,
            spin: words.spin_ns.map(Duration::from_nanos),
            frames: words.frames.parse().map_err(|why| Mistake { origin: origin(), why })?,
            own_cpu: words.own_cpu,
            localhost: words.localhost,
            sysctls: sysctls.collect::<Result<_, _>>()?,
        })
    }

    /// The plan as a plan file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        if let Some(server) = &self.server {
            out +=
                &format!("b = {}\nb-ready = {}\n", quoted(server), quoted(&self.ready.to_string()));
        }
        if let Some(spin) = self.spin {
            out += &format!("spin = {}\n", quoted(&human::duration(spin)));
        }
        if self.frames != FrameMode::default() {
            out += &format!("frames = {}\n", quoted(self.frames.name()));
        }
        if self.own_cpu {
            out += "own-cpu = true\n";
        }
        if self.localhost {
            out += "localhost = true\n";
        }
        if !self.sysctls.is_empty() {
            let all: Vec<_> = self.sysctls.iter().map(|set| quoted(&set.to_string())).collect();
            out += &format!("sysctl = [{}]\n", all.join(", "));
        }
        let [there, back] = &self.links;
        let tables: &[(&str, &LinkPlan)] =
            if there == back { &[("both", there)] } else { &[(WAYS[0], there), (WAYS[1], back)] };
        for (name, link) in tables {
            let settings = link.settings();
            out += &format!("\n[{name}]\n");
            for (word, text) in settings.iter().filter(|(word, _)| *word != "at") {
                out += &format!("{word} = {}\n", quoted(text));
            }
            let times = settings.iter().filter(|(word, _)| *word == "at");
            let times: Vec<_> = times.map(|(_, text)| quoted(text)).collect();
            if !times.is_empty() {
                out += &format!("at = [{}]\n", times.join(", "));
            }
        }
        out.trim_start().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found() {
        for (typed, meant) in [("los", "loss"), ("dealy", "delay"), ("reoder", "reorder")] {
            assert_eq!(nearest(typed, LinkPlan::names()), format!("; did you mean {meant}?"));
        }
        assert_eq!(nearest("bandwidth", LinkPlan::names()), ".");
    }

    #[test]
    fn unknown_keys_and_values_point_at_their_place() {
        for (text, part) in [
            ("[both]\nlos = '2%'", "p.toml, line 2, column 1: unknown field `los`"),
            ("[both]\nlos = '2%'", "did you mean loss?"),
            ("prest = 'lan'", "did you mean preset?"),
            ("spin = '5'", "p.toml, line 1, column 8: expected a duration"),
            ("frames = 'big'", "p.toml, line 1, column 10: expected mtu or segmented"),
            ("b-ready = '0'", "expected listening, started or a port"),
            ("[both]\nloss = 2", "line 2, column 8"),
            ("[both", "line 1"),
        ] {
            let mistake = PlanFile::parse("p.toml", text).unwrap_err().to_string();
            assert!(mistake.contains(part), "{text}: {mistake}");
        }
    }
}
