//! YAML text to nodes with places, in bounded time and memory.

mod cursor;
mod fields;
mod named;
mod node;
mod report;
mod synonyms;
mod syntax;

use std::collections::BTreeMap;

use granit_parser::{Event, Marker, Parser, ScalarStyle, Tag};

pub(super) use self::cursor::Cursor;
pub(super) use self::fields::{Fields, Hint};
pub(super) use self::named::{Named, named};
pub(super) use self::node::{Entry, Node, Plain, Pos, Value};
pub(super) use self::report::{Report, show};
pub(super) use crate::model::suggest::suggest;

/// Deeper nesting has no use, and readers recurse.
const MAX_DEPTH: usize = 64;

/// Bytes that anchors may hold and aliases repeat, all of a file's together: a bomb doubles them in every line.
const MAX_ALIASED: usize = 16 << 20;

/// What a node weighs besides its text.
const NODE_WEIGHT: usize = 64;

/// So many documents of a file may be broken; after that, the rest of it is not read.
const MAX_BROKEN: usize = 50;

/// Reads the documents of a file; `None` where it is not YAML, which `report` then says.
pub(super) fn parse(text: &str, report: &mut Report) -> Option<Vec<Node>> {
    parse_each(text, report).into_iter().map(Document::into_node).collect()
}

/// A document of a file.
pub(super) enum Document {
    Whole(Node),
    /// It is not YAML, which was said.
    Broken,
}

impl Document {
    fn into_node(self) -> Option<Node> {
        match self {
            Self::Whole(node) => Some(node),
            Self::Broken => None,
        }
    }
}

/// Reads the documents of a file, each on its own: where one is not YAML, those behind it are read all the same.
pub(super) fn parse_each(text: &str, report: &mut Report) -> Vec<Document> {
    let mut documents = Vec::new();
    let mut aliased = 0;
    let (mut rest, mut skipped) = (text, 0);
    for _ in 0..MAX_BROKEN {
        let mut builder = Builder { aliased, ..Builder::default() };
        let result = builder.read(rest, skipped, report);
        aliased = builder.aliased;
        // What the parser takes for a text of its own is the beginning of what it stumbles over.
        if result.is_err() {
            builder.documents.pop_if(|node| matches!(node.value, Value::Scalar { .. }));
        }
        documents.extend(builder.documents.into_iter().map(Document::Whole));
        let Err(Stop { line }) = result else { break };
        documents.push(Document::Broken);
        match next_document(rest, skipped, line) {
            Some((next, lines)) => (rest, skipped) = (next, lines),
            None => break,
        }
    }
    documents
}

/// The text from the first `---` behind a line on, and how many lines of the file are before it. `text` has `skipped`
/// lines before it itself.
fn next_document(text: &str, skipped: u32, line: u32) -> Option<(&str, u32)> {
    let mut start = 0;
    for (number, content) in (skipped + 1..).zip(text.split_inclusive('\n')) {
        if number > line.max(skipped + 1) && content.starts_with("---") {
            return Some((&text[start..], number - 1));
        }
        start += content.len();
    }
    None
}

fn pos(marker: Marker, skipped: u32) -> Pos {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Pos { line: number(marker.line()).saturating_add(skipped), column: number(marker.col() + 1) }
}

/// Reading cannot go on behind this line; the report says why.
struct Stop {
    line: u32,
}

/// A node with what it costs to repeat it.
#[derive(Clone)]
struct Weighed {
    node: Node,
    weight: usize,
    height: usize,
}

/// A list or mapping that is not closed yet.
struct Open {
    done: Weighed,
    anchor: usize,
    key: Key,
    seen: BTreeMap<String, Pos>,
}

/// The key that waits for its value.
enum Key {
    None,
    Text(String, Pos),
    /// It was complained about: its value is thrown away.
    Refused,
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Weighed>,
    aliased: usize,
}

