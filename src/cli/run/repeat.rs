//! The command that repeats a run, made of the words that were typed.
//!
//! Options that only direct output are left out, files that are read get absolute paths, and the
//! seed is added where this command takes one.

use super::Saved;
use clap::{Arg, Command, ValueHint};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Placeholder for a command line that `--no-command` leaves out.
pub const LEFT_OUT: &str = "(left out by --no-command)";

/// Flags that only say what is printed and where files go, by their names. `DIR` of output is
/// recognised by its hint.
const OUTPUT: [&str; 6] = ["events", "generate", "json", "no_report", "record", "samples"];

/// The words of a command line, and how its lab reads them.
#[derive(Clone, Debug)]
pub struct Repeat {
    lab: &'static str,
    command: Command,
    typed: Vec<OsString>,
    left_out: Vec<&'static str>,
    seed: Option<u64>,
}

impl Repeat {
    /// The command line of this process.
    #[must_use]
    pub fn new(lab: &'static str, command: Command) -> Self {
        Self::of(lab, command, std::env::args_os().skip(1).collect())
    }

    fn of(lab: &'static str, mut command: Command, typed: Vec<OsString>) -> Self {
        command.build();
        Self { lab, command, typed, left_out: OUTPUT.to_vec(), seed: None }
    }

    /// With this seed, unless the words take none or rule one out.
    #[must_use]
    pub fn seed(mut self, seed: Option<u64>) -> Self {
        self.seed = seed;
        self
    }

    /// Without the flag of this name.
    #[must_use]
    pub fn without(mut self, flag: &'static str) -> Self {
        self.left_out.push(flag);
        self
    }

    /// The command, for a shell; [`LEFT_OUT`] with `--no-command`.
    #[must_use]
    pub fn command(&self) -> String {
        if self.typed.iter().take_while(|word| *word != "--").any(|word| word == "--no-command") {
            return format!("{} {LEFT_OUT}", self.lab);
        }
        let mut reader = Reader { repeat: self, command: &self.command, given: Vec::new() };
        let mut kept = vec![OsString::from(self.lab)];
        let mut words = self.typed.iter();
        let mut rest = Vec::new();
        while let Some(word) = words.next() {
            if word == "--" {
                rest = std::iter::once(word).chain(words).cloned().collect();
                break;
            }
            reader.take(word, &mut words, &mut kept);
        }
        if let Some(seed) = self.seed.filter(|_| reader.takes_seed()) {
            kept.extend(["--seed".into(), seed.to_string().into()]);
        }
        let words = kept.iter().chain(&rest);
        words.map(|word| shell_word(word)).collect::<Vec<_>>().join(" ")
    }
}

/// Goes over the words of a command line.
struct Reader<'a> {
    repeat: &'a Repeat,
    /// The command, or the subcommand that was named.
    command: &'a Command,
    /// Flags that are kept.
    given: Vec<&'a Arg>,
}

