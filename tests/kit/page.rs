//! Helpers for tests of pages, captures and schemas: a scratch folder, real tools, a browser.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use wirelab::report::page::CSP;

/// The part of a page before its data.
#[must_use]
pub fn drawn(html: &str) -> &str {
    html.split("<script").next().unwrap()
}

/// The data at the end of a page.
#[must_use]
pub fn data(html: &str) -> Value {
    let data = html.split("id=\"result\">").nth(1).unwrap().split("</script>").next().unwrap();
    serde_json::from_str(data).unwrap()
}

/// Checks that a page has no external reference and no script.
pub fn assert_offline(html: &str, what: &str) {
    assert!(html.contains(&format!("content=\"{CSP}\"")), "{what}");
    for attribute in ["src", "action", "poster", "data", "style"] {
        assert_eq!(attributes(html, attribute), Vec::<&str>::new(), "{what}: {attribute}");
    }
    for link in attributes(html, "href") {
        let id = link.strip_prefix('#').unwrap_or_else(|| panic!("{what}: a link to {link}"));
        assert!(attributes(html, "id").contains(&id), "{what}: nothing is called {id}");
    }
    assert!(!html.contains("@import") && !html.contains("url("), "{what}");
    assert_eq!(html.matches("<script").count(), 1, "{what}: the data, and no script");
    assert_eq!(html.matches("</script>").count(), 1, "{what}");
    assert!(!drawn(html).contains("NaN"), "{what}");
}

/// Values of an attribute.
fn attributes<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
    let start = format!(" {name}=\"");
    html.split(&start).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

/// A page's document as loaded by a browser; `None` without a browser.
///
/// The page must load without errors and be drawn, and a script inserted into it must not run.
#[must_use]
pub fn browse(html: &str, what: &str) -> Option<String> {
    let program = tool(&["chromium", "chromium-browser", "google-chrome"], what)?;
    let scratch = Scratch::new(&what.replace(' ', "-"));
    let file = scratch.file("report.html");
    std::fs::write(&file, html).unwrap();
    let url = format!("file://{}", file.display());
    let output = chromium(&program, &scratch.file("dump"), &["--dump-dom", &url]);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    assert!(!complaints.contains("CONSOLE"), "{complaints}");
    let document = String::from_utf8_lossy(&output.stdout).into_owned();
    let picture = scratch.file("report.png");
    let shot = format!("--screenshot={}", picture.display());
    let size = "--window-size=1200,2400";
    let output = chromium(&program, &scratch.file("shot"), &[size, &shot, &url]);
    let png = std::fs::read(&picture).unwrap_or_default();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(png.starts_with(b"\x89PNG") && png.len() > 100_000, "no picture: {errors}");
    assert_no_script_runs(&program, &scratch, html);
    assert_fits(&program, &scratch, &url);
    Some(document)
}

/// Checks that a page is no wider than a telephone's screen. A window is never that narrow, so the
/// page is shown in a frame.
fn assert_fits(program: &Path, scratch: &Scratch, url: &str) {
    const WIDTH: u32 = 400;
    let frame = format!(
        "<iframe id=page width={WIDTH} height=3000 src=\"{url}\"></iframe><script>\
         page.onload = () => {{ const shown = page.contentDocument.documentElement;\
         document.title = `beyond ${{shown.scrollWidth - shown.clientWidth}}`; }}</script>"
    );
    let file = scratch.file("frame.html");
    std::fs::write(&file, frame).unwrap();
    let own = format!("file://{}", file.display());
    let arguments =
        ["--allow-file-access-from-files", "--virtual-time-budget=5000", "--dump-dom", &own];
    let output = chromium(program, &scratch.file("narrow"), &arguments);
    let document = String::from_utf8_lossy(&output.stdout);
    let first = document.lines().next().unwrap_or_default();
    assert!(first.contains("<title>beyond 0</title>"), "wider than {WIDTH} px: {first}");
}

/// Inserts scripts as an attacker would, and checks that they are blocked.
fn assert_no_script_runs(program: &Path, scratch: &Scratch, html: &str) {
    const MARK: &str = "a-script-was-here";
    let run = format!("document.documentElement.id='{MARK}'");
    let attacks = [
        format!("<script>{run}</script>"),
        format!("<b onclick=\"{run}\" id=\"b\"></b><script>document.all.b.click()</script>"),
        format!("<details open ontoggle=\"{run}\">x</details>"),
        format!("<script src=\"data:text/javascript,{run}\"></script>"),
    ];
    let open = |html: &str, name: &str| {
        let file = scratch.file(&format!("{name}.html"));
        std::fs::write(&file, html).unwrap();
        let url = format!("file://{}", file.display());
        chromium(program, &scratch.file(name), &["--dump-dom", &url])
    };
    let marked = format!("<html lang=\"en\" id=\"{MARK}\">");
    let infected = html.replacen("<main>", &format!("{}<main>", attacks.concat()), 1);
    let output = open(&infected, "infected");
    let document = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(document.contains("ontoggle"), "the attack is in the page: {complaints}");
    assert!(!document.contains(&marked), "a script ran");
    assert!(complaints.contains("Content Security Policy"), "{complaints}");
    // Without its policy the same page runs them: the attack works.
    let output = open(&infected.replacen(CSP, "", 1), "bare");
    let document = String::from_utf8_lossy(&output.stdout);
    assert!(document.contains(&marked), "no attack: {}", String::from_utf8_lossy(&output.stderr));
}

/// A test's folder, removed on drop.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one for this test.
    #[must_use]
    pub fn new(test: &str) -> Self {
        let name = format!("wirelab-{test}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// A file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A browser may still be closing its profile: leftovers stay in the temporary folder.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program's path, or a line that says what was skipped; `tests/run` collects those lines.
#[expect(clippy::print_stdout, reason = "the harness shows what a test prints with --show-output")]
#[must_use]
pub fn tool(names: &[&str], what: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&paths).flat_map(|p| names.iter().map(move |n| p.join(n)));
    let found = places.into_iter().find(|place| place.is_file());
    if found.is_none() {
        println!("skipped: {what}, because {} is not installed", names[0]);
    }
    found
}

/// Runs headless Chromium with these arguments.
#[must_use]
pub fn chromium(program: &Path, profile: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"]);
    command.args(["--no-first-run", "--disable-background-networking", "--disable-sync"]);
    command.args(["--disable-component-update", "--enable-logging=stderr", "--v=0"]);
    command.arg(format!("--user-data-dir={}", profile.display()));
    command.args(arguments).output().unwrap()
}

/// Violations of the schema.
#[must_use]
pub fn violations(schema: &str, value: &Value) -> Vec<String> {
    let schema: Value = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect()
}
