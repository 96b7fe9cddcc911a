//! YAML of others with the place of everything in it. Anchors, aliases and tags are places that cannot be changed safely, and said to be so.

use granit_parser::{Event, Parser, ScalarStyle, StructureStyle};
use serde_json::Value;

/// Something in a document.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// From one.
    pub(super) line: usize,
    /// In letters from zero.
    pub(super) column: usize,
    pub(super) node: Node,
}

/// What it is.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// Nothing: `key:` with no value.
    Nothing,
    Text(String),
    List {
        items: Vec<Place>,
        is_flow: bool,
    },
    Map {
        entries: Vec<(Place, Place)>,
        is_flow: bool,
    },
    /// An alias, or something with an anchor or a tag.
    Other,
}

impl Place {
    /// The entries of a map.
    pub(super) fn entries(&self) -> &[(Self, Self)] {
        match &self.node {
            Node::Map { entries, .. } => entries,
            _ => &[],
        }
    }

    /// What a map has under a key, with the place of the key.
    pub(super) fn get(&self, key: &str) -> Option<(&Self, &Self)> {
        self.entries().iter().find(|(found, _)| found.text() == Some(key)).map(|(key, value)| (key, value))
    }

    /// Its text, when it is a text.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.node {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The same without places.
    pub(super) fn value(&self) -> Value {
        match &self.node {
            Node::Nothing => Value::Null,
            Node::Text(text) => Value::String(text.clone()),
            Node::List { items, .. } => items.iter().map(Self::value).collect(),
            Node::Map { entries, .. } => entries
                .iter()
                .map(|(key, value)| (key.text().unwrap_or("?").to_owned(), value.value()))
                .collect(),
            Node::Other => Value::String("?".to_owned()),
        }
    }
}

/// Why a text is not understood.
#[derive(Debug)]
pub(super) struct YamlError {
    pub(super) line: usize,
    pub(super) why: String,
}

/// Reads the one document of a text; `None` when there is nothing in it.
pub(super) fn parse(text: &str) -> Result<Option<Place>, YamlError> {
    let mut open: Vec<Place> = Vec::new();
    let mut keys: Vec<Option<Place>> = Vec::new();
    let (mut root, mut documents) = (None, 0);
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error| YamlError { line: error.marker().line(), why: error.info() })?;
        let (line, column) = (span.start.line(), span.start.col());
        let node = match event {
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    return Err(YamlError { line, why: "there is a second document in it".to_owned() });
                }
                continue;
            }
            Event::SequenceStart(style, anchor, tag) => {
                let is_flow = matches!(style, StructureStyle::Flow) || anchor > 0 || tag.is_some();
                open.push(Place { line, column, node: Node::List { items: Vec::new(), is_flow } });
                keys.push(None);
                continue;
            }
            Event::MappingStart(style, anchor, tag) => {
                let is_flow = matches!(style, StructureStyle::Flow) || anchor > 0 || tag.is_some();
                open.push(Place { line, column, node: Node::Map { entries: Vec::new(), is_flow } });
                keys.push(None);
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                keys.pop();
                match open.pop() {
                    Some(place) => place,
                    None => continue,
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let node = if anchor > 0 || tag.is_some() {
                    Node::Other
                } else if matches!(&*text, "" | "~") && matches!(style, ScalarStyle::Plain) {
                    Node::Nothing
                } else {
                    Node::Text(text.into_owned())
                };
                Place { line, column, node }
            }
            Event::Alias(..) => Place { line, column, node: Node::Other },
            _ => continue,
        };
        match complete(&mut open, &mut keys, node) {
            Ok(None) => {}
            Ok(Some(whole)) => root = Some(whole),
            Err(line) => return Err(YamlError { line, why: "this key was given before".to_owned() }),
        }
    }
    Ok(root)
}

/// Takes a finished part to where it belongs. The whole document when it belongs nowhere; the line of a key that is there twice.
fn complete(open: &mut [Place], keys: &mut [Option<Place>], part: Place) -> Result<Option<Place>, usize> {
    let (Some(around), Some(key)) = (open.last_mut(), keys.last_mut()) else { return Ok(Some(part)) };
    match &mut around.node {
        Node::List { items, .. } => items.push(part),
        Node::Map { entries, .. } => match key.take() {
            None => {
                if part.text().is_some() && entries.iter().any(|(known, _)| known.text() == part.text()) {
                    return Err(part.line);
                }
                *key = Some(part);
            }
            Some(key) => entries.push((key, part)),
        },
        _ => {}
    }
    Ok(None)
}
