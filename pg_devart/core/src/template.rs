//! Rendering of task templates: `{{ variables.name }}`, `{{ tasks.key.result.field }}`.
//!
//! A placeholder is a path through a JSON document, and nothing else: no expressions, no filters,
//! no loops, so that whoever may write a template cannot make the database compute for ever.

use serde_json::Value;

use crate::argument_error::ArgumentError;

/// Bytes of a template, and of what is rendered from it: no more than a payload.
const MAX_BYTES: usize = crate::json::MAX_TASK_BYTES;
/// Of a path in a message.
const MAX_TOLD_CHARS: usize = 100;

/// Why a template could not be rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateError {
    /// The path of the placeholder.
    UnknownVariable(String),
    /// The character, from 1 on, at which a placeholder begins that does not end.
    Unclosed(usize),
    /// The character, from 1 on, at which a placeholder without a path begins.
    Empty(usize),
    /// The template is too long, or what it would give.
    TooLong,
}

/// What callers are told about their argument `template`.
impl From<TemplateError> for ArgumentError {
    fn from(error: TemplateError) -> Self {
        let problem = match error {
            TemplateError::UnknownVariable(path) => {
                let path: String = path.chars().take(MAX_TOLD_CHARS).collect();
                format!("has an unknown variable: {path}")
            }
            TemplateError::Unclosed(at) => format!("has a {{{{ without }}}} at character {at}"),
            TemplateError::Empty(at) => format!("has an empty placeholder at character {at}"),
            TemplateError::TooLong => "must neither be nor give more than 256 KiB".to_owned(),
        };
        ArgumentError::new("template", problem)
    }
}

/// Replaces each `{{ path }}` by the value that `path` names in `variables`.
///
/// Strings are inserted as they are; numbers, booleans, arrays and objects as JSON. A path may
/// walk through objects by key and arrays by index, and may leave out a leading `variables.`.
///
/// # Errors
/// [`TemplateError`], naming the placeholder that is unknown, empty or not closed;
/// [`TemplateError::TooLong`] as soon as there is too much.
pub fn render(template: &str, variables: &Value) -> Result<String, TemplateError> {
    if template.len() > MAX_BYTES {
        return Err(TemplateError::TooLong);
    }
    let mut rendered = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(open) = rest.find("{{") {
        rendered.push_str(&rest[..open]);
        let position = || {
            template[..template.len() - rest.len() + open]
                .chars()
                .count()
                + 1
        };
        let inside = &rest[open + 2..];
        let close = inside
            .find("}}")
            .ok_or_else(|| TemplateError::Unclosed(position()))?;
        let path = inside[..close].trim();
        if path.is_empty() {
            return Err(TemplateError::Empty(position()));
        }
        push_value(&mut rendered, look_up(path, variables)?);
        if rendered.len() > MAX_BYTES {
            return Err(TemplateError::TooLong);
        }
        rest = &inside[close + 2..];
    }
    rendered.push_str(rest);
    match rendered.len() > MAX_BYTES {
        true => Err(TemplateError::TooLong),
        false => Ok(rendered),
    }
}

fn look_up<'v>(path: &str, variables: &'v Value) -> Result<&'v Value, TemplateError> {
    walk(path, variables)
        .or_else(|| walk(path.strip_prefix("variables.")?, variables))
        .ok_or_else(|| TemplateError::UnknownVariable(path.to_owned()))
}

fn walk<'v>(path: &str, variables: &'v Value) -> Option<&'v Value> {
    path.split('.')
        .try_fold(variables, |value, step| match value {
            Value::Object(fields) => fields.get(step),
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        })
}

fn push_value(rendered: &mut String, value: &Value) {
    match value {
        Value::String(text) => rendered.push_str(text),
        other => rendered.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn placeholders_become_values() {
        let variables = json!({"name": "devart", "pr": {"number": 7, "labels": ["a", "b"]}});
        assert_eq!(
            render("{{name}}: PR #{{ pr.number }} {{pr.labels.1}}", &variables),
            Ok("devart: PR #7 b".to_owned())
        );
    }

    #[test]
    fn the_variables_prefix_is_optional() {
        assert_eq!(
            render("{{ variables.name }}", &json!({"name": "x"})),
            Ok("x".to_owned())
        );
        assert_eq!(
            render("{{ variables.name }}", &json!({"variables": {"name": "y"}})),
            Ok("y".to_owned())
        );
    }

    #[test]
    fn structures_are_inserted_as_json() {
        assert_eq!(
            render("{{ o }}", &json!({"o": {"a": [1, null, true]}})),
            Ok(r#"{"a":[1,null,true]}"#.to_owned())
        );
    }

    #[test]
    fn an_unknown_variable_is_named() {
        assert_eq!(
            render("{{ who }}", &json!({})),
            Err(TemplateError::UnknownVariable("who".to_owned()))
        );
    }

    #[test]
    fn callers_are_told_what_is_wrong_with_their_template() {
        for (error, told) in [
            (
                TemplateError::UnknownVariable("who".to_owned()),
                "template has an unknown variable: who",
            ),
            (
                TemplateError::Unclosed(3),
                "template has a {{ without }} at character 3",
            ),
            (
                TemplateError::Empty(1),
                "template has an empty placeholder at character 1",
            ),
        ] {
            let argument = ArgumentError::from(error);
            assert_eq!(argument.to_string(), told);
            assert_eq!(argument.field, "template");
        }
    }

    #[test]
    fn what_is_rendered_is_bounded_also_when_it_is_asked_for_many_times() {
        let variables = json!({"long": "x".repeat(MAX_BYTES / 2)});
        assert!(render("{{long}}{{long}}", &variables).is_ok());
        for template in ["{{long}}{{long}}.", &"{{long}}".repeat(10_000)] {
            let rendered = render(template, &variables);
            assert_eq!(rendered, Err(TemplateError::TooLong));
        }
        let template = " ".repeat(MAX_BYTES + 1);
        assert_eq!(render(&template, &variables), Err(TemplateError::TooLong));
    }

    #[test]
    fn an_unknown_variable_is_told_in_short() {
        let error = TemplateError::UnknownVariable("x".repeat(1_000));
        assert!(ArgumentError::from(error).to_string().len() < 200);
    }

    #[test]
    fn inserted_values_are_not_rendered_again() {
        assert_eq!(
            render("{{ a }}", &json!({"a": "{{ b }}", "b": "secret"})),
            Ok("{{ b }}".to_owned())
        );
    }

    #[test]
    fn open_and_empty_placeholders_say_where() {
        assert_eq!(
            render("é {{ a", &json!({})),
            Err(TemplateError::Unclosed(3))
        );
        assert_eq!(render("{{}}", &json!({})), Err(TemplateError::Empty(1)));
        assert_eq!(
            render("no braces } {", &json!({})),
            Ok("no braces } {".to_owned())
        );
    }
}
