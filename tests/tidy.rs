//! Repository rules that a machine can check, with the standard library only.
//! Every exception is in the tables below.

use std::fs;
use std::path::{Path, PathBuf};

/// The allowed dependencies of each part of `src`, besides itself. `src/lib.rs` gives the reasons.
const MAY_USE: &[(&str, &[&str])] = &[
    ("measure", &[]),
    ("wire", &["measure"]),
    ("sys", &["measure"]),
    ("runtime", &["sys", "measure"]),
    ("path", &["wire", "measure"]),
    ("emulator", &["path", "runtime", "sys", "wire", "measure"]),
    ("report", &["path", "wire", "measure"]),
    ("cli", &["report", "emulator", "path", "runtime", "sys", "wire", "measure"]),
    ("bank", &["cli", "report", "path", "runtime", "sys", "wire", "measure"]),
];

/// Where everything visible at the top level is named.
const TOP_LEVEL: [&str; 7] =
    ["Cargo.toml", "Cargo.lock", "README.md", "LICENSE", "src", "labs", "tests"];

/// Maximum lines of a function: it fits a screen.
const FUNCTION_LINES_MAX: usize = 70;
/// Maximum columns of a line.
const LINE_COLUMNS_MAX: usize = 100;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the root").to_owned()
}

/// A source file: its path from the root, and its text.
struct Source {
    path: String,
    text: String,
}

/// All Rust files of the repository, in order.
fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    for folder in ["src", "labs", "tests"] {
        walk(&root().join(folder), &mut files);
    }
    files.sort();
    let source = |path: PathBuf| Source {
        path: path.strip_prefix(root()).unwrap().to_string_lossy().into_owned(),
        text: fs::read_to_string(&path).unwrap(),
    };
    let sources: Vec<Source> = files.into_iter().map(source).collect();
    assert!(sources.len() > 20, "found only {} Rust files", sources.len());
    sources
}

/// Whether a file is a test's.
fn is_test(source: &Source) -> bool {
    source.path.starts_with("tests/") || source.path.contains("/tests/")
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            walk(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}

/// The text with comments and literal contents blanked, line by line.
fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or(' ');
    let mut i = 0;
    while i < chars.len() {
        let end = match at(i) {
            '/' if at(i + 1) == '/' => until(&chars, i, |j| at(j) == '\n'),
            '/' if at(i + 1) == '*' => {
                until(&chars, i + 2, |j| at(j - 1) == '*' && at(j) == '/') + 1
            }
            'r' if raw_hashes(&chars, i).is_some() => {
                let hashes = raw_hashes(&chars, i).unwrap();
                let closes = |j: usize| at(j) == '"' && (1..=hashes).all(|k| at(j + k) == '#');
                until(&chars, i + hashes + 2, closes) + hashes + 1
            }
            '"' => string_end(&chars, i),
            // A character, not a lifetime.
            '\'' if at(i + 1) == '\\' => until(&chars, i + 3, |j| at(j) == '\'') + 1,
            '\'' if at(i + 2) == '\'' => i + 3,
            c => {
                out.push(c);
                i += 1;
                continue;
            }
        };
        let end = end.min(chars.len());
        out.extend(chars[i..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        i = end.max(i + 1);
    }
    out
}

/// The first index at or after `from` where `stop` is true, or the end.
fn until(chars: &[char], from: usize, stop: impl Fn(usize) -> bool) -> usize {
    (from..chars.len()).find(|i| stop(*i)).unwrap_or(chars.len())
}

/// The number of `#` of a raw string that starts here.
fn raw_hashes(chars: &[char], i: usize) -> Option<usize> {
    let word = i > 0 && (chars[i - 1].is_alphanumeric() || chars[i - 1] == '_');
    if word && chars[i - 1] != 'b' {
        return None;
    }
    let hashes = chars[i + 1..].iter().take_while(|c| **c == '#').count();
    (chars.get(i + 1 + hashes) == Some(&'"')).then_some(hashes)
}

fn string_end(chars: &[char], start: usize) -> usize {
    let mut i = start + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

/// The code before the tests of a file.
fn without_tests(code: &str) -> &str {
    code.split("#[cfg(test)]").next().unwrap_or(code)
}

/// Collects violations and reports them together.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn at(&mut self, path: &str, line: usize, what: &str) {
        self.0.push(format!("{path}:{}: {what}", line + 1));
    }

    fn none(self) {
        assert!(self.0.is_empty(), "{} faults:\n{}", self.0.len(), self.0.join("\n"));
    }
}

/// The modules named by a piece of code: `crate::x`, and each of `crate::{x, y}`.
fn modules_used(code: &str, prefix: &str) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    for (start, _) in code.match_indices(prefix) {
        let line = code[..start].matches('\n').count();
        let rest = &code[start + prefix.len()..];
        let group = rest.strip_prefix('{').map_or_else(|| rest.to_owned(), top_of_group);
        let several = rest.starts_with('{');
        for part in group.split(',').take(if several { usize::MAX } else { 1 }) {
            let word = |c: &char| c.is_alphanumeric() || *c == '_';
            let name: String = part.trim().chars().take_while(word).collect();
            // A macro is at the root of the crate, wherever it is defined.
            if !part.trim()[name.len()..].starts_with('!') {
                used.push((line, name));
            }
        }
    }
    used
}

