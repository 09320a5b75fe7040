//! Run artefacts: the page, the result, the replayed records.

use dns_walk::demo::FAULTS;
use dns_walk::report::{read_events, result_schema, without_messages};
use serde_json::Value;
use wirelab_tests::lab::Lab;
use wirelab_tests::page::{assert_offline, browse, data, drawn};

/// The page of a walk of the broken hierarchy, with everything that a page can have.
fn broken(lab: &Lab) -> String {
    let out = lab.run("www.igbank.com --demo broken --sim --check --warm --seed 7 --out run");
    assert_eq!(out.code, 0, "{}", out.stderr);
    assert!(out.stderr.contains("left run/"), "{}", out.stderr);
    std::fs::read_to_string(lab.folder.join("run/report.html")).unwrap()
}

#[test]
fn the_page_of_every_fault_is_whole_offline_and_safe() {
    let lab = Lab::new("dns-walk");
    for (at, fault) in FAULTS.iter().enumerate() {
        let args = format!("{} --demo broken --sim --all --seed 3 --out run{at}", fault.ask);
        let out = lab.run(&args);
        assert!([0, 1, 3, 5].contains(&out.code), "{args}: {}", out.stderr);
        let html = std::fs::read_to_string(lab.folder.join(format!("run{at}/report.html")));
        let html = html.unwrap();
        assert_offline(&html, &args);
        let drawn = drawn(&html);
        assert_eq!(drawn.matches("<svg").count(), 3, "{args}");
        assert_eq!(drawn.matches("</svg>").count(), 3, "{args}");
        if let Some(code) = fault.code {
            assert!(html.contains(&format!("\"code\":\"{code}\"")), "{args}: {code}");
        }
    }
}

#[test]
fn the_result_is_as_its_schema_says_and_the_records_tell_the_same_again() {
    let lab = Lab::new("dns-walk");
    let html = broken(&lab);
    let read = |name: &str| std::fs::read_to_string(lab.folder.join("run").join(name)).unwrap();
    let schema = jsonschema::validator_for(&result_schema().unwrap()).unwrap();
    let result: Value = serde_json::from_str(&read("result.json")).unwrap();
    let wrong: Vec<String> =
        schema.iter_errors(&result).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert_eq!(wrong, Vec::<String>::new());
    for (pointer, name) in [("", "surprise"), ("/walks/0", "surprise"), ("/walks/0", "type")] {
        let mut more = result.clone();
        more.pointer_mut(pointer).unwrap()[name] = "start".into();
        assert!(!schema.is_valid(&more), "{pointer}/{name} must not pass");
    }
    let data = data(&html);
    assert_eq!(data["result"], result);
    let mut walks = read_events(&read("events.ndjson")).unwrap();
    // The page leaves the messages themselves to the file.
    without_messages(&mut walks);
    assert_eq!(data["walks"], serde_json::to_value(&walks).unwrap());
    // Every view of the saved walk is that of the walk itself.
    for view in ["", "--explain", "--waterfall", "--sequence", "--json"] {
        let live = "www.igbank.com --demo broken --sim --check --warm --seed 7 --no-report";
        let live = lab.run(&format!("{live} {view}"));
        for again in ["show run", "--replay run/events.ndjson"] {
            let again = lab.run(&format!("{again} {view}"));
            assert_eq!((again.code, &again.stdout), (live.code, &live.stdout), "{view}");
        }
    }
    assert!(!lab.folder.join("wirelab-runs").exists(), "--no-report and show leave nothing");
}

#[test]
fn a_file_that_is_no_walk_is_named_by_its_line() {
    let lab = Lab::new("dns-walk");
    broken(&lab);
    let whole = std::fs::read_to_string(lab.folder.join("run/events.ndjson")).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    for (text, part) in [
        (String::new(), "got an empty file"),
        (lines[1].to_owned(), "type \"start\""),
        (lines[..3].join("\n"), "walk 1 has no summary"),
        (format!("{}\n\n{{}}", lines[0]), "line 3: expected one record"),
        (lines[0].replacen("\"v\":1", "\"v\":9", 1), "got version 9"),
    ] {
        let error = read_events(&text).unwrap_err().to_string();
        assert!(error.contains(part), "expected {part:?}: {error}");
    }
}

