//! Help and page of bank-tcp. `tests/bank_labs.rs` runs servers and clients.

use wirelab_tests::bank::check_page;
use wirelab_tests::lab::Lab;

#[test]
fn help_opens_with_examples_and_every_subcommand_has_its_own() {
    let lab = Lab::new("bank-tcp");
    let help = lab.run("--help");
    assert_eq!(help.code, 0, "{}", help.stderr);
    assert!(help.stdout.starts_with("Examples:"), "{}", help.stdout);
    for subcommand in ["serve", "call", "load"] {
        assert!(help.stdout.contains(&format!("bank-tcp {subcommand}")), "{}", help.stdout);
        let own = lab.run(&format!("{subcommand} --help"));
        assert_eq!(own.code, 0, "{subcommand}: {}", own.stderr);
        assert!(own.stdout.starts_with("Examples:"), "{subcommand}: {}", own.stdout);
        assert!(own.stdout.lines().count() <= 60, "{subcommand}: {}", own.stdout);
        assert!(own.stdout.contains("Usage: bank-tcp"), "{subcommand}: {}", own.stdout);
    }
}

#[test]
fn the_page_shows_what_its_commands_print() {
    check_page("bank-tcp", include_str!("../README.md"));
}