/// The text of a group up to its closing brace, without inner braces.
fn top_of_group(rest: &str) -> String {
    let mut depth = 0;
    let mut out = String::new();
    for c in rest.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            _ if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}

#[test]
fn modules_use_only_allowed_modules() {
    let mut faults = Faults::default();
    for source in sources().iter().filter(|s| s.path.starts_with("src/")) {
        let module = source.path.split('/').nth(1).unwrap().trim_end_matches(".rs");
        if module == "lib" || module == "build" {
            continue;
        }
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            faults.at(&source.path, 0, "this module is not in the table of tests/tidy.rs");
            continue;
        };
        let code = code(&source.text);
        for (line, used) in modules_used(without_tests(&code), "crate::") {
            if used != module && !allowed.contains(&used.as_str()) {
                faults.at(&source.path, line, &format!("{module} must not use {used}"));
            }
        }
    }
    faults.none();
}

#[test]
fn the_table_has_no_cycle() {
    let mut known: Vec<&str> = Vec::new();
    let mut left: Vec<_> = MAY_USE.to_vec();
    while !left.is_empty() {
        let before = left.len();
        left.retain(|(name, uses)| {
            let ready = uses.iter().all(|used| known.contains(used));
            if ready {
                known.push(name);
            }
            !ready
        });
        assert!(left.len() < before, "these use each other: {left:?}");
    }
}

