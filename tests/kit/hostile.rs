//! Documents of a saved run with hostile strings, generated from their schemas: a new field is
//! covered by being in its schema.

use crate::page::drawn;
use serde_json::{Map, Value, json};
use wirelab::report::escape::is_hidden;

/// Script, attribute, ESC, OSC, BEL, C1, CR, marks of direction.
const SIGNS: &str = "<script>alert(1)</script><img src=x onerror=alert(1)>\" onload=\"a\" ' & \
                     \x1b[31m\x1b]0;title\x07 \u{9b}2J \r \u{202e}rtl\u{202c} \u{2066}\u{2069}";
/// Characters of the filling: more than any column or option holds.
const FILLING: usize = 5_000;
/// Nested uses of one definition that are followed.
const DEPTH_MAX: usize = 12;

/// The value that is planted.
#[must_use]
pub fn hostile() -> String {
    format!("{SIGNS}{}", "long ".repeat(FILLING / 5))
}

/// A step from a value to one in it, with the schema of the value that it starts from.
#[derive(Clone, Debug)]
enum Step<'a> {
    Field(&'a str, &'a Value),
    AnyField(&'a Value),
    Item(&'a Value),
}

/// A place for any string in a document.
#[derive(Clone, Debug)]
pub struct Leaf<'a>(Vec<Step<'a>>);

impl Leaf<'_> {
    /// Its place, such as `servers[].name`.
    #[must_use]
    pub fn path(&self) -> String {
        let step = |step: &Step<'_>| match step {
            Step::Field(name, _) => format!(".{name}"),
            Step::AnyField(_) => ".*".to_owned(),
            Step::Item(_) => "[]".to_owned(),
        };
        self.0.iter().map(step).collect()
    }
}

/// A schema, and the leaves that it allows.
#[derive(Clone, Copy, Debug)]
pub struct Schema<'a>(pub &'a Value);

