//! The routes that authorization servers send browsers back to. They answer with pages.

use std::sync::Arc;

use auth::Redirect;
use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use edge::Path;
use url::form_urlencoded;

use super::{responses::Pages, told};
use crate::{api::Api, dto::CallbackQuery, error::ApiError, page};

/// Where authorization servers send browsers back to
#[utoipa::path(
    get,
    path = "/oauth/callback",
    operation_id = "callback",
    security(()),
    params(CallbackQuery),
    responses(Pages),
)]
pub(super) async fn callback(State(api): State<Arc<Api>>, RawQuery(query): RawQuery) -> Response {
    returned(&api, query.as_deref().unwrap_or_default(), None).await
}

/// The same for clients that registered themselves at a server that does not say who it is
#[utoipa::path(
    get,
    path = "/oauth/callback/{server}",
    operation_id = "callbackOfServer",
    security(()),
    params(
        ("server" = String, Path, description = "Which server's it is.", min_length = 1, pattern = "^[^/]+$"),
        CallbackQuery,
    ),
    responses(Pages),
)]
pub(super) async fn callback_of_server(
    State(api): State<Arc<Api>>,
    Path(server): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    returned(&api, query.as_deref().unwrap_or_default(), Some(&server)).await
}

/// A browser is back: the state is looked at and the code parked; the page says what comes next.
async fn returned(api: &Api, query: &str, server: Option<&str>) -> Response {
    let base = api.identity().redirect_uri.as_str();
    let redirect_uri = server.map_or_else(|| base.to_owned(), |server| format!("{base}/{server}"));
    let parameters: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let redirect = Redirect { redirect_uri: Some(redirect_uri), ..Redirect::from_pairs(parameters) };
    match api.callback(&redirect).await {
        Ok(arrived) => page::arrived(&arrived, redirect.state.as_deref().unwrap_or_default()),
        Err(error) => {
            let error = ApiError::from(error);
            let (message, remedy) = told(api, &error).await;
            tracing::warn!(
                error = message,
                error.kind = %error.code(),
                "External MCP: a sign-in was not taken in"
            );
            page::refused(error.kind().status(), &message, &remedy)
        }
    }
}
