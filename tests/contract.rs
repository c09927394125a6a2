//! The services answer what their OpenAPI documents say. Whatever any test is answered is looked up in the documents ([`check`]), and
//! every code that the sources name stands in them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use regex::Regex;
use serde_json::Value;

use crate::repository::files;

/// Codes of problems that no route answers with, and who does.
const OF_NO_ROUTE: &[(&str, &str)] = &[
    ("headers_too_large", "the connection, where what came is no request"),
    ("invalid_host", "the shell, whichever route is asked for"),
    ("invalid_line", "a line of a batch"),
    ("malformed_request", "the connection, where what came is no request"),
    ("method_not_allowed", "the shell, where a route has no such method"),
    ("route_not_found", "the shell, where there is no such route"),
    ("stopping", "the last line of a batch"),
    ("uri_too_long", "the connection, where what came is no request"),
];

/// A route of either API.
struct Operation {
    method: String,
    path: Vec<String>,
    is_command: bool,
    /// The codes by status.
    answers: BTreeMap<u16, BTreeSet<String>>,
}

static OPERATIONS: LazyLock<Vec<Operation>> =
    LazyLock::new(|| [command_api::openapi_json(), query_api::openapi_json()].iter().flat_map(|document| operations(document)).collect());

/// The routes of a document.
fn operations(document: &str) -> Vec<Operation> {
    let document: Value = serde_json::from_str(document).unwrap();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let answers = operation["responses"].as_object().unwrap().iter();
            let answers =
                answers.map(|(status, answer)| (status.parse().unwrap(), codes(answer["description"].as_str().unwrap()))).collect();
            let parameters = operation["parameters"].as_array();
            let is_command = parameters.is_some_and(|all| all.iter().any(|parameter| parameter["name"] == "Idempotency-Key"));
            found.push(Operation { method: method.to_uppercase(), path: segments(path), is_command, answers });
        }
    }
    found
}

fn segments(path: &str) -> Vec<String> {
    path.split('/').map(str::to_owned).collect()
}

/// The codes that a description names: whatever stands between two backticks and looks like one.
fn codes(description: &str) -> BTreeSet<String> {
    let quoted = description.split('`').skip(1).step_by(2);
    quoted.filter(|text| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')).map(str::to_owned).collect()
}

/// Panics where a route of either API has answered what its document does not say. `path` may have a query string.
#[track_caller]
pub(crate) fn check(method: &str, path: &str, status: u16, body: &Value) {
    let path = segments(path.split('?').next().unwrap_or_default());
    let is_it = |operation: &&Operation| {
        operation.method == method
            && operation.path.len() == path.len()
            && operation.path.iter().zip(&path).all(|(part, sent)| part == sent || part == "{id}")
    };
    let Some(operation) = OPERATIONS.iter().find(is_it) else { return };
    let code = body["error"].as_str().unwrap_or_default();
    if OF_NO_ROUTE.iter().any(|(other, _)| *other == code) {
        return;
    }
    let documented = operation.answers.get(&status);
    // Each rule has a code of its own, which the command's description does not list.
    let by_a_rule = operation.is_command && status == 422;
    let is_documented = documented.is_some_and(|codes| status < 400 || codes.contains(code) || by_a_rule);
    assert!(is_documented, "{method} {} answers {status} {code:?}, but its document says {documented:?}", operation.path.join("/"));
}

/// As [`check`], for an answer that is not read yet; its body.
pub(crate) async fn checked(method: &reqwest::Method, response: reqwest::Response) -> (u16, Value) {
    let (status, path) = (response.status().as_u16(), response.url().path().to_owned());
    let body = response.json().await.unwrap_or_default();
    check(method.as_str(), &path, status, &body);
    (status, body)
}

#[test]
fn every_code_that_the_sources_name_is_documented() {
    let literal = r#"(?:Problem|Self)::(?:new\(\s*(?:http::)?StatusCode::\w+,\s*|unavailable\(\s*|damaged\(\s*)"([a-z_]+)""#;
    let literal = Regex::new(literal).unwrap();
    let by = |document: &str| operations(document).into_iter().flat_map(|operation| operation.answers.into_values().flatten()).collect();
    let (commands, queries): (BTreeSet<String>, BTreeSet<String>) = (by(&command_api::openapi_json()), by(&query_api::openapi_json()));
    let mut found = BTreeSet::new();
    for (path, text) in files("rs") {
        let room = path.split('/').next().unwrap_or_default();
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for code in literal.captures_iter(text).map(|captures| captures[1].to_owned()) {
            let (in_commands, in_queries) = (commands.contains(&code), queries.contains(&code));
            let documented = match room {
                "platform" => in_commands || in_queries,
                "query-api" => in_queries,
                "command-api" | "execution" | "identity" => in_commands,
                _ => continue,
            };
            let elsewhere = OF_NO_ROUTE.iter().any(|(other, _)| *other == code);
            assert!(documented != elsewhere, "{path}: `{code}` must stand in the API's document, or in OF_NO_ROUTE with who answers it");
            found.insert(code);
        }
    }
    assert!(found.len() > 50, "the sources name these codes only: {found:?}");
}
