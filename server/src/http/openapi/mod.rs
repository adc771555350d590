//! The OpenAPI 3.1 document of the REST API, `GET /api/openapi.json`, and the page that shows it.
//!
//! Schemas are those of the very types that handlers read and write, by `utoipa`; who may and what errors
//! there are comes from the table of routes. What stands beside it by hand is in [`operations`]; a test
//! compares it with the router, both ways.

mod operations;
pub mod page;

use super::{
    router::session_cookie,
    routes::{Access, ROUTES},
    state::Plane,
};
use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{Method, header};
use model::view::ErrorBody;
use operations::{Answer, Operation};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;
use utoipa::{
    ToSchema,
    openapi::{RefOr, schema::Schema},
};

/// The document, but for what this installation decides.
pub static DOCUMENT: LazyLock<Value> = LazyLock::new(|| document(&operations::all()));

/// `GET /api/openapi.json`.
pub async fn json(State(plane): State<Plane>) -> Response {
    let mut document = DOCUMENT.clone();
    document["servers"] = json!([{ "url": plane.origins.public() }]);
    document["components"]["securitySchemes"]["session"]["name"] = session_cookie(plane.origins.secure()).into();
    let body = Bytes::from(document.to_string());
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], body).into_response()
}

/// What a type is, for the document: a reference, and with it all that it is made of.
struct Described {
    schema: Value,
    parts: Vec<(String, RefOr<Schema>)>,
}

/// A type by its name.
fn one<T: ToSchema>() -> Described {
    let mut parts = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut parts);
    Described { schema: json!({ "$ref": format!("#/components/schemas/{}", T::name()) }), parts }
}

/// One of them, or `null`.
fn maybe<T: ToSchema>() -> Described {
    let Described { schema, parts } = one::<T>();
    Described { schema: json!({ "oneOf": [schema, { "type": "null" }] }), parts }
}

/// An array of them.
fn many<T: ToSchema>() -> Described {
    let Described { schema, parts } = one::<T>();
    Described { schema: json!({ "type": "array", "items": schema }), parts }
}

/// Any other JSON, or text.
fn plain(schema: Value) -> Described {
    Described { schema, parts: Vec::new() }
}

fn document(operations: &[Operation]) -> Value {
    let mut schemas = Map::new();
    let mut paths = Map::new();
    add(&mut schemas, one::<ErrorBody>().parts);
    for operation in operations {
        let described = describe(operation, &mut schemas);
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.as_str().to_ascii_lowercase()] = described;
    }
    let tag = |(name, description): &(&str, &str)| json!({ "name": name, "description": description });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "FullStack Agent",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "description": "Projects with a sandbox each: asked for, watched, used. What is not yours does not exist: its address answers 404. \
                Every error has one shape, `ErrorBody`; the header `X-Request-Id` of every answer leads to the log.",
        },
        "tags": operations::TAGS.iter().map(tag).collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {
                    "type": "http", "scheme": "bearer", "bearerFormat": "fsa_…",
                    "description": "An API token, of scope `read` or `write`, made in the account's settings or by `fullstack-agent token create`.",
                },
                "session": {
                    "type": "apiKey", "in": "cookie", "name": "fsa_session",
                    "description": "A browser that is signed in. What changes something has to come from the app's own origin.",
                },
            },
            "headers": {
                "ETag": {
                    "description": "Names this state of what was read. What is measured is not part of it, and a file has one of its own.",
                    "schema": { "type": "string" },
                },
                "RequestId": { "description": "Leads to the log.", "schema": { "type": "string" } },
                "RetryAfter": { "description": "After how many seconds to ask again.", "schema": { "type": "integer" } },
            },
        },
    })
}

fn add(schemas: &mut Map<String, Value>, parts: Vec<(String, RefOr<Schema>)>) {
    for (name, schema) in parts {
        let Ok(mut schema) = serde_json::to_value(schema) else { continue };
        if let Some(about) = schema["description"].as_str() {
            schema["description"] = for_readers(about).into();
        }
        for field in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
            let untyped = !["type", "$ref", "oneOf", "anyOf", "allOf"].iter().any(|key| field.get(key).is_some());
            // What may hold anything is an object wherever we have it.
            if let Some(field) = field.as_object_mut().filter(|_| untyped) {
                field.insert("type".to_owned(), "object".into());
            }
        }
        schemas.insert(name, schema);
    }
}

