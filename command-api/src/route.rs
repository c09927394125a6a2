//! How a command gets a route: its handler and its documentation, declared together.

/// Declares the handler of a command that creates something, or with `on` of one whose target's id stands in the path
/// (and then not in the body).
macro_rules! route {
    ($(#[$doc:meta])* $handler:ident: $command:ident at $path:literal for $actor:ident in $tag:literal) => {
        $(#[$doc])*
        #[utoipa::path(post, path = $path, tag = $tag, params($crate::openapi::CommandHeaders), request_body = $command, responses(
            (status = 201, description = "Created", body = $crate::execute::Answer, headers(("Tenure-Position" = String), ("ETag" = String))),
            (status = 200, description = "It was there already, just so", body = $crate::execute::Answer, headers(("Tenure-Position" = String), ("ETag" = String))),
            $crate::openapi::CommandProblems,
        ))]
        pub(crate) async fn $handler(
            axum::extract::State(executor): axum::extract::State<$crate::execute::Executor>,
            platform::$actor(actor): platform::$actor,
            head: $crate::request::Head,
            body: $crate::request::Body,
        ) -> Result<axum::response::Response, $crate::execute::Failure> {
            let ask = head.ask(actor, body.command(stringify!($command))?);
            Ok(executor.execute(ask).await?.respond(true))
        }
    };
    ($(#[$doc:meta])* $handler:ident: $command:ident on $id_field:literal: $id:ident at $path:literal for $actor:ident in $tag:literal) => {
        $(#[$doc])*
        #[utoipa::path(post, path = $path, tag = $tag, params(("id" = $id, Path, description = "Whom or what it is about"), $crate::openapi::CommandHeaders), request_body = $command, responses(
            (status = 200, description = "Done, or so already", body = $crate::execute::Answer, headers(("Tenure-Position" = String), ("ETag" = String))),
            $crate::openapi::CommandProblems,
        ))]
        pub(crate) async fn $handler(
            axum::extract::State(executor): axum::extract::State<$crate::execute::Executor>,
            platform::$actor(actor): platform::$actor,
            $crate::request::Id(id): $crate::request::Id<$id>,
            head: $crate::request::Head,
            body: $crate::request::Body,
        ) -> Result<axum::response::Response, $crate::execute::Failure> {
            let ask = head.ask(actor, body.command_on(stringify!($command), $id_field, &id.to_string())?);
            Ok(executor.execute(ask).await?.respond(false))
        }
    };
}
pub(crate) use route;
