//! Which of the two APIs has a route, as their OpenAPI documents say.

use std::collections::BTreeMap;

use anyhow::Context as _;
use http::{Method, StatusCode};
use platform::Problem;
use serde::Deserialize;

use crate::upstream::Api;

const DOCUMENTS: [(Api, &str); 2] =
    [(Api::Commands, include_str!("../../command-api/openapi.json")), (Api::Queries, include_str!("../../query-api/openapi.json"))];

/// Routes that hand out tokens or take them: what they do is done by `/session`.
const WITHHELD: [&str; 4] = ["/v1/auth/login", "/v1/auth/logout", "/v1/auth/refresh", "/v1/auth/service-token"];

/// The routes of both APIs.
pub(crate) struct Contracts(Vec<Route>);

struct Route {
    api: Api,
    /// A parameter is none.
    segments: Vec<Option<String>>,
    /// By method, whether it takes no token.
    open: BTreeMap<String, bool>,
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) api: Api,
    /// It takes no token.
    pub(crate) open: bool,
}

#[derive(Deserialize)]
struct Document {
    paths: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
}

impl Contracts {
    /// From the documents that this build was made with.
    pub(crate) fn of_both_apis() -> anyhow::Result<Self> {
        let mut routes = Vec::new();
        for (api, text) in DOCUMENTS {
            let document: Document = serde_json::from_str(text).context("the OpenAPI document is not one")?;
            for (path, operations) in document.paths {
                if WITHHELD.contains(&path.as_str()) {
                    continue;
                }
                let is_open = |operation: &serde_json::Value| operation["security"] == serde_json::json!([{}]);
                let open = operations.iter().map(|(method, operation)| (method.to_uppercase(), is_open(operation))).collect();
                let segments = path.split('/').map(|part| (!part.starts_with('{')).then(|| part.to_owned())).collect();
                routes.push(Route { api, segments, open });
            }
        }
        Ok(Self(routes))
    }

    /// Where a request goes. What no API has is 404; a method that none of them takes goes to one that has the path, which says so.
    pub(crate) fn way(&self, method: &Method, path: &str) -> Result<Way, Problem> {
        let unknown = || Problem::new(StatusCode::NOT_FOUND, "route_not_found", "neither API has such a route");
        let parts: Vec<&str> = path.split('/').collect();
        // What a client of HTTP would take for a step up the path.
        if parts.iter().any(|part| matches!(part.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")) {
            return Err(unknown());
        }
        let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
        let mut found = self.0.iter().filter(|route| route.is_for(&parts));
        let first = found.clone().next().ok_or_else(unknown)?;
        let route = found.find(|route| route.open.contains_key(method)).unwrap_or(first);
        Ok(Way { api: route.api, open: route.open.get(method).copied().unwrap_or(false) })
    }
}

impl Route {
    fn is_for(&self, parts: &[&str]) -> bool {
        let fits = |(segment, part): (&Option<String>, &&str)| match segment {
            Some(literal) => literal == part,
            None => !part.is_empty(),
        };
        self.segments.len() == parts.len() && self.segments.iter().zip(parts).all(fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_goes_to_the_api_that_has_it() {
        let contracts = Contracts::of_both_apis().unwrap();
        for (api, text) in DOCUMENTS {
            let document: Document = serde_json::from_str(text).unwrap();
            for (path, operations) in document.paths {
                let asked = path.replace("{id}", "01890000-0000-7000-8000-000000000000");
                for method in operations.keys() {
                    let way = contracts.way(&method.to_uppercase().parse().unwrap(), &asked);
                    if WITHHELD.contains(&path.as_str()) {
                        assert_eq!(way.unwrap_err().status, 404, "{path}");
                    } else {
                        assert_eq!(way.unwrap().api, api, "{method} {path}");
                    }
                }
            }
        }
    }

    #[test]
    fn only_what_takes_no_token_is_open() {
        let contracts = Contracts::of_both_apis().unwrap();
        assert!(contracts.way(&Method::POST, "/v1/auth/activation").unwrap().open);
        assert!(!contracts.way(&Method::GET, "/v1/employees").unwrap().open);
        assert!(!contracts.way(&Method::POST, "/v1/employees").unwrap().open);
        // A method that neither takes is for the API that knows the path to refuse.
        assert_eq!(contracts.way(&Method::DELETE, "/v1/reports/headcount").unwrap(), Way { api: Api::Queries, open: false });
        for path in ["/v1", "/v1/", "/v1/nope", "/v1/employees/", "/v1/users/%2E%2e/roles", "/v1/users/../roles", "/v1/auth/login/"] {
            assert_eq!(contracts.way(&Method::POST, path).unwrap_err().status, 404, "{path}");
        }
    }
}