impl<'a> Reader<'a> {
    /// Keeps a word and the value that belongs to it, or leaves both out.
    fn take<'w>(
        &mut self,
        word: &OsStr,
        rest: &mut impl Iterator<Item = &'w OsString>,
        kept: &mut Vec<OsString>,
    ) {
        let Some((arg, attached)) = self.flag(word) else {
            let plain = !word.as_bytes().starts_with(b"-");
            if let Some(inner) = self.command.find_subcommand(word).filter(|_| plain) {
                self.command = inner;
            }
            return kept.push(word.to_owned());
        };
        let wants = arg.get_num_args().is_some_and(|values| values.min_values() > 0);
        let apart = attached.is_none() && wants && !arg.is_require_equals_set();
        let value = if apart { rest.next().map(OsString::as_os_str) } else { None };
        let id = arg.get_id().as_str();
        let output = arg.get_value_hint() == ValueHint::DirPath;
        if output || id == "seed" || self.repeat.left_out.contains(&id) {
            return;
        }
        self.given.push(arg);
        match (attached, value) {
            (Some(value), _) => {
                let mut whole = word.to_owned();
                if let Some(path) = self.absolute(arg, value) {
                    let name = word.as_bytes().len() - value.as_bytes().len();
                    whole = OsStr::from_bytes(&word.as_bytes()[..name]).to_owned();
                    whole.push(path);
                }
                kept.push(whole);
            }
            (None, value) => {
                kept.push(word.to_owned());
                kept.extend(value.map(|v| self.absolute(arg, v).unwrap_or_else(|| v.to_owned())));
            }
        }
    }

    /// The flag that a word names, and the value in the same word.
    fn flag<'w>(&self, word: &'w OsStr) -> Option<(&'a Arg, Option<&'w OsStr>)> {
        let bytes = word.as_bytes();
        if let Some(long) = bytes.strip_prefix(b"--") {
            let (name, value) = match long.iter().position(|byte| *byte == b'=') {
                Some(at) => (&long[..at], Some(OsStr::from_bytes(&long[at + 1..]))),
                None => (long, None),
            };
            let name = std::str::from_utf8(name).ok()?;
            let is = |arg: &&Arg| {
                arg.get_long() == Some(name)
                    || arg.get_all_aliases().is_some_and(|all| all.contains(&name))
            };
            return self.command.get_arguments().find(is).map(|arg| (arg, value));
        }
        // A cluster: the first letter that takes a value has what follows it.
        let letters = bytes.strip_prefix(b"-").filter(|letters| !letters.is_empty())?;
        let letters = std::str::from_utf8(letters).ok()?;
        let mut last = None;
        for (at, letter) in letters.char_indices() {
            let named = |arg: &&Arg| arg.get_short() == Some(letter);
            let arg = self.command.get_arguments().find(named)?;
            let after = &letters[at + letter.len_utf8()..];
            if arg.get_action().takes_values() && !after.is_empty() {
                return Some((arg, Some(OsStr::new(after))));
            }
            last = Some((arg, None));
        }
        last
    }

    /// The path of a file or run that is read, from any folder.
    fn absolute(&self, arg: &Arg, value: &OsStr) -> Option<OsString> {
        let path = Path::new(value);
        match arg.get_value_hint() {
            ValueHint::AnyPath => {
                let run = Saved::find(self.repeat.lab, Some(path), "").ok().map(|run| run.path);
                run.or_else(|| path.canonicalize().ok()).map(OsString::from)
            }
            ValueHint::FilePath if value != "-" => {
                std::path::absolute(path).ok().map(OsString::from)
            }
            _ => model_with_file(value.to_str()?).map(OsString::from),
        }
    }

    /// Whether the command takes a seed beside what is given.
    fn takes_seed(&self) -> bool {
        let seed = self.command.get_arguments().find(|arg| arg.get_id() == "seed");
        let Some(seed) = seed else { return false };
        let excludes = |arg: &&&Arg| {
            let others = self.command.get_arg_conflicts_with(arg);
            others.iter().any(|other| other.get_id() == "seed")
        };
        let excluded = self.command.get_arg_conflicts_with(seed);
        let by_seed =
            self.given.iter().any(|arg| excluded.iter().any(|e| e.get_id() == arg.get_id()));
        !by_seed && self.given.iter().find(excludes).is_none()
    }
}

/// A model of the path that reads a file, such as `trace:FILE` or `loss=list:FILE`, from any
/// folder.
fn model_with_file(value: &str) -> Option<String> {
    let model = value.rsplit_once('=').map_or(value, |(_, model)| model);
    let word = crate::path::FILE_WORDS.into_iter().find(|word| model.starts_with(word))?;
    let (before, file) = value.split_at(value.len() - model.len() + word.len());
    Some(format!("{before}{}", std::path::absolute(file).ok()?.to_str()?))
}

/// A word that a POSIX shell reads as these very bytes.
///
/// Control characters and bytes that are not UTF-8 are spelt by printf(1), so that the word can be
/// shown on a terminal and written as text; a newline stays one.
#[must_use]
pub fn shell_word(word: &OsStr) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_=.,:%/+@".contains(byte);
    if !word.is_empty() && word.as_bytes().iter().all(plain) {
        return word.to_string_lossy().into_owned();
    }
    let mut out = String::new();
    for chunk in word.as_bytes().utf8_chunks() {
        for part in chunk.valid().split_inclusive(|c: char| c.is_control() && c != '\n') {
            let end = part.chars().next_back().filter(|c| c.is_control() && *c != '\n');
            let text = &part[..part.len() - end.map_or(0, char::len_utf8)];
            if !text.is_empty() {
                out += &format!("'{}'", text.replace('\'', r"'\''"));
            }
            let mut bytes = [0; 4];
            out += &end.map_or_else(String::new, |c| octal(c.encode_utf8(&mut bytes).as_bytes()));
        }
        out += &octal(chunk.invalid());
    }
    if out.is_empty() { "''".to_owned() } else { out }
}

