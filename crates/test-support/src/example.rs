//! Two example MCP servers, built with rmcp, that accept access tokens of one Cognito app client and no other
//! credential.
//!
//! They show how a server behind this backend checks a token: the signature against the user pool's keys, the expiry,
//! that it is an access token, and that it was issued to this app client. Used by the demo, the bench and the tests.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::Response,
};
use clap::{Args, ValueEnum};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use rmcp::{
    Json, ServerHandler,
    handler::server::wrapper::Parameters,
    tool, tool_handler, tool_router,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The server to run, and the tokens that it accepts.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The server to run
    #[arg(long, value_enum)]
    pub server: ExampleServer,
    /// URL of the user pool's signing keys (JWKS)
    #[arg(long)]
    pub jwks_url: String,
    /// The app client whose access tokens are accepted
    #[arg(long)]
    pub client_id: String,
}

/// The example servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExampleServer {
    /// Adds and multiplies.
    Calculator,
    /// Returns the addresses of customers.
    Addresses,
}

/// Returns the example server at `/mcp`.
pub fn router(options: Options) -> Router {
    let mut config = StreamableHttpServerConfig::default();
    config.legacy_session_mode = false;
    config.json_response = true;
    let sessions = Arc::new(NeverSessionManager::default());
    let router = match options.server {
        ExampleServer::Calculator => Router::new()
            .route_service("/mcp", StreamableHttpService::new(|| Ok(Calculator), sessions, config)),
        ExampleServer::Addresses => Router::new()
            .route_service("/mcp", StreamableHttpService::new(|| Ok(Addresses), sessions, config)),
    };
    router.layer(middleware::from_fn_with_state(Arc::new(options), check_token))
}

async fn check_token(
    State(options): State<Arc<Options>>,
    request: Request,
    next: Next,
) -> Result<Response, StatusCode> {
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| value.strip_prefix("Bearer ")).ok_or(StatusCode::UNAUTHORIZED)?;
    match is_accepted(&options, token).await {
        Some(true) => Ok(next.run(request).await),
        _ => Err(StatusCode::UNAUTHORIZED),
    }
}

/// Returns true if the token is a valid access token of this app client; `None` if it cannot be verified.
async fn is_accepted(options: &Options, token: &str) -> Option<bool> {
    #[derive(Deserialize)]
    struct Claims {
        token_use: String,
        client_id: String,
    }
    let key_id = decode_header(token).ok()?.kid?;
    #[expect(clippy::disallowed_methods, reason = "an example server reaches its own user pool")]
    let keys: JwkSet = reqwest::get(&options.jwks_url).await.ok()?.json().await.ok()?;
    let key = DecodingKey::from_jwk(keys.find(&key_id)?).ok()?;
    let claims = decode::<Claims>(token, &key, &Validation::new(Algorithm::RS256)).ok()?.claims;
    Some(claims.token_use == "access" && claims.client_id == options.client_id)
}

struct Calculator;

#[derive(Deserialize, JsonSchema)]
struct Operands {
    /// The first number
    a: f64,
    /// The second number
    b: f64,
}

#[derive(Serialize, JsonSchema)]
struct Outcome {
    result: f64,
}

#[tool_router]
impl Calculator {
    /// Adds two numbers: a plus b
    #[tool(annotations(read_only_hint = true))]
    async fn add(&self, Parameters(Operands { a, b }): Parameters<Operands>) -> Json<Outcome> {
        Json(Outcome { result: a + b })
    }

    /// Multiplies two numbers: a times b
    #[tool(annotations(read_only_hint = true))]
    async fn multiply(&self, Parameters(Operands { a, b }): Parameters<Operands>) -> Json<Outcome> {
        Json(Outcome { result: a * b })
    }
}

#[tool_handler]
impl ServerHandler for Calculator {}

struct Addresses;

#[derive(Deserialize, JsonSchema)]
struct Customer {
    /// The customer's full name
    name: String,
}

#[tool_router]
impl Addresses {
    /// Looks up the address where a client lives
    #[tool(annotations(read_only_hint = true))]
    async fn get_client_address(
        &self,
        Parameters(Customer { name }): Parameters<Customer>,
    ) -> Result<String, String> {
        match name.as_str() {
            "Ada Lovelace" => Ok("12 St James's Square, London".to_owned()),
            "Grace Hopper" => Ok("1 Navy Yard, Arlington".to_owned()),
            _ => Err(format!("no customer is called {name}")),
        }
    }
}

#[tool_handler]
impl ServerHandler for Addresses {}
