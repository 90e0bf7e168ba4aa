//! What the API says that it takes: its operations, where each takes a value, and a body that makes
//! sense.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::support::http::Http;

/// Headers that any change may have beside those that are documented.
const HEADERS_OF_CHANGES: [&str; 3] = ["Idempotency-Key", "Content-Type", "traceparent"];
const HEADERS_OF_ALL: [&str; 4] = ["Authorization", "X-Agent-Key", "X-Request-Id", "Accept"];

/// A delivery of GitHub has many hundreds of members.
const MOST_MEMBERS: usize = 60;
const DEEPEST_MEMBER: usize = 3;

/// A method of a path.
pub struct Operation {
    pub method: Method,
    pub path: String,
    /// What it says it may answer.
    pub statuses: BTreeSet<u16>,
    pub places: Vec<Place>,
    /// Parameters of the query without which it answers nothing else.
    pub required_query: Vec<(String, String)>,
    /// None: it takes no body.
    pub body: Option<Body>,
}

/// Where a value goes.
#[derive(Debug, Clone)]
pub enum Place {
    Path(String),
    Query(String),
    Header(String),
    /// A member of the body, by the names and numbers that lead to it.
    Member(Vec<String>),
    /// A member of the body that is left out.
    LeftOut(String),
    WholeBody,
}

/// A body that makes sense.
pub struct Body {
    /// With every member.
    full: Value,
    required: BTreeSet<String>,
}

/// A value that the test has for a name, rather than any of the type.
pub type Known<'a> = &'a dyn Fn(&str) -> Option<Value>;

impl Body {
    /// What it cannot do without, and the member in question; where each member alone is optional,
    /// one of them, since together they are not.
    pub fn with(&self, member: Option<&str>) -> Value {
        let Some(members) = self.full.as_object() else {
            return self.full.clone();
        };
        let one = match self.required.is_empty() {
            true => member.or_else(|| members.keys().next().map(String::as_str)),
            false => member,
        };
        let needed = members.iter().filter(|(name, _)| {
            self.required.contains(*name) || one == Some(name.as_str()) || *name == "estimate_usd"
        });
        let needed = needed.map(|(name, value)| (name.clone(), value.clone()));
        Value::Object(needed.collect())
    }
}

/// All operations of the document that the API serves.
pub async fn all(
    http: &Http,
    known: impl Fn(&str, &str) -> Option<Value>,
) -> Result<Vec<Operation>> {
    let document = Document(http.get("/api/openapi.json").await?.expect(200));
    let mut operations = Vec::new();
    for (path, methods) in document.0["paths"].as_object().context("paths")? {
        for (method, described) in methods.as_object().context("methods")? {
            let Ok(method) = method.to_uppercase().parse::<Method>() else {
                continue;
            };
            let known = |name: &str| known(path, name);
            operations.push(document.operation(method, path, described, &known));
        }
    }
    Ok(operations)
}

struct Document(Value);

impl Document {
    fn operation(&self, method: Method, path: &str, described: &Value, known: Known) -> Operation {
        let statuses = described["responses"].as_object().into_iter().flatten();
        let body = self.body(&described["requestBody"], known);
        let is_change = method != Method::GET;
        let mut places = Vec::new();
        let mut required_query = Vec::new();
        for parameter in described["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap_or_default().to_owned();
            match parameter["in"].as_str() {
                Some("path") => places.push(Place::Path(name)),
                Some("header") => places.push(Place::Header(name)),
                _ => {
                    if parameter["required"] == true {
                        let sample = self.sample(&name, &parameter["schema"], known);
                        required_query.push((name.clone(), plain(&sample)));
                    }
                    places.push(Place::Query(name));
                }
            }
        }
        let headers = HEADERS_OF_CHANGES.iter().filter(|_| is_change);
        let headers = headers.chain(&HEADERS_OF_ALL);
        places.extend(headers.map(|name| Place::Header((*name).to_owned())));
        if is_change {
            places.push(Place::WholeBody);
        }
        if let Some(body) = &body {
            places.extend(body.required.iter().cloned().map(Place::LeftOut));
            members_of(&body.full, &[], &mut places);
        }
        Operation {
            method,
            path: path.to_owned(),
            statuses: statuses
                .filter_map(|(status, _)| status.parse().ok())
                .collect(),
            places,
            required_query,
            body,
        }
    }