/// A type's description without what it says to those who write Rust.
fn for_readers(about: &str) -> String {
    let sentences = about.split_inclusive(". ").filter(|sentence| !sentence.contains("`Debug`"));
    sentences.collect::<String>().trim().to_owned()
}

fn describe(operation: &Operation, schemas: &mut Map<String, Value>) -> Value {
    let route = ROUTES.iter().find(|route| route.method == operation.method && route.path.replace("{*", "{") == operation.path);
    let access = route.map_or(Access::Public, |route| route.access);
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "security": match access {
            Access::Public => json!([]),
            Access::Read | Access::Write => json!([{ "token": [] }, { "session": [] }]),
            Access::Session => json!([{ "session": [] }]),
        },
    });
    let mut about = operation.about.to_owned();
    if access == Access::Write {
        about = format!("{about}\n\nNeeds a session, or a token of scope `write`.").trim().to_owned();
    }
    if access == Access::Session {
        about = format!("{about}\n\nNeeds a session: no token may.").trim().to_owned();
    }
    if !about.is_empty() {
        described["description"] = about.into();
    }
    let in_path = operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let is_json = |answer: &Answer| answer.status == 200 && answer.content.iter().any(|(kind, ..)| *kind == "application/json");
    let tagged = route.is_some_and(|route| route.method == Method::GET) && operation.answers.iter().any(is_json);
    let own = operation.parameters.iter().cloned().chain(tagged.then(operations::etag));
    let parameters: Vec<Value> = in_path.map(operations::in_path).chain(own).collect();
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if let Some(body) = (operation.body)() {
        add(schemas, body.described.parts);
        let content = json!({ "application/json": { "schema": body.described.schema, "example": body.example } });
        described["requestBody"] = json!({ "required": body.required, "content": content });
    }
    let mut responses = Map::new();
    for Answer { status, about, content } in &operation.answers {
        let mut response =
            json!({ "description": about, "headers": { "X-Request-Id": { "$ref": "#/components/headers/RequestId" } } });
        for (kind, schema, example) in content {
            let Described { schema, parts } = schema();
            add(schemas, parts);
            response["content"][*kind] = json!({ "schema": schema });
            if let Some(example) = example {
                response["content"][*kind]["example"] = example.clone();
            }
        }
        if tagged && *status == 200 {
            response["headers"]["ETag"] = json!({ "$ref": "#/components/headers/ETag" });
            let known = json!({ "description": "Nothing has changed.", "headers": response["headers"] });
            responses.insert("304".to_owned(), known);
        }
        responses.insert(status.to_string(), response);
    }
    for (status, about) in errors(operation, access) {
        let shape = json!({ "application/json": { "schema": { "$ref": "#/components/schemas/ErrorBody" } } });
        let mut response = json!({ "description": about, "content": shape });
        if matches!(status, "429" | "503") {
            response["headers"] = json!({ "Retry-After": { "$ref": "#/components/headers/RetryAfter" } });
        }
        responses.entry(status).or_insert(response);
    }
    described["responses"] = responses.into();
    described
}

/// What every operation of its kind may be refused with.
fn errors(operation: &Operation, access: Access) -> Vec<(&'static str, &'static str)> {
    let mut errors = Vec::new();
    let has_body = (operation.body)().is_some();
    if has_body || !operation.parameters.is_empty() {
        errors.push(("400", "The request cannot be understood; the message says what of it."));
    }
    if access != Access::Public {
        errors.push(("401", "Nobody is signed in, or the token is unknown, revoked or expired."));
    }
    if access == Access::Write {
        errors.push(("403", "The token's scope is `read`, or the request comes from a foreign page."));
    }
    if access == Access::Session {
        errors.push(("403", "A token asks, or the request comes from a foreign page."));
    }
    if operation.path.contains('{') {
        errors.push(("404", "There is no such thing, or it is not yours."));
    }
    if has_body {
        errors.push(("413", "The body is longer than 4 MiB."));
        errors.push(("415", "The body is not JSON by its `Content-Type`."));
        errors.push(("422", "The body is JSON of another form, or a value in it is refused; the message says which and why."));
    }
    errors.extend(operation.refusals.iter().copied());
    errors.push(("429", "Too many requests in a short time."));
    errors.push(("503", "The control plane's database, or what is asked, does not answer now, or its disk is full. Ask again."));
    errors.push(("default", "Any other error, in the same shape."));
    errors
}
