//! A request of which one thing is odd.

use reqwest::RequestBuilder;
use reqwest::header::HeaderValue;
use serde_json::Value;

use super::operations::{Operation, Place, plain};
use super::values;
use crate::support::api::WEBHOOK_SECRET;
use crate::support::github::sign;
use crate::support::http::Http;

/// What a URL and a head may be long; the HTTP library refuses more before our code sees it.
const MOST_BYTES_OF_A_HEAD: usize = 8_000;

/// Stands for the odd value until the body is text: a `Value` cannot hold all of them.
const MARK: &str = "@the odd value@";

/// An operation, who calls it, and what is odd.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub operation: &'a Operation,
    pub place: &'a Place,
    pub caller: usize,
    pub value: &'a [u8],
}

/// What makes sense under a name; null where the test knows nothing.
pub type Sensible<'a> = &'a dyn Fn(&str) -> Value;

/// Every value to try in a place.
pub fn values_for(place: &Place, operation: &Operation) -> Vec<Vec<u8>> {
    match place {
        Place::Path(_) | Place::Query(_) | Place::Header(_) => {
            let mut bytes: Vec<Vec<u8>> = values::as_text().map(String::into_bytes).collect();
            bytes.push(b"\xff\xfe".to_vec());
            bytes
                .iter_mut()
                .for_each(|value| value.truncate(MOST_BYTES_OF_A_HEAD));
            // Without its own segment it is another path.
            bytes.retain(|value| !matches!(place, Place::Path(_)) || !value.is_empty());
            match place {
                Place::Header(_) => bytes.retain(|it| HeaderValue::from_bytes(it).is_ok()),
                _ => bytes
                    .iter_mut()
                    .for_each(|value| value.truncate(MOST_BYTES_OF_A_HEAD / 3)),
            }
            bytes
        }
        Place::Member(_) => values::as_json().map(String::into_bytes).collect(),
        Place::LeftOut(_) => vec![Vec::new()],
        Place::WholeBody => whole_bodies(operation),
    }
}

/// Bodies that are no body of this operation: cut off, doubled, of another kind.
fn whole_bodies(operation: &Operation) -> Vec<Vec<u8>> {
    let body = operation
        .body
        .as_ref()
        .map(|body| body.with(None).to_string());
    let body = body.unwrap_or_else(|| "{}".to_owned());
    let inner = body.trim_start_matches('{').trim_end_matches('}');
    let mut bodies: Vec<Vec<u8>> = values::as_json().map(String::into_bytes).collect();
    bodies.extend([
        body.as_bytes()[..body.len() / 2].to_vec(),
        body.as_bytes()[..body.len() - 1].to_vec(),
        format!("{body} {body}").into_bytes(),
        format!(
            "{{{inner}{}\"unknown\": 1}}",
            if inner.is_empty() { "" } else { "," }
        )
        .into_bytes(),
        format!("{{{inner},{inner}}}").into_bytes(),
        [b"\xef\xbb\xbf", body.as_bytes()].concat(),
        [b"{\"\xff\xfe\": ", body.as_bytes(), b"}"].concat(),
        vec![0; 1_000],
        b"a=1&b=2".to_vec(),
    ]);
    bodies
}

