//! The HTTP routes, each with its part of the OpenAPI document. A gateway has verified the caller's token on all but
//! three.
//!
//! `GET /oauth/callback` is where an authorization server sends a browser: there is no token, the state
//! says whose sign-in it is, and nothing is exchanged. `GET /oauth/client-metadata.json` is for authorization
//! servers.

mod callback;
mod responses;

use std::{sync::Arc, time::Duration};

use auth::{Owner, RegistrationChoice, client_metadata};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, Uri},
    routing::delete,
};
use edge::{Caller, ErrorBody, GatewayError, HttpError, Json, Margins, Member, Query};
use serde_json::Value;
use utoipa::{OpenApi, openapi};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    api::Api,
    dto::{
        Completed, Completion, ConnectionQuery, Connections, OwnerName, OwnerQuery, Purpose, Regenerated,
        Started,
    },
    error::ApiError,
};

use self::responses::{AgentErrors, BodyErrors, CallerErrors};

/// A handler is dropped 1 s before the end, which leaves a token refresh half a second.
const MARGINS: Margins = Margins {
    deadline: Duration::from_secs(1),
    cut_off: Duration::from_secs(1),
    settled: Duration::from_millis(500),
};

/// Paths below `/oauth/` that other methods have, and that may still be the id of an agent.
const PATHS_THAT_MAY_BE_IDS: [&str; 7] = [
    "/oauth/start",
    "/oauth/complete",
    "/oauth/regenerate",
    "/oauth/connections",
    "/oauth/callback",
    "/oauth/callback/{server}",
    "/oauth/client-metadata.json",
];

#[derive(OpenApi)]
#[openapi(paths(delete_named_connection), components(schemas(ErrorBody, GatewayError)))]
struct Document;

/// The router of the connections API.
pub fn router(api: Arc<Api>) -> Router {
    let (mut routes, _) = routes().split_for_parts();
    for path in PATHS_THAT_MAY_BE_IDS {
        routes = routes.route(path, delete(delete_named_connection));
    }
    let routes = routes.route("/oauth/{*agent_id}", delete(delete_named_connection));
    let settling = api.clone();
    let settled = move |until| {
        let api = settling.clone();
        async move { api.settled(until).await }
    };
    edge::serve(routes.with_state(api), MARGINS, settled)
}

/// The part of the OpenAPI document that describes these routes.
pub fn openapi() -> openapi::OpenApi {
    routes().into_openapi()
}

fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(start_sign_in))
        .routes(routes!(complete_sign_in))
        .routes(routes!(regenerate))
        .routes(routes!(list_connections))
        .routes(routes!(delete_connection))
        .routes(routes!(callback::callback))
        .routes(routes!(callback::callback_of_server))
        .routes(routes!(get_client_metadata))
}

/// Starts a sign-in to an agent's server
#[utoipa::path(
    post,
    path = "/oauth/start",
    operation_id = "startSignIn",
    request_body = Purpose,
    responses(
        (status = 200, description = "Where to send the user.", body = Started),
        AgentErrors,
        CallerErrors,
        BodyErrors,
    ),
)]
async fn start_sign_in(
    State(api): State<Arc<Api>>,
    Member(caller): Member,
    Json(purpose): Json<Purpose>,
) -> Result<Json<Started>, HttpError> {
    let owner = owner(purpose.owner, &caller)?;
    let origin = purpose.origin.as_deref();
    let started =
        api.start(&purpose.agent_id, &caller.user, &owner, origin, RegistrationChoice::Stored).await;
    answered(&api, started).await
}

/// Completes a sign-in that the caller has started
#[utoipa::path(
    post,
    path = "/oauth/complete",
    operation_id = "completeSignIn",
    request_body = Completion,
    responses(
        (status = 200, description = "The tokens are kept.", body = Completed),
        AgentErrors,
        CallerErrors,
        BodyErrors,
    ),
)]
async fn complete_sign_in(
    State(api): State<Arc<Api>>,
    Member(caller): Member,
    Json(completion): Json<Completion>,
) -> Result<Json<Completed>, HttpError> {
    let completed = api.complete(&completion.state, &caller.user).await;
    answered(&api, completed).await
}