#[test]
fn every_server_of_every_level_has_its_share() {
    let lab = Lab::new("dns-walk");
    let args = "www.igbank.com --demo broken --sim --all --seed 7 --out run";
    let out = lab.run(args);
    assert_eq!(out.code, 0, "{}", out.stderr);
    let has = |words: [&str; 2]| {
        out.stdout.lines().any(|line| words.iter().all(|word| line.contains(word)))
    };
    // Three servers as likely: the one that works, the one that refuses, the dead one.
    for server in ["ns1.igbank.com.", "ns.hoster.net.", "ns2.igbank.com."] {
        assert!(has(["33.3333 %", &format!("at igbank.com., {server}")]), "{}", out.stdout);
    }
    assert!(has(["100 %", "answer at cdn.net., ns.hoster.net."]), "{}", out.stdout);
    // Six levels of 2 ms of virtual time each.
    assert!(out.stdout.contains("cold best path  12.0 ms"), "{}", out.stdout);
    let html = std::fs::read_to_string(lab.folder.join("run/report.html")).unwrap();
    assert!(html.contains("cold best path  12.0 ms"));
    assert_eq!(lab.run("show run").stdout, out.stdout);
}

#[test]
fn the_sequence_shows_what_was_lost() {
    let lab = Lab::new("dns-walk");
    let out = lab.run("www.silent.com --demo broken --sim --seed 1 --sequence --no-report");
    assert_eq!(out.code, 5, "{}", out.stderr);
    let heads: Vec<&str> = out.stdout.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heads, ["walk", ".", "com.", "silent.com."]);
    let lost = out.stdout.lines().filter(|line| line.contains("| x") && line.contains("no reply"));
    assert_eq!(lost.count(), 5, "{}", out.stdout);
}

#[test]
fn a_real_browser_shows_the_walk_and_runs_no_script() {
    let html = broken(&Lab::new("dns-walk"));
    let Some(dom) = browse(&html, "the page of a walk in a real browser") else { return };
    // The warm walk sent nothing: it has its sequence, and no bars and no zones.
    assert_eq!(dom.matches("<figure").count(), 3 + 1, "every drawing is there");
    assert!(dom.contains("What this page does not show"));
}

#[test]
fn no_text_of_a_saved_walk_becomes_markup() {
    const EVIL: &str = "x\"'><script>document.documentElement.id='ran'</script>";
    let lab = Lab::new("dns-walk");
    broken(&lab);
    let saved = lab.folder.join("run/events.ndjson");
    let mut hostile = String::new();
    for line in std::fs::read_to_string(&saved).unwrap().lines() {
        let mut record: Value = serde_json::from_str(line).unwrap();
        for name in ["flags", "rcode", "transport", "zone", "unicode", "skipped"] {
            match record.get_mut(name) {
                Some(Value::Array(all)) => all.push(EVIL.into()),
                Some(Value::String(text)) if name != "transport" => *text = EVIL.to_owned(),
                _ => {}
            }
        }
        for pointer in ["/server/name", "/sent/name", "/meant/name", "/learned/0/record/data"] {
            if let Some(text) = record.pointer_mut(pointer) {
                *text = EVIL.into();
            }
        }
        hostile += &format!("{record}\n");
    }
    std::fs::write(&saved, hostile).unwrap();
    let out = lab.run("show run --out again");
    assert!([0, 1, 3, 5].contains(&out.code), "{}", out.stderr);
    let html = std::fs::read_to_string(lab.folder.join("again/report.html")).unwrap();
    assert!(drawn(&html).matches("&lt;script&gt;").count() > 20, "the texts are shown");
    assert_offline(&html, "a hostile walk");
    let dom = browse(&html, "a hostile walk in a real browser");
    assert!(dom.is_none_or(|dom| !dom.contains("id=\"ran\"")));
}
