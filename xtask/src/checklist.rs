//! Sees that `docs/checklist.md` names tests that exist, and for each line one.

use std::fs;
use std::path::PathBuf;

use crate::workspace::root;

/// What is wrong with the checklist, a line each; and how many lines and names were looked at.
fn complaints(text: &str, exists: impl Fn(&str) -> bool) -> (Vec<String>, usize, usize) {
    let (mut complaints, mut rows, mut names) = (Vec::new(), 0, 0);
    for line in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| --")) {
        let columns: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [what, shown] = columns[..] else {
            complaints.push(format!("not two cells: {line}"));
            continue;
        };
        if what == "What holds" {
            continue;
        }
        rows += 1;
        let tests: Vec<_> = shown.split('`').skip(1).step_by(2).collect();
        if tests.is_empty() {
            complaints.push(format!("shown by no test: {what}"));
        }
        names += tests.len();
        let missing = tests.iter().filter(|name| !exists(name));
        complaints.extend(missing.map(|name| format!("{name} does not exist: {what}")));
    }
    (complaints, rows, names)
}

/// Where the tests of `package/module` may be.
fn files(package: &str, module: &str) -> [PathBuf; 4] {
    let package = root().join(package);
    [
        package.join(format!("tests/{module}.rs")),
        package.join(format!("src/testing/{module}.rs")),
        package.join(format!("src/{module}.rs")),
        package.join(format!("src/{module}/mod.rs")),
    ]
}

/// Whether there is a test of this name, as `package/module::function`.
fn is_test(name: &str) -> bool {
    let Some((file, function)) = name.split_once("::") else { return false };
    let Some((package, module)) = file.split_once('/') else { return false };
    let sources = files(package, module).into_iter().filter_map(|file| fs::read_to_string(file).ok());
    sources.into_iter().any(|source| has_test(&source, function))
}

/// Whether a source has a function of this name with `#[test]` before it.
fn has_test(source: &str, function: &str) -> bool {
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if line == "#[test]" {
            is_test = true;
        } else if let Some(rest) = line.strip_prefix("fn ") {
            if is_test && rest.strip_prefix(function).is_some_and(|rest| rest.starts_with('(')) {
                return true;
            }
            is_test = false;
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            is_test = false;
        }
    }
    false
}

#[test]
fn each_line_of_the_checklist_names_tests_that_exist() {
    let text = fs::read_to_string(root().join("docs/checklist.md")).unwrap();
    let (complaints, rows, names) = complaints(&text, is_test);
    assert!(complaints.is_empty(), "docs/checklist.md:\n{}", complaints.join("\n"));
    assert!(rows > 50 && names > 100, "only {rows} lines and {names} tests were read");
}

#[test]
fn lines_without_tests_and_tests_that_do_not_exist_are_found() {
    let text = "| What holds | Shown by |\n| --- | --- |\n| a | `x/y::z` |\n| b | nothing |\n| c | `x/y::w`, `x/y::z` |\n| d |\n";
    let (complaints, rows, names) = complaints(text, |name| name.ends_with('z'));
    assert_eq!(complaints, ["shown by no test: b", "x/y::w does not exist: c", "not two cells: | d |"]);
    assert_eq!((rows, names), (3, 3));
    let source = "#[test]\n#[ignore]\nfn tested() {}\nfn helper() {}\n#[test]\n\nfn apart() {}\n";
    assert!(has_test(source, "tested") && !has_test(source, "helper") && !has_test(source, "test"));
}