    fn body(&self, described: &Value, known: Known) -> Option<Body> {
        let schema = &described.get("content")?.as_object()?.values().next()?["schema"];
        let full = known("body").unwrap_or_else(|| self.sample("body", schema, known));
        let required = self.resolved(schema)["required"].as_array().cloned();
        let required = required.into_iter().flatten();
        let required = required.filter_map(|name| name.as_str().map(str::to_owned));
        let required = match known("body") {
            // As it is, it makes sense only as a whole.
            Some(body) => body
                .as_object()
                .into_iter()
                .flat_map(Map::keys)
                .cloned()
                .collect(),
            None => required.collect(),
        };
        Some(Body { full, required })
    }

    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let pointer = schema["$ref"]
            .as_str()
            .and_then(|reference| reference.strip_prefix('#'));
        pointer
            .and_then(|pointer| self.0.pointer(pointer))
            .unwrap_or(schema)
    }

    /// A value that the schema allows.
    fn sample(&self, name: &str, schema: &Value, known: Known) -> Value {
        if let Some(value) = known(name) {
            return value;
        }
        let schema = self.resolved(schema);
        let given = [
            &schema["example"],
            &schema["const"],
            &schema["enum"][0],
            &schema["default"],
        ];
        if let Some(value) = given.into_iter().find(|value| !value.is_null()) {
            return value.clone();
        }
        for of in ["oneOf", "anyOf", "allOf"] {
            let choices = schema[of].as_array().into_iter().flatten();
            if let Some(choice) = choices.into_iter().find(|choice| choice["type"] != "null") {
                return self.sample(name, choice, known);
            }
        }
        self.sample_of_type(type_of(schema), schema, known)
    }

    fn sample_of_type(&self, kind: &str, schema: &Value, known: Known) -> Value {
        match (kind, schema["format"].as_str()) {
            ("string", Some("uuid")) => json!(uuid::Uuid::now_v7()),
            ("string", Some("date-time")) => json!("2030-01-01T00:00:00Z"),
            ("string", _) => json!("text"),
            ("integer" | "number", _) => match &schema["minimum"] {
                Value::Null => json!(1),
                minimum => minimum.clone(),
            },
            ("boolean", _) => json!(true),
            ("array", _) => json!([]),
            _ => {
                let members = schema["properties"].as_object().into_iter().flatten();
                let members =
                    members.map(|(name, schema)| (name.clone(), self.sample(name, schema, known)));
                Value::Object(members.collect())
            }
        }
    }
}

/// The type that is not null.
fn type_of(schema: &Value) -> &str {
    let one = schema["type"].as_str();
    let some = schema["type"].as_array().into_iter().flatten();
    let mut some = some
        .filter_map(Value::as_str)
        .filter(|kind| *kind != "null");
    one.or_else(|| some.next()).unwrap_or("object")
}

/// Each member of a value, and those of what is within it.
fn members_of(value: &Value, way: &[String], places: &mut Vec<Place>) {
    let members: Vec<(String, &Value)> = match value {
        Value::Object(members) => {
            let members = members.iter();
            members.map(|(name, value)| (name.clone(), value)).collect()
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items
                .map(|(place, item)| (place.to_string(), item))
                .collect()
        }
        _ => return,
    };
    // All of a body's own members, some of what is within.
    let most = if way.is_empty() {
        usize::MAX
    } else {
        MOST_MEMBERS
    };
    for (name, value) in members.into_iter().take(most) {
        let way = [way, &[name]].concat();
        places.push(Place::Member(way.clone()));
        if way.len() < DEEPEST_MEMBER {
            members_of(value, &way, places);
        }
    }
}

/// As it stands in a query.
pub fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
