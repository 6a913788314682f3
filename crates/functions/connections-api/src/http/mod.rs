//! The HTTP routes of the connections API, each with its part of the OpenAPI document.
//!
//! API Gateway has verified the caller's token on all routes but three. Authorization servers send browsers to
//! `GET /oauth/callback` and `GET /oauth/callback/{server}`: such a request has no token, its state identifies the
//! sign-in, and no code is exchanged. Authorization servers read `GET /oauth/client-metadata.json`.

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
use edge::{Authentication, ErrorBody, HttpError, Json, Margins, Member, Query};
use identity::Caller;
use serde_json::Value;
use utoipa::OpenApi;

use crate::{
    api::{Api, SignInRequest},
    dto::{
        Completed, Completion, ConnectionQuery, Connections, OwnerName, OwnerQuery, Regenerated, SignInBody,
        Started,
    },
    error::ApiError,
};

use self::responses::{AgentErrors, BodyErrors, CallerErrors};

/// The deadline of handlers is their cut-off: no handler of this API answers with partial results.
const MARGINS: Margins = Margins::with_deadline(Duration::from_secs(1));

/// Paths below `/oauth/` that are routes of other methods. With `DELETE`, each of them is the id of an agent.
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
#[openapi(paths(delete_named_connection), components(schemas(ErrorBody)))]
struct Document;

edge::routes! {
    state: Arc<Api>,
    document: Document,
    handlers: [
        start_sign_in,
        complete_sign_in,
        regenerate,
        list_connections,
        delete_connection,
        callback::callback,
        callback::callback_of_server,
        get_client_metadata,
    ],
}

/// Returns the router of the connections API.
pub fn router(api: Arc<Api>) -> Router {
    let mut routes = routes();
    for path in PATHS_THAT_MAY_BE_IDS {
        routes = routes.route(path, delete(delete_named_connection));
    }
    routes = routes.route("/oauth/{*agent_id}", delete(delete_named_connection));
    let authentication = Authentication::new(api.authenticator().clone(), runtime::now);
    edge::serve(routes, api, MARGINS, authentication, |api, until| async move { api.settled(until).await })
}

/// Starts a sign-in to an agent's server
#[utoipa::path(
    post,
    path = "/oauth/start",
    operation_id = "startSignIn",
    request_body = SignInBody,
    responses(
        (status = 200, description = "The URL to send the user to.", body = Started),
        AgentErrors,
        CallerErrors,
        BodyErrors,
    ),
)]
async fn start_sign_in(
    State(api): State<Arc<Api>>,
    Member { caller, .. }: Member,
    Json(body): Json<SignInBody>,
) -> Result<Json<Started>, HttpError> {
    let request = sign_in_request(&body, &caller)?;
    response(api.start(&request, RegistrationChoice::Stored).await)
}

/// Completes a sign-in that the caller has started
#[utoipa::path(
    post,
    path = "/oauth/complete",
    operation_id = "completeSignIn",
    request_body = Completion,
    responses(
        (status = 200, description = "The tokens are stored.", body = Completed),
        AgentErrors,
        CallerErrors,
        BodyErrors,
    ),
)]
async fn complete_sign_in(
    State(api): State<Arc<Api>>,
    Member { caller, .. }: Member,
    Json(completion): Json<Completion>,
) -> Result<Json<Completed>, HttpError> {
    response(api.complete(&completion.state, &caller.user).await)
}

/// Starts a sign-in again; for an Admin, with a client that is registered again. If the grant type is client credentials, an Admin's call signs in at once
#[utoipa::path(
    post,
    path = "/oauth/regenerate",
    operation_id = "regenerate",
    request_body = SignInBody,
    responses(
        (status = 200, description = "The URL to send the user to, or that the sign-in is complete.", body = Regenerated),
        AgentErrors,
        CallerErrors,
        BodyErrors,
    ),
)]
async fn regenerate(
    State(api): State<Arc<Api>>,
    Member { caller, .. }: Member,
    Json(body): Json<SignInBody>,
) -> Result<Json<Regenerated>, HttpError> {
    let request = sign_in_request(&body, &caller)?;
    response(api.regenerate(&request).await)
}

