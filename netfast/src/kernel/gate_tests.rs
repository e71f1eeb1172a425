//! The verifier's effort, compared with the table in `docs/verifier.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs};

use aya::programs::ProgramInfo;

use super::object;
use super::testing::loaded;

/// No program may cost more, whatever the table says.
const CEILING: u32 = 100_000;
/// By how much any program may grow: a quarter of little is nothing.
const SLACK: u32 = 1000;
/// The kernel of the table's counts.
const KERNEL: &str = "6.18";

/// The table as it was when this was compiled: another kernel's machine has the test, but not the file.
const TABLE: &str = include_str!("../../../docs/verifier.md");

fn table() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/verifier.md")
}

/// Most instructions that a program may cost of which `recorded` are known.
fn ceiling(recorded: u32) -> u32 {
    (recorded + SLACK.max(recorded / 4)).min(CEILING)
}

/// The recorded count of each program.
fn read(text: &str) -> BTreeMap<String, u32> {
    text.lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|line| {
            let mut cells = line.split('|').map(str::trim);
            let name = cells.next().unwrap().trim_end_matches('`').to_owned();
            (name, cells.next().unwrap().replace(',', "").parse().unwrap())
        })
        .collect()
}

/// The number with a comma before each three digits.
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The text with these counts in its table.
fn written(text: &str, counts: &BTreeMap<String, u32>) -> String {
    let mut text: String = text
        .lines()
        .filter(|line| !line.starts_with("| `"))
        .fold(String::new(), |text, line| text + line + "\n");
    for (name, count) in counts {
        writeln!(text, "| `{name}` | {} | {} |", grouped(*count), grouped(ceiling(*count))).unwrap();
    }
    text
}

/// What is wrong with the counts.
fn complaints(
    recorded: &BTreeMap<String, u32>,
    counts: &BTreeMap<String, u32>,
    is_same_kernel: bool,
) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, count) in counts {
        let count = *count;
        let Some(recorded) = recorded.get(name).copied() else {
            complaints.push(format!("{name} is not in the table"));
            continue;
        };
        if count > CEILING {
            complaints.push(format!("{name} costs {count} instructions: more than {CEILING}"));
        } else if is_same_kernel && count > ceiling(recorded) {
            complaints.push(format!(
                "{name} costs {count} instructions: the table says {recorded}, and allows {}",
                ceiling(recorded)
            ));
        }
    }
    let gone = recorded.keys().filter(|name| !counts.contains_key(*name));
    complaints.extend(gone.map(|name| format!("{name} is in the table, but is no program")));
    complaints
}

#[test]
fn the_verifier_is_not_asked_for_much_more_than_before() {
    if cfg!(feature = "log") {
        eprintln!("skipped: programs that log cost more");
        return;
    }
    loaded(|_, datapath| {
        let mut counts = BTreeMap::new();
        for name in object::programs() {
            let info = ProgramInfo::from_pin(datapath.pins.program(name)).unwrap();
            let Some(count) = info.verified_instruction_count() else {
                eprintln!("skipped: kernels before Linux 5.16 do not tell");
                return;
            };
            counts.insert(name.to_owned(), count);
        }
        let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
        let is_same_kernel = release.split('.').take(2).collect::<Vec<_>>().join(".") == KERNEL;
        let text = TABLE;
        if env::var_os("NETFAST_UPDATE_VERIFIER_TABLE").is_some() {
            assert!(is_same_kernel, "the table is of Linux {KERNEL}, this is {release}");
            fs::write(table(), written(text, &counts)).unwrap();
            return;
        }
        let complaints = complaints(&read(text), &counts, is_same_kernel);
        assert!(
            complaints.is_empty(),
            "{}\n\nIf that is meant: NETFAST_UPDATE_VERIFIER_TABLE=1 cargo test -p netfast gate_tests",
            complaints.join("\n"),
        );
    });
}

#[test]
fn what_costs_too_much_is_told() {
    let counts = |count| BTreeMap::from([("a".to_owned(), count)]);
    let text = written("# Title\n| `old` | 1 | 1 |\n", &counts(40_000));
    assert_eq!(text, "# Title\n| `a` | 40,000 | 50,000 |\n");
    let recorded = read(&text);
    assert_eq!(complaints(&recorded, &counts(50_000), true), [""; 0]);
    assert_eq!(
        complaints(&recorded, &counts(50_001), true),
        ["a costs 50001 instructions: the table says 40000, and allows 50000"]
    );
    assert_eq!(complaints(&recorded, &counts(50_001), false), [""; 0], "other kernels prune differently");
    assert_eq!(
        complaints(&counts(99_000), &counts(100_001), false),
        ["a costs 100001 instructions: more than 100000"]
    );
    assert_eq!(complaints(&BTreeMap::new(), &counts(1), true), ["a is not in the table"]);
    assert_eq!(complaints(&recorded, &BTreeMap::new(), true), ["a is in the table, but is no program"]);
}
