//! `/v1/…`: a request of a page is passed on to the API that has the route, with the session's token.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri, header::CONTENT_TYPE};
use platform::Problem;

use crate::{
    contracts::Contracts,
    cookies,
    login::with_cookies,
    same_origin::OwnPage,
    sessions::{NoToken, Session, Sessions},
    upstream::{Ask, Forwarded, Small, Upstream, streamed},
};

/// Passes a request on. A token that an API does not take any more is exchanged, and the request sent again, once.
pub(crate) async fn pass(
    State(contracts): State<Arc<Contracts>>,
    State(sessions): State<Sessions>,
    State(upstream): State<Upstream>,
    OwnPage(forwarded): OwnPage,
    (method, uri, headers): (Method, Uri, HeaderMap),
    body: Bytes,
) -> Result<Response, Problem> {
    let way = contracts.way(&method, uri.path())?;
    let path = uri.path_and_query().map_or(uri.path(), http::uri::PathAndQuery::as_str);
    let ask = Ask { api: way.api, method, path, headers: Upstream::headers_of(&headers), body };
    if way.open {
        return Ok(streamed(upstream.send(&ask, &forwarded, None).await?));
    }
    let Some(cookie) = cookies::read(&headers, cookies::SESSION) else { return Ok(over("no_session", "log in first")) };
    let Some(session) = sessions.find(cookie).await else { return Ok(over("session_ended", "the session has ended; log in again")) };
    match with_token(&upstream, &session, &ask, &forwarded).await {
        Ok(response) if is_problem(&response, StatusCode::FORBIDDEN) => {
            let answer = Small::read(response).await?;
            // Whatever it is that carries a session to another tenant's host: it goes no further.
            if answer.code() == "tenant_mismatch" {
                sessions.end(cookie, &upstream).await;
                return Ok(with_cookies(answer.into_response(), [cookies::end()]));
            }
            Ok(answer.into_response())
        }
        Ok(response) if response.status() == StatusCode::UNAUTHORIZED => {
            // The log-in goes on, since it was renewed just now. What is issued within two seconds of such a change is void, too.
            let detail = "what you may do was changed just now; try again in a moment";
            Ok(Problem { retry_after: Some(3), ..Problem::unavailable("rights_changed", detail) }.into_response())
        }
        Ok(response) => Ok(streamed(response)),
        Err(NoToken::Ended) => {
            sessions.end(cookie, &upstream).await;
            Ok(over("session_ended", "the session has ended; log in again"))
        }
        Err(NoToken::Refused(answer)) => Ok(answer.into_response()),
        Err(NoToken::Unavailable(problem)) => Err(problem),
    }
}

async fn with_token(
    upstream: &Upstream,
    session: &Arc<Session>,
    ask: &Ask<'_>,
    forwarded: &Forwarded,
) -> Result<reqwest::Response, NoToken> {
    let token = session.token(upstream, None).await?;
    let response = upstream.send(ask, forwarded, Some(&token)).await.map_err(NoToken::Unavailable)?;
    if response.status() != StatusCode::UNAUTHORIZED {
        return Ok(response);
    }
    // The API did not execute the request. A change of roles makes tokens void, and leaves log-ins valid.
    let token = session.token(upstream, Some(&token)).await?;
    upstream.send(ask, forwarded, Some(&token)).await.map_err(NoToken::Unavailable)
}

fn is_problem(response: &reqwest::Response, status: StatusCode) -> bool {
    response.status() == status && response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json")
}

fn over(code: &'static str, detail: &str) -> Response {
    with_cookies(Problem::new(StatusCode::UNAUTHORIZED, code, detail).into_response(), [cookies::end()])
}
