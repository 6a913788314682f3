//! The redirect URIs: authorization servers send browsers here with a code or an error. The responses are HTML pages.

use std::sync::Arc;

use auth::Redirect;
use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use edge::Path;
use url::form_urlencoded;

use super::responses::Pages;
use crate::{api::Api, dto::CallbackQuery, page};

/// Receives the browser that an authorization server sends back
#[utoipa::path(
    get,
    path = "/oauth/callback",
    operation_id = "callback",
    security(()),
    params(CallbackQuery),
    responses(Pages),
)]
pub(super) async fn callback(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Response {
    accept_redirect(&api, query.as_deref().unwrap_or_default(), None).await
}

/// Receives the browser, for a client that registered itself at an authorization server that does not send `iss`
#[utoipa::path(
    get,
    path = "/oauth/callback/{server}",
    operation_id = "callbackOfServer",
    security(()),
    params(
        ("server" = String, Path, description = "The part of the redirect URI that identifies the authorization server.", min_length = 1, pattern = "^[^/]+$"),
        CallbackQuery,
    ),
    responses(Pages),
)]
pub(super) async fn callback_of_server(
    State(api): State<Arc<Api>>,
    Path(server): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    accept_redirect(&api, query.as_deref().unwrap_or_default(), Some(&server)).await
}

/// Checks the state and stores the code. Returns the page that tells the user the next step.
async fn accept_redirect(api: &Api, query: &str, server: Option<&str>) -> Response {
    let base = api.identity().redirect_uri.as_str();
    let came_to = server.map_or_else(|| base.to_owned(), |server| format!("{base}/{server}"));
    let parameters: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let redirect = Redirect { came_to: Some(came_to), ..Redirect::from_pairs(parameters) };
    match api.callback(&redirect).await {
        Ok(arrived) => page::arrived(&arrived, redirect.state.as_deref().unwrap_or_default()),
        Err(error) => {
            tracing::warn!(%error, error.kind = %error.code(), "External MCP: a sign-in was not taken in");
            page::refused(error.kind().status(), &error.to_string(), &error.remedy())
        }
    }
}
