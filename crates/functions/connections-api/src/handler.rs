//! The HTTP routes behind API Gateway, whose authorizer has verified the caller's token on all but two.
//!
//! `GET /oauth/callback` is where an authorization server sends a browser: there is no token, the state
//! says whose sign-in it is, and nothing is exchanged. `GET /oauth/client-metadata.json` is for authorization
//! servers.

use std::time::Duration;

use auth::{Owner, Redirect, Registration, client_metadata};
use edge::{BadRequest, Caller, HttpRequest, json_response};
use lambda_runtime::Diagnostic;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::{api::Api, error::ApiError, page};

/// Kept free of the invocation's time for writing what came of an exchange.
const MARGIN: Duration = Duration::from_secs(1);

/// Answers one event; over HTTP an error is an answer.
///
/// # Errors
/// `BadRequest`, if the event is no request.
pub(crate) async fn handle(api: &Api, event: &Value, time_left: Duration) -> Result<Value, Diagnostic> {
    if !HttpRequest::is_one(event) {
        let error_message = "the event is not API Gateway's".to_owned();
        return Err(Diagnostic { error_type: "BadRequest".to_owned(), error_message });
    }
    let until = Instant::now() + time_left.saturating_sub(MARGIN);
    let answered = timeout_at(until, answer(api, event)).await;
    let late = ApiError::TimedOut;
    let answered = answered.unwrap_or_else(|_| refused(&late, &late.to_string(), &late.remedy()));
    api.settled(until + MARGIN / 2).await;
    Ok(answered)
}

async fn answer(api: &Api, event: &Value) -> Value {
    let routed = match HttpRequest::read(event) {
        Ok(request) => match (request.method(), request.segments().as_slice()) {
            ("GET", ["oauth", "callback"]) => return callback(api, &request, None).await,
            ("GET", ["oauth", "callback", server]) => return callback(api, &request, Some(server)).await,
            ("GET", ["oauth", "client-metadata.json"]) => Ok((200, metadata_document(api))),
            _ => route(api, &request).await,
        },
        Err(error) => Err(error.into()),
    };
    match routed {
        Ok((status, body)) => json_response(status, &body),
        Err(error) => {
            let (message, remedy) = told(api, &error).await;
            refused(&error, &message, &remedy)
        }
    }
}

fn refused(error: &ApiError, message: &str, remedy: &str) -> Value {
    tracing::warn!(error = message, error.kind = error.name(), "External MCP: a connection was not changed");
    let body = json!({"error": error.name(), "message": message, "remedy": remedy});
    json_response(error.status(), &body)
}

async fn route(api: &Api, request: &HttpRequest<'_>) -> Result<(u16, Value), ApiError> {
    let caller = request.caller().ok_or(ApiError::Unauthenticated)?;
    if !caller.may_use_agents() {
        return Err(ApiError::Unauthorized("Admin, Author or Viewer"));
    }
    let user = &caller.user;
    let text = |body: &Value, name: &'static str, missing| {
        body[name].as_str().map(str::to_owned).ok_or(BadRequest(missing))
    };
    match (request.method(), request.segments().as_slice()) {
        ("POST", ["oauth", step @ ("start" | "regenerate")]) => {
            let body = request.object()?;
            let agent_id =
                text(&body, "agent_id", "agent_id is missing: the id of an agent as GET /agents lists it")?;
            let asked = match &body["owner"] {
                Value::Null => None,
                owner => Some(owner.as_str().unwrap_or_default()),
            };
            let owner = owner(asked, &caller)?;
            let origin = match &body["origin"] {
                Value::Null => None,
                origin => Some(origin.as_str().unwrap_or_default()),
            };
            match *step {
                "start" => Ok((200, api.start(&agent_id, user, &owner, origin, Registration::Kept).await?)),
                _ => Ok((200, api.regenerate(&agent_id, &caller, &owner, origin).await?)),
            }
        }
        ("POST", ["oauth", "complete"]) => {
            let state =
                text(&request.object()?, "state", "state is missing: what POST /oauth/start answered")?;
            Ok((200, api.complete(&state, user).await?))
        }
        ("GET", ["oauth", "connections"]) => Ok((200, api.connections(user).await?)),
        // An id may hold slashes.
        ("DELETE", ["oauth", agent_id @ ..]) if !agent_id.is_empty() => {
            api.forget(&agent_id.join("/"), &owner(request.parameter("owner"), &caller)?).await?;
            Ok((204, Value::Null))
        }
        _ => Err(ApiError::NoRoute),
    }
}

/// Whose a sign-in is: the caller's own, unless an administrator means everybody.
fn owner(asked: Option<&str>, caller: &Caller) -> Result<Owner, ApiError> {
    match asked {
        None | Some("me") => Ok(Owner::User(caller.user.clone())),
        Some("everybody") if caller.is_admin() => Ok(Owner::Everybody),
        Some("everybody") => Err(ApiError::Unauthorized("Admin")),
        Some(_) => Err(BadRequest("owner is neither me nor everybody").into()),
    }
}

/// A browser is back: the state is looked at and the code parked; the page says what comes next.
async fn callback(api: &Api, request: &HttpRequest<'_>, server: Option<&str>) -> Value {
    let base = api.identity().redirect_uri.as_str();
    let came_to = server.map_or_else(|| base.to_owned(), |server| format!("{base}/{server}"));
    let redirect = Redirect { came_to: Some(came_to), ..Redirect::from_pairs(request.parameters()) };
    match api.callback(&redirect).await {
        Ok(arrived) => page::arrived(&arrived, redirect.state.as_deref().unwrap_or_default()),
        Err(error) => {
            let error = ApiError::from(error);
            let (message, remedy) = told(api, &error).await;
            tracing::warn!(
                error = message,
                error.kind = error.name(),
                "External MCP: a sign-in was not taken in"
            );
            page::refused(error.status(), &message, &remedy)
        }
    }
}

/// An error's message and its remedy; those of an authorization server without any secret that stands in the
/// entries.
async fn told(api: &Api, error: &ApiError) -> (String, String) {
    let (message, remedy) = (error.to_string(), error.remedy().into_owned());
    match error {
        ApiError::OAuth(_) | ApiError::Auth(_) => (api.scrub(message).await, api.scrub(remedy).await),
        _ => (message, remedy),
    }
}

fn metadata_document(api: &Api) -> Value {
    let mut document = client_metadata(api.identity());
    document["client_id"] = api.identity().metadata_url.clone().into();
    document
}