/// The workspace packages that a package depends on, except for tests.
fn dependencies(package: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap();
    let section = manifest.split("\n[dependencies]").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let names = section.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The folders under `labs/`.
fn labs() -> Vec<String> {
    let entries = fs::read_dir(root().join("labs")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_lab_depends_on_src_and_on_no_lab() {
    let labs = labs();
    assert!(labs.len() >= 6, "found only {labs:?}");
    for lab in &labs {
        let used = dependencies(&format!("labs/{lab}"));
        assert!(used.iter().any(|name| name == "wirelab"), "{lab} uses {used:?}");
        let wrong: Vec<_> = used.iter().filter(|name| labs.contains(name)).collect();
        assert!(wrong.is_empty(), "labs/{lab} depends on {wrong:?}");
    }
    let shared = dependencies("src");
    assert!(!shared.iter().any(|name| labs.contains(name)), "src depends on a lab: {shared:?}");
}

#[test]
fn a_lab_includes_no_file_of_another_directory() {
    let mut faults = Faults::default();
    let outside = |source: &&Source| source.path.starts_with("labs/");
    for source in sources().iter().filter(outside) {
        for (line, text) in source.text.lines().enumerate() {
            let included = text.contains("include!(") || text.contains("include_str!(\"../../..");
            let moved = text.trim_start().starts_with("#[path") && text.contains("..");
            if included || moved {
                faults.at(&source.path, line, "includes a file of another room");
            }
        }
    }
    faults.none();
}

/// Patterns reserved to `src/report`, each with the alternative for labs.
const ONLY_THE_KIT: &[(&str, &str)] = &[
    ("<!doctype", "report::page::Page"),
    ("content-security-policy", "report::page::Page"),
    ("<style", "report::page::Page::new"),
    ("<script", "report::page::Page::finish"),
    ("<section", "report::page::Page::section"),
    ("<figure", "report::page::figure"),
    ("<table", "report::page::Table"),
    ("<svg", "report::svg::Svg"),
    ("&lt;", "wirelab::html!"),
    ("html::shown", "wirelab::html!"),
    ("fn escape", "wirelab::html!"),
    ("fn fold", "report::text::folded"),
    ("fn wrap", "report::text::wrapped"),
    ("fn plural", "measure::human::plural"),
    ("\\x1b[", "report::style::Style::ink"),
    ("\\u{1b}[", "report::style::Style::ink"),
    ("} us\"", "measure::human::latency"),
    ("} us ", "measure::human::latency"),
];

#[test]
fn no_lab_duplicates_the_kit() {
    let mut faults = Faults::default();
    let of_lab = |source: &&Source| source.path.starts_with("labs/") && !is_test(source);
    for source in sources().iter().filter(of_lab) {
        for (line, text) in without_tests(&source.text).lines().enumerate() {
            let text = text.to_lowercase();
            for (twin, kit) in ONLY_THE_KIT.iter().filter(|(twin, _)| text.contains(twin)) {
                faults.at(&source.path, line, &format!("{twin} is written by {kit}"));
            }
        }
    }
    faults.none();
}

/// One event loop, in `runtime`: a second copy would miss fixes.
#[test]
fn mio_polls_in_runtime_alone() {
    let mut faults = Faults::default();
    for source in sources().iter().filter(|source| !source.path.starts_with("src/runtime/")) {
        // `sys::poll` has its own `Poll`, for waits in nanoseconds.
        for (line, text) in code(&source.text).lines().enumerate() {
            let imported = text.trim_start().starts_with("use mio::") && text.contains("Poll");
            if imported || text.contains("mio::Poll") {
                faults.at(&source.path, line, "mio's Poll outside src/runtime");
            }
        }
    }
    faults.none();
}

#[test]
fn unsafe_stays_in_sys() {
    let mut faults = Faults::default();
    for source in sources().iter().filter(|s| !s.path.starts_with("src/sys/")) {
        for (line, text) in code(&source.text).lines().enumerate() {
            let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            if words.into_iter().any(|word| word == "unsafe") {
                faults.at(&source.path, line, "unsafe outside src/sys");
            }
        }
    }
    faults.none();
}

/// Files are opened where links, owners, limits and unfinished content are taken care of.
const FILE_CALLS: [&str; 14] = [
    "File::create",
    "File::open",
    "File::options",
    "OpenOptions",
    "fs::write",
    "fs::read",
    "fs::copy",
    "fs::rename",
    "fs::remove",
    "fs::create_dir",
    "fs::hard_link",
    "fs::set_permissions",
    "fs::symlink",
    "DirBuilder",
];

#[test]
fn labs_open_files_through_the_file_module() {
    let mut faults = Faults::default();
    let ours = |source: &&Source| {
        let elsewhere = ["src/sys/", "src/cli/run/"].map(|room| source.path.starts_with(room));
        elsewhere == [false; 2] && !is_test(source)
    };
    for source in sources().iter().filter(ours) {
        let code = code(&source.text);
        for (line, text) in without_tests(&code).lines().enumerate() {
            for call in FILE_CALLS.iter().filter(|call| text.contains(*call)) {
                // Tables of the kernel, by names that no user gives.
                let kernel = source.path.starts_with("src/emulator/") && *call == "fs::read";
                if !kernel {
                    faults.at(&source.path, line, &format!("{call} is for wirelab::cli::run"));
                }
            }
        }
    }
    faults.none();
}

#[test]
fn every_file_begins_with_a_sentence() {
    let mut faults = Faults::default();
    for source in sources() {
        let mut lines = source.text.lines();
        if !lines.next().is_some_and(|line| line.starts_with("//! ")) {
            faults.at(&source.path, 0, "does not begin with //! and a sentence");
        }
    }
    faults.none();
}

#[test]
fn functions_and_lines_fit_a_screen() {
    let mut faults = Faults::default();
    for source in sources() {
        for (line, text) in source.text.lines().enumerate() {
            // A link, a row of a table or a test vector cannot be broken.
            let starts = ["//! |", "/// |", "r#\""];
            let whole = starts.iter().any(|start| text.trim_start().starts_with(start));
            let exempt = text.contains("://") || whole;
            if text.chars().count() > LINE_COLUMNS_MAX && !exempt {
                faults.at(&source.path, line, "longer than 100 columns");
            }
        }
        for (line, length) in functions(&code(&source.text)) {
            if length > FUNCTION_LINES_MAX {
                faults.at(&source.path, line, &format!("a function of {length} lines"));
            }
        }
    }
    faults.none();
}

/// First line and length of every function with a body.
///
/// Formatted code closes a function at the indentation of the line that opened it.
fn functions(code: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let words: Vec<&str> = line.split_whitespace().take(6).collect();
        let is_fn = words.iter().position(|w| *w == "fn").is_some_and(|at| {
            words[..at].iter().all(|w| {
                let modifiers = ["pub", "const", "async", "unsafe", "extern"];
                modifiers.contains(w) || w.starts_with("pub(") || w.ends_with(')')
            })
        });
        if !is_fn {
            continue;
        }
        let closes = |l: &&str| indent(l) == indent(line) && l.trim_start().starts_with('}');
        let ends = |l: &&str| l.trim_end().ends_with(';') && indent(l) == indent(line);
        let length = lines[start..].iter().position(|l| closes(l) || ends(l)).unwrap_or(0) + 1;
        // A body on one line ends on that line.
        found.push((start, if line.trim_end().ends_with('}') { 1 } else { length }));
    }
    found
}

/// Words that do not occur: archaic or this project's own, where the field has a term.
const BANNED: &[&str] = &[
    "nobody",
    "somebody",
    "whoever",
    "whom",
    "anew",
    "foretell",
    "foretells",
    "foretold",
    "lest",
    "betimes",
    "stranger",
    "strangers",
    "for ever",
    "what became of",
    "is told",
    "are told",
    "takes it not",
    "counts more",
    "no more than you",
];

/// The visible text files besides sources: pages, schemas, scripts, workflows.
fn pages(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let skipped = ["target", "corpus", "artifacts", "data", "wirelab-runs"];
        if path.is_dir() && !skipped.iter().any(|name| path.ends_with(name)) {
            pages(&path, found);
        } else if path.extension().is_some_and(|end| end == "md" || end == "json" || end == "css") {
            found.push(path);
        }
    }
}

/// The text in lower case, with one space between its words and one around it.
fn spaced(text: &str) -> String {
    let kept = |c: char| if c.is_alphanumeric() || c == '_' { c } else { ' ' };
    let text: String = text.to_lowercase().chars().map(kept).collect();
    format!(" {} ", text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn plain_words_are_used() {
    let mut faults = Faults::default();
    let mut files: Vec<Source> =
        sources().into_iter().filter(|source| source.path != "tests/tidy.rs").collect();
    let mut found = vec![root().join("README.md")];
    for folder in ["src", "labs", "tests", ".github"] {
        pages(&root().join(folder), &mut found);
    }
    assert!(found.len() > 15, "found only {found:?}");
    files.extend(found.into_iter().map(|path| Source {
        text: fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(root()).unwrap().to_string_lossy().into_owned(),
    }));
    for file in &files {
        for (line, text) in file.text.lines().enumerate() {
            // The user of that name.
            let is_user = ["NOBODY", "user", "\"nobody\""].iter().any(|name| text.contains(name));
            let text = spaced(text);
            let found = BANNED.iter().filter(|word| text.contains(&format!(" {word} ")));
            for word in found.filter(|word| !(is_user && **word == "nobody")) {
                faults.at(&file.path, line, &format!("{word:?} is not among our words"));
            }
        }
    }
    faults.none();
}

/// Words of a page, its folded answers and the output in its fences left out.
fn word_count(page: &str) -> usize {
    let (mut words, mut folded, mut fenced) = (0, false, false);
    for line in page.lines() {
        folded |= line.trim_start().starts_with("<details");
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        if !folded && !fenced && !fence {
            words += line.split_whitespace().filter(|w| w.contains(char::is_alphanumeric)).count();
        }
        folded &= !line.contains("</details>");
    }
    words
}

#[test]
fn pages_are_short() {
    let mut faults = Faults::default();
    let labs = labs().into_iter().map(|lab| (format!("labs/{lab}/README.md"), 900));
    for (page, most) in labs.chain([("README.md".to_owned(), 1_200)]) {
        let words = word_count(&fs::read_to_string(root().join(&page)).unwrap());
        if words > most {
            faults.at(&page, 0, &format!("{words} words, at most {most}"));
        }
    }
    faults.none();
}

#[test]
fn no_open_tasks_are_left() {
    // Spelt in two parts, so that this file does not match itself.
    let words = [("TO", "DO"), ("FIX", "ME"), ("XX", "X:")].map(|(a, b)| format!("{a}{b}"));
    let calls = [("unimplement", "ed!"), ("to", "do!"), ("db", "g!"), ("#[ig", "nore")];
    let calls = calls.map(|(a, b)| format!("{a}{b}"));
    let mut faults = Faults::default();
    for source in sources() {
        let code = code(&source.text);
        for (line, (text, code)) in source.text.lines().zip(code.lines()).enumerate() {
            let word = words.iter().find(|word| text.contains(word.as_str()));
            let call = calls.iter().find(|call| code.contains(call.as_str()));
            if let Some(found) = word.or(call) {
                faults.at(&source.path, line, found);
            }
        }
    }
    faults.none();
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    let mut faults = Faults::default();
    for source in sources().iter().filter(|s| !is_test(s)) {
        let code = code(&source.text);
        for (line, text) in without_tests(&code).lines().enumerate() {
            if text.contains(".unwrap()") {
                faults.at(&source.path, line, "unwrap outside a test");
            }
        }
    }
    faults.none();
}

#[test]
fn no_conversion_ends_in_a_silent_value() {
    let mut faults = Faults::default();
    for source in sources().iter().filter(|s| !is_test(s)) {
        let code = code(&source.text);
        let code = without_tests(&code);
        for (start, _) in code.match_indices("try_from(") {
            let rest = &code[start + "try_from".len()..];
            let after = rest[call_length(rest)..].trim_start();
            if after.starts_with(".unwrap_or(") || after.starts_with(".unwrap_or_default(") {
                let line = code[..start].matches('\n').count();
                faults.at(&source.path, line, "a conversion that fails silently");
            }
        }
    }
    faults.none();
}

/// Bytes of a group in parentheses, both included.
fn call_length(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return at + 1,
            ')' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

#[test]
fn the_top_level_matches_the_map() {
    let mut unknown = Vec::new();
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        // Build and run output is not part of the repository.
        let left = ["target", "wirelab-runs"].contains(&name.as_str());
        if !name.starts_with('.') && !left && !TOP_LEVEL.contains(&name.as_str()) {
            unknown.push(name);
        }
    }
    assert!(unknown.is_empty(), "not in the map of the top level: {unknown:?}");
    for name in TOP_LEVEL {
        assert!(root().join(name).exists(), "{name} is missing");
    }
}

#[test]
fn the_scanner_sees_code_and_nothing_else() {
    let text =
        "let a = \"crate::x // no\"; // crate::y\nuse crate::{wire::Z, path};\n'\"'; crate::sys;";
    let code = code(text);
    assert_eq!(code.lines().count(), 3);
    let used: Vec<String> = modules_used(&code, "crate::").into_iter().map(|(_, u)| u).collect();
    assert_eq!(used, ["wire", "path", "sys"]);
    let raw = "r#\"unsafe \" \"# ; b'\\'' ; 'x' ; &'a str";
    assert!(!crate::tidy::code(raw).contains("unsafe") && crate::tidy::code(raw).contains("&'a"));
    let function =
        "fn a() {\n    b();\n}\nfn c() {}\nconst fn d(\n    e: u8,\n) -> u8 {\n    e\n}\n";
    assert_eq!(functions(function), [(0, 3), (3, 1), (4, 5)]);
}