/// Lists the agents that use OAuth, each with the state of the caller's sign-in
#[utoipa::path(
    get,
    path = "/oauth/connections",
    operation_id = "listConnections",
    responses((status = 200, description = "One connection for each such agent.", body = Connections), CallerErrors),
)]
async fn list_connections(
    State(api): State<Arc<Api>>,
    Member { caller, .. }: Member,
) -> Result<Json<Connections>, HttpError> {
    response(api.connections(&caller.user).await)
}

/// Deletes a sign-in, and revokes its tokens if the authorization server can do that
#[utoipa::path(
    delete,
    path = "/oauth",
    operation_id = "forgetSignInById",
    params(ConnectionQuery),
    responses((status = 204, description = "The sign-in is deleted."), AgentErrors, CallerErrors),
)]
async fn delete_connection(
    State(api): State<Arc<Api>>,
    Member { caller, .. }: Member,
    Query(query): Query<ConnectionQuery>,
) -> Result<StatusCode, HttpError> {
    forget(&api, &caller, &query.agent_id, query.owner).await
}

/// Deletes a sign-in, with the id in the path. Such an id contains no percent sign and does not end in a slash
#[utoipa::path(
    delete,
    path = "/oauth/{agent_id}",
    operation_id = "forgetSignIn",
    params(
        ("agent_id" = String, Path, description = "The agent's id.", min_length = 1, pattern = "^[^/]+$"),
        OwnerQuery,
    ),
    responses((status = 204, description = "The sign-in is deleted."), AgentErrors, CallerErrors),
)]
async fn delete_named_connection(
    State(api): State<Arc<Api>>,
    Member { caller, .. }: Member,
    uri: Uri,
    Query(query): Query<OwnerQuery>,
) -> Result<StatusCode, HttpError> {
    let segments = edge::path_segments(uri.path())?;
    // All segments after `oauth`, because an id may contain slashes.
    let agent_id = segments.get(1..).unwrap_or_default().join("/");
    forget(&api, &caller, &agent_id, query.owner).await
}

/// Returns the metadata document of this OAuth client. Its URL is the client id at authorization servers that accept that
#[utoipa::path(
    get,
    path = "/oauth/client-metadata.json",
    operation_id = "clientMetadata",
    security(()),
    responses((status = 200, description = "The client metadata document.", body = Object)),
)]
async fn get_client_metadata(State(api): State<Arc<Api>>) -> Json<Value> {
    let mut document = client_metadata(api.identity());
    document["client_id"] = api.identity().metadata_url.clone().into();
    Json(document)
}

/// Deletes the sign-in of an agent.
async fn forget(
    api: &Api,
    caller: &Caller,
    agent_id: &str,
    owner: Option<OwnerName>,
) -> Result<StatusCode, HttpError> {
    let owner = owner_of(owner, caller)?;
    response(api.forget(agent_id, &owner).await).map(|_| StatusCode::NO_CONTENT)
}

/// Returns the sign-in that a body requests.
fn sign_in_request<'a>(body: &'a SignInBody, caller: &'a Caller) -> Result<SignInRequest<'a>, HttpError> {
    let owner = owner_of(body.owner, caller)?;
    Ok(SignInRequest { agent_id: &body.agent_id, caller, owner, origin: body.origin.as_deref() })
}

/// Returns the owner of a sign-in: the caller, unless an administrator names everybody.
fn owner_of(name: Option<OwnerName>, caller: &Caller) -> Result<Owner, HttpError> {
    match name {
        None | Some(OwnerName::Me) => Ok(Owner::User(caller.user.clone())),
        Some(OwnerName::Everybody) if caller.is_admin() => Ok(Owner::Everybody),
        Some(OwnerName::Everybody) => Err(HttpError::forbidden("Admin")),
    }
}

/// Converts the outcome of an operation to a response, and logs an error.
fn response<T>(outcome: Result<T, ApiError>) -> Result<Json<T>, HttpError> {
    outcome.map(Json).map_err(|error| {
        tracing::warn!(%error, error.kind = %error.code(), "External MCP: a connection was not changed");
        HttpError::new(error.kind(), error.to_string()).with_code(error.code()).with_remedy(error.remedy())
    })
}