impl Call<'_> {
    /// The request, sensible but for the one value.
    pub fn request(&self, callers: &[(&str, Http)], sensible: Sensible) -> RequestBuilder {
        let http = match self.place {
            // In place of the caller's own.
            Place::Header(name) if ["Authorization", "X-Agent-Key"].contains(&name.as_str()) => {
                let nobody = callers.iter().find(|(name, _)| *name == "anonymous");
                &nobody.expect("one of the callers").1
            }
            _ => &callers[self.caller].1,
        };
        let mut request = http.request(self.operation.method.clone(), &self.target(sensible));
        let body = self.body(sensible);
        if let Some(body) = &body
            && !self.is_header("Content-Type")
        {
            request = request.header("content-type", "application/json");
            // Whoever has the secret may send anything.
            if self.operation.path.starts_with("/api/webhooks/") {
                request = signed(request, body, self);
            }
        }
        if let Place::Header(name) = self.place {
            let value = HeaderValue::from_bytes(self.value);
            request = request.header(name, value.expect("it was looked at"));
        }
        match body {
            Some(body) => request.body(body),
            None => request,
        }
    }

    fn is_header(&self, name: &str) -> bool {
        matches!(self.place, Place::Header(odd) if odd.eq_ignore_ascii_case(name))
    }

    /// The path and the query.
    fn target(&self, sensible: Sensible) -> String {
        let mut segments = Vec::new();
        for segment in self.operation.path.split('/') {
            let name = segment
                .strip_prefix('{')
                .and_then(|rest| rest.strip_suffix('}'));
            segments.push(match (name, self.place) {
                (Some(name), Place::Path(odd)) if odd == name => encoded(self.value),
                (Some(name), _) => match sensible(name) {
                    Value::Null => uuid::Uuid::now_v7().to_string(),
                    known => encoded(plain(&known).as_bytes()),
                },
                (None, _) => segment.to_owned(),
            });
        }
        let mut query: Vec<String> = Vec::new();
        for (name, value) in &self.operation.required_query {
            if !matches!(self.place, Place::Query(odd) if odd == name) {
                query.push(format!("{name}={}", encoded(value.as_bytes())));
            }
        }
        if let Place::Query(name) = self.place {
            query.push(format!("{name}={}", encoded(self.value)));
        }
        let path = segments.join("/");
        match query.is_empty() {
            true => path,
            false => format!("{path}?{}", query.join("&")),
        }
    }

    fn body(&self, sensible: Sensible) -> Option<Vec<u8>> {
        if let Place::WholeBody = self.place {
            return Some(self.value.to_vec());
        }
        let body = self.operation.body.as_ref()?;
        let member = match self.place {
            Place::Member(way) => way.first().map(String::as_str),
            _ => None,
        };
        let mut value = body.with(member);
        if let Some(members) = value.as_object_mut() {
            for (name, value) in members {
                let known = sensible(name);
                if !known.is_null() {
                    *value = known;
                }
            }
        }
        match self.place {
            Place::LeftOut(name) => {
                value.as_object_mut().map(|members| members.remove(name));
            }
            Place::Member(way) => {
                if let Some(place) = value.pointer_mut(&pointer(way)) {
                    *place = MARK.into();
                }
            }
            _ => {}
        }
        let odd = std::str::from_utf8(self.value).unwrap_or("null");
        Some(
            value
                .to_string()
                .replacen(&format!("\"{MARK}\""), odd, 1)
                .into_bytes(),
        )
    }
}

fn signed(mut request: RequestBuilder, body: &[u8], call: &Call) -> RequestBuilder {
    let signature = std::str::from_utf8(body)
        .ok()
        .and_then(|body| sign(WEBHOOK_SECRET, body).ok());
    let delivery = uuid::Uuid::now_v7().to_string();
    for (name, value) in [
        ("X-Hub-Signature-256", signature.unwrap_or_default()),
        ("X-GitHub-Event", "pull_request".to_owned()),
        ("X-GitHub-Delivery", delivery),
    ] {
        if !call.is_header(name) {
            request = request.header(name, value);
        }
    }
    request
}

fn pointer(way: &[String]) -> String {
    let escaped = way
        .iter()
        .map(|name| name.replace('~', "~0").replace('/', "~1"));
    escaped.map(|name| format!("/{name}")).collect()
}

/// Every byte but letters and digits, as %XX.
fn encoded(bytes: &[u8]) -> String {
    let encode = |byte: &u8| match byte.is_ascii_alphanumeric() || *byte == b'-' {
        true => char::from(*byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    bytes.iter().map(encode).collect()
}
