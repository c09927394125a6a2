//! How a command gets a route: its handler and its documentation, declared together.

/// Declares the handler of a command that creates something, or with `on` of one whose target's id stands in the path
/// (and then not in the body).
macro_rules! route {
    ($(#[$doc:meta])* $handler:ident: $command:ident at $path:literal for $actor:ident in $tag:literal) => {
        $(#[$doc])*
        #[utoipa::path(post, path = $path, tag = $tag, params($crate::contract::CommandHeaders), request_body = $command, responses(
            (status = 201, description = "Created", body = execution::Answer, headers(("Tenure-Position" = String), ("ETag" = String))),
            (status = 200, description = "It was there already, just so", body = execution::Answer, headers(("Tenure-Position" = String), ("ETag" = String))),
        ))]
        pub(crate) async fn $handler(
            axum::extract::State(executor): axum::extract::State<execution::Executor>,
            platform::$actor(actor): platform::$actor,
            head: $crate::request::Head,
            body: platform::request::JsonBody,
        ) -> Result<axum::response::Response, $crate::respond::Failed> {
            let sent = head.sent(actor, $crate::request::Parsed::new(stringify!($command), body.json())?);
            Ok($crate::respond::respond(&executor.execute(sent).await?, true))
        }
    };
    ($(#[$doc:meta])* $handler:ident: $command:ident on $id_field:literal: $id:ident at $path:literal for $actor:ident in $tag:literal) => {
        $(#[$doc])*
        #[utoipa::path(post, path = $path, tag = $tag, params(("id" = $id, Path, description = "Whom or what it is about"), $crate::contract::CommandHeaders), request_body = $command, responses(
            (status = 200, description = "Done, or so already", body = execution::Answer, headers(("Tenure-Position" = String), ("ETag" = String))),
        ))]
        pub(crate) async fn $handler(
            axum::extract::State(executor): axum::extract::State<execution::Executor>,
            platform::$actor(actor): platform::$actor,
            platform::request::PathId(id): platform::request::PathId<$id>,
            head: $crate::request::Head,
            body: platform::request::JsonBody,
        ) -> Result<axum::response::Response, $crate::respond::Failed> {
            let sent = head.sent(actor, $crate::request::Parsed::with_id(stringify!($command), $id_field, &id.to_string(), body.json())?);
            Ok($crate::respond::respond(&executor.execute(sent).await?, false))
        }
    };
}
pub(crate) use route;
