//! The server itself.

use super::{Operation, form, operation, parameters::text};
use crate::http::openapi::plain;
use http::Method;
use serde_json::{Value, json};

pub(super) fn service() -> Vec<Operation> {
    let status = || plain(json!({ "type": "object", "properties": { "status": text(), "version": text() } }));
    let metrics = || plain(text());
    vec![
        operation(Method::GET, "/metrics", "getMetrics", "Service", "Read metrics, for Prometheus")
            .about("From this very machine, or with the token of `FSA_METRICS_TOKEN`.")
            .answer(200, "OpenMetrics text.", vec![form("application/openmetrics-text", metrics, None)])
            .refusals(&[("403", "From elsewhere, without the token.")]),
        operation(
            Method::GET,
            "/api/doctor",
            "lookAtInstallation",
            "Service",
            "Look at the installation, as `fullstack-agent doctor` does",
        )
        .about("For who runs it. With `Accept: application/x-ndjson`, one finding a line, as it comes.")
        .answer(
            200,
            "The findings.",
            vec![form("application/json", || plain(findings()), None), form("application/x-ndjson", || plain(text()), None)],
        )
        .refusals(&[("404", "It is not yours to run."), ("429", "Somebody looks at this very moment.")]),
        operation(Method::GET, "/api/openapi.json", "getOpenApi", "Service", "Get this document").json(
            200,
            "The document.",
            || plain(json!({ "type": "object" })),
            None,
        ),
        operation(Method::GET, "/healthz", "getHealth", "Service", "Say that the process answers").json(
            200,
            "It does.",
            status,
            Some(json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") })),
        ),
        operation(Method::GET, "/readyz", "getReadiness", "Service", "Say that its database answers too").json(
            200,
            "It does.",
            status,
            Some(json!({ "status": "ready" })),
        ),
    ]
}

fn findings() -> Value {
    let text = json!({ "type": "string" });
    let finding = json!({
        "type": "object",
        "required": ["check", "verdict", "what"],
        "properties": { "check": text, "verdict": text, "what": text, "why": text, "mend": { "type": "array", "items": text } },
    });
    json!({ "type": "object", "required": ["findings"], "properties": { "findings": { "type": "array", "items": finding } } })
}
