//! What `clock-offset` leaves: the run folder, its replay, its page, and clocks that are moved.
//!
//! `PAGE_TO=FILE` keeps a page, to look at it.

use serde_json::Value;
use wirelab_tests::lab::{Lab, Output};
use wirelab_tests::page::{assert_offline, browse, data, drawn};

fn lab() -> Lab {
    Lab::new("clock-offset")
}

fn read(lab: &Lab, file: &str) -> String {
    std::fs::read_to_string(lab.folder.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

fn result(lab: &Lab, flags: &str) -> Value {
    let out = lab.run(&format!("--sim --seed 3 --requests 40 --json --no-report {flags}"));
    serde_json::from_str(&out.stdout).unwrap_or_else(|e| panic!("{flags}: {e} {}", out.stderr))
}

#[test]
fn a_run_is_left_shown_and_replayed() {
    let lab = lab();
    let first = lab.run("--sim --seed 4 --loss 20% --requests 30");
    assert_eq!(first.code, 0, "{}", first.stderr);
    let folder = "wirelab-runs/latest-clock-offset";
    for file in ["manifest.json", "result.json", "samples.ndjson", "events.ndjson", "report.html"] {
        let named = file == "manifest.json" || first.stderr.contains(file);
        assert!(named, "{file} is not named:\n{}", first.stderr);
        assert!(!read(&lab, &format!("{folder}/{file}")).is_empty(), "{file}");
    }
    // What is shown is what was said.
    let shown = lab.run("show latest");
    assert_eq!((shown.code, shown.stderr.as_str()), (0, ""));
    assert_eq!(first.stdout, shown.stdout);
    let json = lab.run("show latest --json").stdout;
    assert_eq!(json.trim(), read(&lab, &format!("{folder}/result.json")).trim());
    let found: Value = serde_json::from_str(&json).unwrap();
    let replayed = lab.run(&format!("--from {folder} --json --no-report"));
    let replayed: Value = serde_json::from_str(&replayed.stdout).unwrap();
    assert_eq!(replayed["together"], found["together"]);
    assert!(!lab.run("--sim --no-report").stderr.contains("wirelab-runs"));
    // A folder that holds something is not written into.
    let Output { code, stderr, .. } = lab.run(&format!("--sim --out {folder}"));
    assert!(code == 2 && stderr.contains("not empty"), "{stderr}");
    let Output { code, stderr, .. } = lab.run("show nowhere");
    assert!(code == 2 && stderr.contains("not the result of a run"), "{stderr}");
    let schema = serde_json::from_str(clock_offset::report::events::schema()).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let (mut samples, mut lost) = (0, 0);
    for line in read(&lab, &format!("{folder}/events.ndjson")).lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        assert!(schema.is_valid(&value), "{line}");
        samples += usize::from(value["type"] == "sample");
        lost += usize::from(value["type"] == "lost");
    }
    let server = &found["servers"][0];
    assert_eq!(samples, server["samples"].as_array().unwrap().len());
    assert_eq!(lost, server["lost"].as_array().unwrap().len());
    assert!(samples > 5 && lost > 5, "{samples} and {lost}");
}

#[test]
fn a_step_a_slew_and_a_smear_look_different() {
    let lab = lab();
    let clocks = |flags: &str| {
        let found = result(&lab, flags);
        assert_eq!(found["checked"]["inside"], true, "{flags}: {}", found["checked"]);
        let clocks = &found["host_clocks"];
        let steps = clocks["steps"].as_array().unwrap().len();
        let slew = clocks["slew_high_ppt"].as_i64().unwrap();
        (steps, slew, found)
    };
    let (steps, slew, still) = clocks("");
    assert_eq!((steps, slew), (0, 0));
    let (steps, slew, set) = clocks("--host-step=-80ms@30s");
    assert_eq!((steps, slew), (1, 0), "a step");
    assert_eq!(set["host_clocks"]["steps"][0]["by_ns"], -80_000_000);
    assert_eq!(set["local_step_ns"], -80_000_000);
    // 2 ms over 40 s are 50 ppm, which the limit allows.
    let (steps, slew, _) = clocks("--drift 0ppm --host-slew 2ms@20s..60s");
    assert!(steps == 0 && (49_000_000..=51_000_000).contains(&slew), "a slew: {slew} ppt");
    let (steps, slew, smeared) = clocks("--drift 0ppm --smear 2ms@20s..60s");
    assert_eq!((steps, slew), (0, 0), "a smear of the server is not of this host");
    let truth = |found: &Value| found["checked"]["offset_ns"].as_i64().unwrap();
    assert_eq!(truth(&smeared), 502_000_000);
    assert!(truth(&set) > truth(&still), "set back, this clock is slower");
    // The rate wanders within the limit: the interval holds, the window is cut.
    for seed in 1..20 {
        let flags = format!("--sim --seed {seed} --requests 60 --interval 16s --wander 0.1ppm");
        let out = lab.run(&format!("{flags} --json --no-report"));
        let found: Value = serde_json::from_str(&out.stdout).unwrap();
        assert_eq!(found["checked"]["inside"], true, "seed {seed}: {}", found["checked"]);
    }
}

#[test]
fn the_page_is_whole_offline_and_drawn_from_the_result() {
    let lab = lab();
    for (index, flags) in [
        "--requests 64 --interval 16s",
        "--requests 1",
        "--loss 100%",
        "--lie 500ms:30% --requests 30",
        "--leap unsynchronized",
        "--requests 40 --host-step 80ms@30s",
        "--offset=-300000000s --requests 3",
    ]
    .into_iter()
    .enumerate()
    {
        let out = lab.run(&format!("--sim --seed 3 --out run{index} {flags}"));
        assert!([0, 3, 5].contains(&out.code), "{flags}: {}", out.stderr);
        let html = read(&lab, &format!("run{index}/report.html"));
        if let Some(file) = std::env::var_os("PAGE_TO").filter(|_| index == 0) {
            std::fs::write(file, &html).unwrap();
        }
        assert_offline(&html, flags);
        let drawn = drawn(&html);
        for svg in drawn.split("<svg").skip(1) {
            let svg = svg.split("</svg>").next().unwrap();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{flags}: {svg}");
        }
        let data = data(&html);
        let result = read(&lab, &format!("run{index}/result.json"));
        assert_eq!(data, serde_json::from_str::<Value>(&result).unwrap(), "{flags}");
        let points = data["servers"][0]["picture"]["points"].as_array().unwrap().len();
        assert_eq!(points, data["servers"][0]["samples"].as_array().unwrap().len(), "{flags}");
        // Each sample once in the wedge and among the offsets, twice in the clouds.
        let markers = drawn.matches("<title>request ").count();
        assert_eq!(markers, 4 * points, "{flags}");
    }
}

#[test]
fn the_page_shows_both_stamps_and_both_modes_side_by_side() {
    let lab = lab();
    let stamps = "Stamps of program and kernel, side by side";
    let page = |flags: &str| {
        let out = lab.run(&format!("--demo --seed 2 {flags}"));
        assert_eq!(out.code, 0, "{flags}: {}{}", out.stdout, out.stderr);
        let html = read(&lab, "wirelab-runs/latest-clock-offset/report.html");
        let result = read(&lab, "wirelab-runs/latest-clock-offset/result.json");
        let result: Value = serde_json::from_str(&result).unwrap();
        (html.split("<script").next().unwrap().to_owned(), result["servers"][0].clone(), out.stdout)
    };
    let (html, server, text) = page("--interleaved");
    let samples = server["samples"].as_array().unwrap();
    let told = samples.iter().filter(|sample| sample["interleaved"] == true).count();
    assert!(told > 0 && told < samples.len(), "{server:#}");
    let count = |what: &str| server["stamps"][what]["count"].as_u64().unwrap_or(0);
    let modes = [count("interleaved_delay"), count("basic_delay")];
    assert_eq!(modes, [told as u64, (samples.len() - told) as u64], "{server:#}");
    // What the table says is computed here again, from the samples.
    let mut sending: Vec<i64> = samples
        .iter()
        .filter_map(|s| Some(s["t1"]["wall_ns"].as_i64()? - s["t1_user_ns"].as_i64()?))
        .collect();
    sending.sort_unstable();
    let found = &server["stamps"]["sending"];
    assert_eq!(sending.first(), found["least_ns"].as_i64().as_ref(), "{found}");
    assert_eq!(sending.last(), found["most_ns"].as_i64().as_ref(), "{found}");
    assert!(sending[0] >= 0 && sending.len() == told, "{samples:#?}");
    // The second exchange was reported in both modes, and read once.
    let mut asked: Vec<_> = samples.iter().map(|sample| sample["request"].as_u64()).collect();
    asked.dedup();
    assert_eq!(count("reading"), asked.len() as u64, "{server:#}");
    for part in [stamps, "T1: program", "T4: kernel", "delay in basic mode", "delay with both"] {
        assert!(html.contains(part), "no {part:?} in the page");
    }
    // In the wedge and among the offsets each, as a shape of its own.
    assert_eq!(html.matches(", interleaved: ").count(), 2 * told);
    assert!(html.contains("Diamonds: exchanges with both times of leaving"));
    for part in ["T1 by the kernel is", "after this program's", "T4 by the kernel is"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let (html, server, text) = page("--requests 3");
    assert!(html.contains(stamps) && !html.contains("interleaved: "));
    assert_eq!(server["stamps"]["sending"], Value::Null);
    assert!(!text.contains("T4 by the kernel is"), "only -v says it: {text}");
    // From ten minutes on the words tell of stability too, where more is wanted.
    let long = lab.run("--sim --seed 2 --requests 64 --interval 16s --no-report -v").stdout;
    assert!(long.contains("Allan deviation: least over"), "{long}");
    let short = lab.run("--sim --seed 2 --no-report -v").stdout;
    assert!(short.contains("no Allan deviation: it takes 32 samples over 10 min"), "{short}");
    // Virtual time has no kernel.
    lab.run("--sim --seed 2 --out sim");
    assert!(!read(&lab, "sim/report.html").contains(stamps));
}

#[test]
fn a_real_browser_shows_the_page_and_runs_no_script() {
    let lab = lab();
    lab.run("--sim --seed 3 --requests 64 --interval 16s --out run");
    let html = read(&lab, "run/report.html");
    let Some(dom) = browse(&html, "the page of clock-offset in a real browser") else { return };
    assert_eq!(dom.matches("<figure>").count(), 3 + 3 + 1, "every drawing is there");
    assert!(dom.contains("What this run cannot tell"));
}
