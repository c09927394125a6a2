//! What the contracts of services that change something say of problems.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::{
    ToSchema,
    openapi::{RefOr, Response, ResponseBuilder, content::ContentBuilder, schema::Ref},
};

use crate::FieldProblem;

/// An RFC 9457 problem document.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemDocument {
    /// `https://tenure.dev/problems/{code}`
    r#type: String,
    /// The status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What happened and what to do about it.
    detail: String,
    /// The stable code.
    error: String,
    /// The fields at fault, where there are any.
    #[schema(required = false)]
    errors: Vec<FieldProblem>,
}

/// Responses that hold a [`ProblemDocument`]: each status with the codes that it may come with.
pub fn problems<const N: usize>(all: [(&str, &str); N]) -> BTreeMap<String, RefOr<Response>> {
    all.into_iter()
        .map(|(status, description)| {
            let content = ContentBuilder::new().schema(Some(RefOr::Ref(Ref::from_schema_name("ProblemDocument")))).build();
            let response = ResponseBuilder::new().description(description).content("application/problem+json", content).build();
            (status.to_owned(), response.into())
        })
        .collect()
}