impl Builder {
    /// Reads documents that have `skipped` lines of their file before them.
    fn read(&mut self, text: &str, skipped: u32, report: &mut Report) -> Result<(), Stop> {
        let options = granit_parser::options! {
            emit_comments: false,
            flow_nesting_limit: MAX_DEPTH,
            block_nesting_limit: MAX_DEPTH,
        };
        for event in Parser::new_from_str_with_options(text, options) {
            match event {
                Ok((event, span)) => self.event(event, pos(span.start, skipped), report)?,
                Err(error) => return Err(syntax::explain(&error, pos(*error.marker(), skipped), report)),
            }
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, at: Pos, report: &mut Report) -> Result<(), Stop> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = is_plain(style, tag.as_deref(), at, report);
                let weight = NODE_WEIGHT + text.len();
                let node = Node { at, value: Value::Scalar { text: text.into_owned(), plain } };
                self.close(Weighed { node, weight, height: 0 }, anchor, report)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), "seq", at, report);
                self.open(Value::List(Vec::new()), anchor, at);
            }
            Event::MappingStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), "map", at, report);
                self.open(Value::Map(Vec::new()), anchor, at);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    self.close(open.done, open.anchor, report)?;
                }
            }
            Event::Alias(anchor) => self.alias(anchor, at, report)?,
            Event::DocumentEnd => self.anchors.clear(),
            _ => {}
        }
        Ok(())
    }

    fn open(&mut self, value: Value, anchor: usize, at: Pos) {
        let done = Weighed { node: Node { at, value }, weight: NODE_WEIGHT, height: 1 };
        self.open.push(Open { done, anchor, key: Key::None, seen: BTreeMap::new() });
    }

    fn alias(&mut self, anchor: usize, at: Pos, report: &mut Report) -> Result<(), Stop> {
        let Some(target) = self.anchors.get(&anchor) else {
            report.error(at, "an alias inside of what it stands for");
            return Err(Stop { line: at.line });
        };
        self.aliased += target.weight;
        if self.aliased > MAX_ALIASED || self.open.len() + target.height > MAX_DEPTH {
            return Err(too_much(at, report));
        }
        let target = target.clone();
        self.close(target, 0, report)
    }

    /// Puts a finished node where it belongs.
    fn close(&mut self, done: Weighed, anchor: usize, report: &mut Report) -> Result<(), Stop> {
        if anchor != 0 {
            self.aliased += done.weight;
            if self.aliased > MAX_ALIASED {
                return Err(too_much(done.node.at, report));
            }
            self.anchors.insert(anchor, done.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            self.documents.push(done.node);
            return Ok(());
        };
        parent.done.weight += done.weight;
        parent.done.height = parent.done.height.max(done.height + 1);
        match &mut parent.done.node.value {
            Value::Scalar { .. } => {}
            Value::List(items) => items.push(done.node),
            Value::Map(entries) => match std::mem::replace(&mut parent.key, Key::None) {
                Key::None => parent.key = key(done.node, &mut parent.seen, report),
                Key::Text(key, key_at) => entries.push(Entry { key, key_at, value: done.node }),
                Key::Refused => {}
            },
        }
        Ok(())
    }
}

fn too_much(at: Pos, report: &mut Report) -> Stop {
    report.error_help(at, "the aliases stand for too much", "write the values out");
    Stop { line: at.line }
}

fn key(node: Node, seen: &mut BTreeMap<String, Pos>, report: &mut Report) -> Key {
    let at = node.at;
    match node.value {
        Value::Scalar { text, plain: true } if text == "<<" => {
            report.error_help(at, "merge keys are not read", "write the fields out");
            Key::Refused
        }
        Value::Scalar { text, plain: true } if is_blank(text.chars().next()) => {
            let message = "a space that is none to YAML, like those of web pages and word processors";
            report.error_help(at, message, "indent with plain spaces");
            Key::Refused
        }
        Value::Scalar { text, .. } => {
            if let Some(first) = seen.get(&text) {
                let message = format!("{} stands here and on line {}", show(&text), first.line);
                report.error_help(at, message, "a mapping takes each key once");
                return Key::Refused;
            }
            seen.insert(text.clone(), at);
            Key::Text(text, at)
        }
        Value::List(_) | Value::Map(_) => {
            report.error_help(at, "a key must be a text", "quote a text that begins with `[` or `{`");
            Key::Refused
        }
    }
}

/// Whether a character looks like a space and is none.
fn is_blank(c: Option<char>) -> bool {
    c.is_some_and(|c| {
        !c.is_ascii() && (c.is_whitespace() || matches!(c, '\u{200b}'..='\u{200d}' | '\u{feff}'))
    })
}

/// Whether a scalar is unquoted; the tag `!!str` quotes too.
fn is_plain(style: ScalarStyle, tag: Option<&Tag>, at: Pos, report: &mut Report) -> bool {
    let Some(tag) = tag else { return style == ScalarStyle::Plain };
    if ["int", "float", "bool", "null"].iter().any(|suffix| tag.is_yaml_core_schema_tag(suffix)) {
        return true;
    }
    check_tag(Some(tag), "str", at, report);
    false
}

fn check_tag(tag: Option<&Tag>, expected: &str, at: Pos, report: &mut Report) {
    if let Some(tag) = tag
        && !tag.is_yaml_core_schema_tag(expected)
    {
        report.error(at, format!("the tag {} is not read", show(&tag.to_string())));
    }
}

#[cfg(test)]
mod tests;