/// Signs in anew: as /oauth/start with a client registered anew, or at once where the client signs in for itself
#[utoipa::path(
    post,
    path = "/oauth/regenerate",
    operation_id = "regenerate",
    request_body = Purpose,
    responses(
        (status = 200, description = "Where to send the user, or that it is done.", body = Regenerated),
        AgentErrors,
        CallerErrors,
        BodyErrors,
    ),
)]
async fn regenerate(
    State(api): State<Arc<Api>>,
    Member(caller): Member,
    Json(purpose): Json<Purpose>,
) -> Result<Json<Regenerated>, HttpError> {
    let owner = owner(purpose.owner, &caller)?;
    let origin = purpose.origin.as_deref();
    let regenerated = api.regenerate(&purpose.agent_id, &caller, &owner, origin).await;
    answered(&api, regenerated).await
}

/// How the caller stands with every agent that is signed in to with OAuth
#[utoipa::path(
    get,
    path = "/oauth/connections",
    operation_id = "listConnections",
    responses((status = 200, description = "One for each such agent.", body = Connections), CallerErrors),
)]
async fn list_connections(
    State(api): State<Arc<Api>>,
    Member(caller): Member,
) -> Result<Json<Connections>, HttpError> {
    let connections = api.connections(&caller.user).await;
    answered(&api, connections).await
}

/// Takes a sign-in back, and has the server revoke it if it can
#[utoipa::path(
    delete,
    path = "/oauth",
    operation_id = "forgetSignInById",
    params(ConnectionQuery),
    responses((status = 204, description = "It is gone."), AgentErrors, CallerErrors),
)]
async fn delete_connection(
    State(api): State<Arc<Api>>,
    Member(caller): Member,
    Query(query): Query<ConnectionQuery>,
) -> Result<StatusCode, HttpError> {
    forget(&api, &caller, &query.agent_id, query.owner).await
}

/// The same with the id in the path, where it may hold neither percent signs nor a slash at its end
#[utoipa::path(
    delete,
    path = "/oauth/{agent_id}",
    operation_id = "forgetSignIn",
    params(
        ("agent_id" = String, Path, description = "The agent's id.", min_length = 1, pattern = "^[^/]+$"),
        OwnerQuery,
    ),
    responses((status = 204, description = "It is gone."), AgentErrors, CallerErrors),
)]
async fn delete_named_connection(
    State(api): State<Arc<Api>>,
    Member(caller): Member,
    uri: Uri,
    Query(query): Query<OwnerQuery>,
) -> Result<StatusCode, HttpError> {
    let segments = edge::path_segments(uri.path())?;
    // Behind `oauth`. An id may hold slashes.
    let agent_id = segments.get(1..).unwrap_or_default().join("/");
    forget(&api, &caller, &agent_id, query.owner).await
}

/// This client's metadata document, whose URL is its client id where that is taken
#[utoipa::path(
    get,
    path = "/oauth/client-metadata.json",
    operation_id = "clientMetadata",
    security(()),
    responses((status = 200, description = "The document.", body = Object)),
)]
async fn get_client_metadata(State(api): State<Arc<Api>>) -> Json<Value> {
    let mut document = client_metadata(api.identity());
    document["client_id"] = api.identity().metadata_url.clone().into();
    Json(document)
}

async fn forget(
    api: &Api,
    caller: &Caller,
    agent_id: &str,
    asked: Option<OwnerName>,
) -> Result<StatusCode, HttpError> {
    let owner = owner(asked, caller)?;
    answered(api, api.forget(agent_id, &owner).await).await.map(|_| StatusCode::NO_CONTENT)
}

/// Whose a sign-in is: the caller's own, unless an administrator means everybody.
fn owner(asked: Option<OwnerName>, caller: &Caller) -> Result<Owner, HttpError> {
    match asked {
        None | Some(OwnerName::Me) => Ok(Owner::User(caller.user.clone())),
        Some(OwnerName::Everybody) if caller.is_admin() => Ok(Owner::Everybody),
        Some(OwnerName::Everybody) => Err(HttpError::forbidden("Admin")),
    }
}

/// The answer, or the error without any secret that stands in the entries.
async fn answered<T>(api: &Api, outcome: Result<T, ApiError>) -> Result<Json<T>, HttpError> {
    match outcome {
        Ok(body) => Ok(Json(body)),
        Err(error) => {
            let (message, remedy) = told(api, &error).await;
            tracing::warn!(
                error = message,
                error.kind = %error.code(),
                "External MCP: a connection was not changed"
            );
            let answer = HttpError::new(error.kind(), message).with_code(error.code());
            Err(answer.with_remedy(remedy))
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
