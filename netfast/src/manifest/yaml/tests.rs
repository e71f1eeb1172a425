use std::fmt::Write;

use super::*;

/// Reads a text and prints it as one line, with the places of its scalars, or the complaints.
fn read(text: &str) -> String {
    let mut report = Report::new("f", text);
    let documents = parse(text, &mut report);
    let found = report.finish();
    if !found.is_empty() {
        return found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    }
    documents.unwrap().iter().map(print).collect::<Vec<_>>().join(" | ")
}

fn print(node: &Node) -> String {
    match &node.value {
        Value::Scalar { text, plain } => {
            let text = if *plain { text.clone() } else { format!("{text:?}") };
            format!("{text}@{}:{}", node.at.line, node.at.column)
        }
        Value::List(items) => format!("[{}]", items.iter().map(print).collect::<Vec<_>>().join(", ")),
        Value::Map(entries) => {
            let entry =
                |e: &Entry| format!("{}@{}:{} {}", e.key, e.key_at.line, e.key_at.column, print(&e.value));
            format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

#[test]
fn nodes_know_their_places() {
    assert_eq!(read("a: 1\nb:\n- 'x'\n- !!str 2\n"), "{a@1:1 1@1:4, b@2:1 [\"x\"@3:3, \"2\"@4:9]}");
    assert_eq!(read("ä: {b: c}\r\nd: e\r\n"), "{ä@1:1 {b@1:5 c@1:8}, d@2:1 e@2:4}");
    assert_eq!(read("a\n---\nb\n"), "a@1:1 | b@3:1");
}

#[test]
fn an_alias_stands_where_its_anchor_does() {
    assert_eq!(read("a: &x [1]\nb: *x\n"), "{a@1:1 [1@1:8], b@2:1 [1@1:8]}");
}

#[test]
fn bombs_are_bounded() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..=30 {
        let last = level - 1;
        writeln!(
            text,
            "a{level}: &a{level} [*a{last}, *a{last}, *a{last}, *a{last}, *a{last}, *a{last}, *a{last}]"
        )
        .unwrap();
    }
    assert!(read(&text).ends_with("the aliases stand for too much (write the values out)"));

    let mut deep = "a0: &a0 [x]\n".to_owned();
    for level in 1..=200 {
        writeln!(deep, "a{level}: &a{level} [*a{}]", level - 1).unwrap();
    }
    assert!(read(&deep).ends_with("the aliases stand for too much (write the values out)"));

    assert_eq!(read("a: &a [*a]\n"), "f:1:8: an alias inside of what it stands for");
    assert_eq!(read(&"[".repeat(100_000)), "f:1:65: nested too deep");
    assert!(read(&"- ".repeat(100_000)).ends_with("nested too deep"));
    let anchors = "&a [".repeat(60);
    let body = "x, ".repeat(50_000);
    assert!(read(&format!("{anchors}{body}{}", "]".repeat(60))).ends_with("(write the values out)"));
}

#[test]
fn hostile_texts_do_not_panic() {
    for text in [
        "\0",
        "\u{feff}\u{feff}",
        "{",
        "}",
        "]",
        "- - -",
        "? ",
        ":",
        "&",
        "*",
        "!",
        "!!",
        "|",
        ">",
        "%",
        "@",
        "`",
        "'",
        "\"",
        "\u{85}",
        "--- ---",
        "...",
        "&a &b c",
        "!<",
        "key: |\n\tx",
        "%YAML 9.9\n---\n",
    ] {
        read(text);
        read(&format!("a: {text}"));
        read(&format!("- {text}\n  {text}"));
    }
}

#[test]
fn complaints_are_bounded() {
    let text = "a: 1\n".repeat(5000);
    let mut report = Report::new("f", &text);
    parse(&text, &mut report);
    let found = report.finish();
    assert_eq!(found.len(), 1001);
    assert_eq!(found.last().unwrap().to_string(), "f: 4999 errors, of which 1000 are shown");
}