impl<'a> Schema<'a> {
    /// Every place where the schema allows any string.
    #[must_use]
    pub fn leaves(self) -> Vec<Leaf<'a>> {
        let mut leaves = Vec::new();
        self.collect(self.0, &[], 0, &mut leaves);
        leaves.sort_by_key(Leaf::path);
        leaves.dedup_by_key(|leaf| leaf.path());
        leaves
    }

    fn resolved(self, schema: &'a Value) -> Option<&'a Value> {
        match schema["$ref"].as_str() {
            Some(reference) => self.0.pointer(reference.strip_prefix('#')?),
            None => Some(schema),
        }
    }

    fn collect(self, schema: &'a Value, to: &[Step<'a>], depth: usize, out: &mut Vec<Leaf<'a>>) {
        let Some(schema) = self.resolved(schema).filter(|_| depth < DEPTH_MAX) else { return };
        let mut go = |inner: &'a Value, step: Option<Step<'a>>| {
            let to: Vec<_> = to.iter().cloned().chain(step).collect();
            self.collect(inner, &to, depth + 1, out);
        };
        for key in ["oneOf", "anyOf", "allOf"] {
            schema[key].as_array().into_iter().flatten().for_each(|inner| go(inner, None));
        }
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            go(inner, Some(Step::Field(name, schema)));
        }
        for (_, inner) in schema["patternProperties"].as_object().into_iter().flatten() {
            go(inner, Some(Step::AnyField(schema)));
        }
        if schema["additionalProperties"].is_object() {
            go(&schema["additionalProperties"], Some(Step::AnyField(schema)));
        }
        if schema["items"].is_object() {
            go(&schema["items"], Some(Step::Item(schema)));
        }
        if types(schema).contains(&"string")
            && schema.get("enum").or_else(|| schema.get("const")).is_none()
        {
            out.push(Leaf(to.to_vec()));
        }
    }

    /// The least value of a schema.
    fn instance(self, schema: &'a Value, depth: usize) -> Value {
        let Some(schema) = self.resolved(schema).filter(|_| depth < DEPTH_MAX) else {
            return Value::Null;
        };
        if let Some(known) = schema.get("const").or_else(|| schema["enum"].get(0)) {
            return known.clone();
        }
        let first = ["oneOf", "anyOf"].into_iter().find_map(|key| schema[key].get(0));
        if let Some(first) = first.filter(|_| schema["properties"].is_null()) {
            return self.instance(first, depth + 1);
        }
        match types(schema).first() {
            Some(&"object") => {
                let required = schema["required"].as_array().into_iter().flatten();
                let fields = required.filter_map(Value::as_str).map(|name| {
                    let inner = &schema["properties"][name];
                    (name.to_owned(), self.instance(inner, depth + 1))
                });
                Value::Object(fields.collect::<Map<_, _>>())
            }
            Some(&"array") => json!([]),
            Some(&"string") => json!("x"),
            Some(&"boolean") => json!(false),
            Some(&"integer" | &"number") => {
                schema.get("minimum").cloned().unwrap_or_else(|| json!(1))
            }
            _ => Value::Null,
        }
    }

    /// Sets a leaf of a document to `value`, where needed in objects that it makes.
    pub fn plant(self, document: &mut Value, leaf: &Leaf<'a>, value: &str) {
        self.plant_at(document, &leaf.0, value);
    }

    fn plant_at(self, at: &mut Value, steps: &[Step<'a>], value: &str) {
        let Some((step, rest)) = steps.split_first() else {
            *at = json!(value);
            return;
        };
        // The schema of what the next step starts from says what is to be made.
        let fresh = match rest.first() {
            Some(Step::Field(_, schema) | Step::AnyField(schema) | Step::Item(schema)) => {
                self.instance(schema, 0)
            }
            None => Value::Null,
        };
        let inner = match step {
            Step::Field(name, schema) => {
                if !at.is_object() {
                    *at = self.instance(schema, 0);
                }
                let Some(fields) = at.as_object_mut() else { return };
                fields.entry(*name).or_insert(fresh)
            }
            Step::AnyField(_) => {
                if !at.is_object() {
                    *at = json!({});
                }
                let Some(fields) = at.as_object_mut() else { return };
                fields.entry(value.to_owned()).or_insert(fresh)
            }
            Step::Item(_) => {
                if !at.is_array() {
                    *at = json!([]);
                }
                let Some(items) = at.as_array_mut() else { return };
                let place = items.iter().position(|item| leads(item, rest));
                let place = place.unwrap_or_else(|| {
                    let place = items.len().saturating_sub(1);
                    items.insert(place, fresh);
                    place
                });
                &mut items[place]
            }
        };
        self.plant_at(inner, rest, value);
    }
}

/// Whether a value has what the steps lead to.
fn leads(value: &Value, steps: &[Step<'_>]) -> bool {
    match steps.split_first() {
        None => true,
        Some((Step::Field(name, _), rest)) => value.get(name).is_some_and(|v| leads(v, rest)),
        Some((Step::AnyField(_), _)) => value.is_object(),
        Some((Step::Item(_), rest)) => {
            value.as_array().is_some_and(|items| items.iter().any(|item| leads(item, rest)))
        }
    }
}

fn types(schema: &Value) -> Vec<&str> {
    match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// Checks that nothing in a text is taken for more than text, by a terminal or by a person.
pub fn assert_harmless(text: &str, what: &str) {
    if let Some(at) = text.find(is_hidden) {
        let near: String = text[at..].chars().take(40).collect();
        panic!("{what}: {near:?} reaches the reader");
    }
}

/// Checks that no hostile value is markup in a page.
pub fn assert_inert(html: &str, what: &str) {
    assert_harmless(html, what);
    for markup in ["<script>alert", "<img"] {
        assert!(!html.contains(markup), "{what}: {markup} is markup");
    }
    // The data after it is JSON, which no browser runs.
    for markup in [" onload=\"a\"", "onerror=alert(1)>"] {
        assert!(!drawn(html).contains(markup), "{what}: {markup} is markup");
    }
}
