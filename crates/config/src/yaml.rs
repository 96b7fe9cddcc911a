//! YAML text into a [`Node`] tree. The only file that knows the YAML parser.

use std::collections::HashMap;
use std::sync::Arc;

use granit_parser::{Event, Parser, ScalarStyle, ScanError};

use crate::error::ConfigError;
use crate::node::{Entry, Node, Origin, Style, Value};

/// The most parts a configuration may have, counting what aliases repeat. A thousand hosts stay far below; an alias bomb does not.
const NODES_MAX: usize = 100_000;

/// Reads one document. Mistakes that leave the rest readable go to `errors`.
pub(crate) fn parse(
    text: &str,
    origin: impl Fn(usize) -> Origin,
    errors: &mut Vec<ConfigError>,
) -> Result<Node, ConfigError> {
    let mut builder = Builder {
        origin: &origin,
        errors,
        open: Vec::new(),
        anchors: HashMap::new(),
        root: None,
        nodes: 0,
        documents: 0,
    };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| syntax(&error, &origin))?;
        builder.event(event, span.start.line())?;
    }
    Ok(builder.root.unwrap_or_else(|| Node::empty_map(origin(1))))
}

fn syntax(error: &ScanError, origin: &impl Fn(usize) -> Origin) -> ConfigError {
    let remedy = "check indentation, colons and quotes near this line".to_owned();
    origin(error.marker().line()).error(&[], format!("not valid YAML: {}", error.info()), Some(remedy))
}

/// Puts events together.
struct Builder<'a, F> {
    origin: &'a F,
    errors: &'a mut Vec<ConfigError>,
    open: Vec<Open>,
    anchors: HashMap<usize, Arc<Node>>,
    root: Option<Node>,
    nodes: usize,
    documents: usize,
}

/// A list or map that has not ended.
struct Open {
    node: Node,
    anchor: usize,
    /// In a map: the key that waits for its value.
    key: Option<(String, Origin)>,
}

impl<F: Fn(usize) -> Origin> Builder<'_, F> {
    fn event(&mut self, event: Event<'_>, line: usize) -> Result<(), ConfigError> {
        let origin = (self.origin)(line);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse(tag.is_some(), &origin, "YAML tags (!…) are not supported", "remove the tag")?;
                let style = if style == ScalarStyle::Plain { Style::Plain } else { Style::Quoted };
                let node = Node { value: Value::Scalar { text: text.into_owned(), style }, origin };
                self.complete(node, anchor)?;
            }
            Event::SequenceStart(_, anchor, _) => self.start(Value::List(Vec::new()), origin, anchor),
            Event::MappingStart(_, anchor, _) => self.start(Value::Map(Vec::new()), origin, anchor),
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    self.complete(open.node, open.anchor)?;
                }
            }
            Event::Alias(anchor) => {
                // The parser refuses aliases of anchors that it has not seen; an anchor that is still open is a cycle.
                let target = self.anchors.get(&anchor).map(|node| Node::clone(node));
                self.refuse(target.is_none(), &origin, "this alias contains itself", "write the value out")?;
                if let Some(node) = target {
                    self.nodes += count(&node);
                    self.complete(node, 0)?;
                }
            }
            Event::DocumentStart(..) => {
                self.documents += 1;
                let several = self.documents > 1;
                self.refuse(
                    several,
                    &origin,
                    "a configuration is one YAML document",
                    "remove the line `---`",
                )?;
            }
            _ => {}
        }
        Ok(())
    }

    fn refuse(&self, refused: bool, origin: &Origin, problem: &str, remedy: &str) -> Result<(), ConfigError> {
        if refused { Err(origin.error(&self.path(), problem, Some(remedy.to_owned()))) } else { Ok(()) }
    }

    fn start(&mut self, value: Value, origin: Origin, anchor: usize) {
        self.open.push(Open { node: Node { value, origin }, anchor, key: None });
    }

    /// Takes a finished part to where it belongs.
    fn complete(&mut self, node: Node, anchor: usize) -> Result<(), ConfigError> {
        self.nodes += 1;
        self.refuse(
            self.nodes > NODES_MAX,
            &node.origin,
            "the configuration is too large",
            "check for aliases that repeat one another",
        )?;
        if anchor != 0 {
            self.anchors.insert(anchor, Arc::new(node.clone()));
        }
        let path = self.path();
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut open.node.value, open.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(entries), Some((key, origin))) => {
                if entries.iter().any(|entry| entry.key == key) {
                    let remedy = "remove one of the two".to_owned();
                    self.errors.push(origin.error(&path, "this key was given before", Some(remedy)));
                } else {
                    entries.push(Entry { key, origin, node });
                }
            }
            (_, None) => match node.value {
                Value::Scalar { text, .. } => open.key = Some((text, node.origin)),
                _ => {
                    return Err(node.origin.error(
                        &path,
                        "a key must be text",
                        Some("check the indentation".into()),
                    ));
                }
            },
            (_, Some(_)) => {}
        }
        Ok(())
    }

    fn path(&self) -> Vec<String> {
        let segment = |open: &Open| match (&open.node.value, &open.key) {
            (Value::List(items), _) => Some(items.len().to_string()),
            (_, Some((key, _))) => Some(key.clone()),
            _ => None,
        };
        self.open.iter().filter_map(segment).collect()
    }
}

fn count(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|entry| count(&entry.node)).sum::<usize>(),
        Value::Scalar { .. } | Value::Removed | Value::Hole(_) => 1,
    }
}
