//! `/docs/api`: the document as a page. Made on the server; it can be read without a script.

use super::{DOCUMENT, operations::TAGS};
use crate::http::{
    frame::{self, Framed},
    preview::page::escape,
    security::Nonce,
    state::Plane,
};
use axum::{
    Extension,
    extract::State,
    response::{Html, IntoResponse as _, Response},
};
use serde_json::Value;
use std::sync::LazyLock;

static BODY: LazyLock<String> = LazyLock::new(|| body(&DOCUMENT));

/// `GET /docs/api`.
pub async fn show(State(plane): State<Plane>, Extension(Nonce(nonce)): Extension<Nonce>) -> Response {
    let public = escape(&plane.origins.public());
    let content = format!(
        "<div class=\"page-head\"><div><h1>API</h1><p>At <code>{public}</code>. The same for programs: \
         <a href=\"/api/openapi.json\">OpenAPI 3.1</a>.</p></div></div>{}",
        *BODY
    );
    Html(frame::page(
        &plane,
        &Framed { title: "API", class: "api-page", content: &content, nonce: &nonce, script: "", public: true },
    ))
    .into_response()
}

fn text(value: &Value) -> String {
    words(value.as_str().unwrap_or_default())
}

/// Escaped, with what stands in backticks as code.
fn words(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts.map(|(n, part)| if n % 2 == 1 { format!("<code>{}</code>", escape(part)) } else { escape(part) }).collect()
}

fn body(document: &Value) -> String {
    let mut page = format!("<p>{}</p>", text(&document["info"]["description"]));
    for (tag, about) in TAGS {
        page.push_str(&format!("<section class=\"stack\"><h2>{tag}</h2><p>{}</p>", words(about)));
        for (path, methods) in document["paths"].as_object().into_iter().flatten() {
            let own = methods.as_object().into_iter().flatten().filter(|(_, operation)| operation["tags"][0] == *tag);
            for (method, operation) in own {
                page.push_str(&shown(path, method, operation));
            }
        }
        page.push_str("</section>");
    }
    page.push_str("<section class=\"stack\"><h2>Types</h2>");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        page.push_str(&format!(
            "<details class=\"panel\" id=\"type-{0}\"><summary class=\"panel-head\"><code>{0}</code></summary>",
            escape(name)
        ));
        page.push_str(&format!(
            "<div class=\"panel-body\"><p>{}</p>{}</div></details>",
            text(&schema["description"]),
            fields(schema)
        ));
    }
    page.push_str("</section>");
    page
}

fn shown(path: &str, method: &str, operation: &Value) -> String {
    let id = operation["operationId"].as_str().unwrap_or_default();
    let method = method.to_ascii_uppercase();
    let mut shown = format!(
        "<details class=\"panel\" id=\"{id}\"><summary class=\"panel-head\"><strong>{method}</strong> <code>{}</code> <span>{}</span></summary>\
         <div class=\"panel-body\">",
        escape(path),
        text(&operation["summary"])
    );
    if let Some(about) = operation["description"].as_str() {
        shown.push_str(&about.split("\n\n").map(|paragraph| format!("<p>{}</p>", words(paragraph))).collect::<String>());
    }
    if let Some(parameters) = operation["parameters"].as_array() {
        let row = |parameter: &Value| {
            format!(
                "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                text(&parameter["name"]),
                text(&parameter["in"]),
                text(&parameter["description"])
            )
        };
        let rows: String = parameters.iter().map(row).collect();
        shown.push_str(&format!("<h3>Parameters</h3><table class=\"data-table\"><tbody>{rows}</tbody></table>"));
    }
    for (kind, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
        let example = serde_json::to_string_pretty(&content["example"]).unwrap_or_default();
        shown.push_str(&format!("<h3>Body</h3><p>{}, <code>{}</code></p>", kind_of(&content["schema"]), escape(kind)));
        shown.push_str(&format!("<pre class=\"code-block\"><code>{}</code></pre>", escape(&example)));
    }
    let answer = |(status, response): (&String, &Value)| {
        let contents = response["content"].as_object().into_iter().flatten();
        let kinds: Vec<_> =
            contents.map(|(kind, content)| format!("{}, <code>{}</code>", kind_of(&content["schema"]), escape(kind))).collect();
        format!(
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
            escape(status),
            text(&response["description"]),
            kinds.join("<br>")
        )
    };
    let answers: String = operation["responses"].as_object().into_iter().flatten().map(answer).collect();
    shown.push_str(&format!("<h3>Answers</h3><table class=\"data-table\"><tbody>{answers}</tbody></table></div></details>"));
    shown
}

/// What a schema is, in a word or two, with a link to a type of ours.
fn kind_of(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.rsplit_once('/')).map(|(_, name)| escape(name)) {
        return format!("<a href=\"#type-{name}\">{name}</a>");
    }
    for several in ["oneOf", "anyOf", "allOf"] {
        if let Some(some) = schema[several].as_array() {
            return some.iter().map(kind_of).collect::<Vec<_>>().join(" or ");
        }
    }
    if schema["type"] == "array" {
        return format!("array of {}", kind_of(&schema["items"]));
    }
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        kind => kind.as_str().unwrap_or("any").to_owned(),
    };
    match schema["format"].as_str() {
        Some(format) => format!("{} ({})", escape(&kinds), escape(format)),
        None => escape(&kinds),
    }
}

fn fields(schema: &Value) -> String {
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<_> =
            values.iter().filter_map(Value::as_str).map(|value| format!("<code>{}</code>", escape(value))).collect();
        return format!("<p>{}</p>", values.join(", "));
    }
    let required = schema["required"].as_array();
    let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|other| other == name));
    let row = |(name, field): (&String, &Value)| {
        format!(
            "<tr><td><code>{}</code>{}</td><td>{}</td><td>{}</td></tr>",
            escape(name),
            if is_required(name) { "" } else { "?" },
            kind_of(field),
            text(&field["description"])
        )
    };
    match schema["properties"].as_object() {
        Some(properties) => {
            format!("<table class=\"data-table\"><tbody>{}</tbody></table>", properties.iter().map(row).collect::<String>())
        }
        None => format!("<p>{}</p>", kind_of(schema)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_and_type_is_on_the_page_and_every_link_leads_somewhere() {
        let page = &*BODY;
        for methods in DOCUMENT["paths"].as_object().unwrap().values() {
            for operation in methods.as_object().unwrap().values() {
                let id = operation["operationId"].as_str().unwrap();
                assert!(page.contains(&format!("id=\"{id}\"")), "{id}");
            }
        }
        for link in page.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(page.contains(&format!("id=\"{link}\"")), "#{link}");
        }
        assert!(!page.contains("<script"));
    }

    #[test]
    fn words_are_escaped() {
        assert_eq!(words("a `<b>` & c"), "a <code>&lt;b&gt;</code> &amp; c");
    }
}