/// Bytes as printf(1) gives them; none are newlines, which the shell would take away.
fn octal(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return String::new();
    }
    let codes: String = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
    format!("\"$(printf '{codes}')\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::arg;
    use proptest::prelude::*;
    use std::os::unix::ffi::OsStringExt;

    fn lab() -> Command {
        let flags = [
            arg!(--seed <N>).required(false),
            arg!(--loss <SHARE>).required(false),
            arg!(--ab <PAIR>).required(false),
            arg!(-p --port <N>).required(false),
            arg!(-v --verbose ...),
            arg!(--json[FILE]).require_equals(true).global(true),
            arg!(--no_report "").long("no-report"),
            arg!(--out <DIR>).value_hint(ValueHint::DirPath).required(false).global(true),
            arg!(--plan <FILE>).value_hint(ValueHint::FilePath).required(false),
            arg!(--fates <FILE>).required(false).conflicts_with("seed"),
            arg!([words] ...),
            Arg::new("program").last(true).num_args(0..),
        ];
        let shell = Command::new("shell").arg(arg!(--seed <N>).required(false));
        let show = Command::new("show").arg(arg!([run]));
        Command::new("lab").args(flags).subcommands([shell, show])
    }

    fn repeat(typed: &str, seed: Option<u64>) -> String {
        let typed = typed.split_whitespace().map(OsString::from).collect();
        Repeat::of("lab", lab(), typed).seed(seed).command()
    }

    #[test]
    fn output_goes_and_the_seed_comes_where_it_is_taken() {
        for (typed, repeated) in [
            ("--loss 2% --seed 3", "lab --loss 2% --seed 7"),
            ("--seed=3 --out run", "lab --seed 7"),
            ("--loss 2% --no-command", "lab (left out by --no-command)"),
            ("-- x --no-command", "lab --seed 7 -- x --no-command"),
            ("--json --no-report a", "lab a --seed 7"),
            ("--json=x -vp 53 --out=run", "lab -vp 53 --seed 7"),
            ("--fates F", "lab --fates F"),
            ("--loss shell --out --seed", "lab --loss shell --seed 7"),
            ("shell --seed 3 --out x", "lab shell --seed 7"),
            ("show run --json", "lab show run"),
            (
                "--loss 2% -- ping --seed 3 --out x",
                "lab --loss 2% --seed 7 -- ping --seed 3 --out x",
            ),
            ("--plan /a/plan.toml --plan=/b", "lab --plan /a/plan.toml --plan=/b --seed 7"),
        ] {
            assert_eq!(repeat(typed, Some(7)), repeated, "{typed}");
        }
        assert_eq!(repeat("--seed 3", None), "lab");
        let here = std::env::current_dir().unwrap();
        let plan = shell_word(here.join("plan.toml").as_os_str());
        assert_eq!(repeat("--plan plan.toml", None), format!("lab --plan {plan}"));
        let lost = format!("lab --loss list:{}", here.join("f").display());
        assert_eq!(repeat("--loss list:f", None), lost);
        let one_way = format!("lab --ab=loss=list:{}", here.join("f").display());
        assert_eq!(repeat("--ab=loss=list:f", None), one_way);
    }

    #[test]
    fn words_of_every_kind_are_shown_for_a_shell() {
        for (word, shown) in [
            ("2%", "2%"),
            ("", "''"),
            ("[::1]:53", "'[::1]:53'"),
            ("it's", r"'it'\''s'"),
            ("a\x1b[2Jb", "'a'\"$(printf '\\033')\"'[2Jb'"),
        ] {
            assert_eq!(shell_word(OsStr::new(word)), shown);
        }
    }

    /// Characters that are special to a shell or a terminal.
    const SPECIAL: &[u8] = b"a'\"\\ $`[]*?~#!\n\t\x1b\xc3";

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn a_shell_reads_back_what_was_typed(
            words in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(1_u8.., 0..12),
                    prop::collection::vec(prop::sample::select(SPECIAL.to_vec()), 0..12),
                ],
                1..8,
            )
        ) {
            let typed: Vec<OsString> = words.into_iter().map(OsString::from_vec).collect();
            let shown: Vec<String> = typed.iter().map(|word| shell_word(word)).collect();
            let script = format!("printf '%s\\000' {}", shown.join(" "));
            let out = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
            let mut expected = Vec::new();
            for word in &typed {
                expected.extend(word.as_bytes());
                expected.push(0);
            }
            prop_assert_eq!(out.stdout, expected);
        }
    }
}
