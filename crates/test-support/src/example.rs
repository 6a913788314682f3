//! Two example MCP servers, on rmcp, that take access tokens of one Cognito app client and nothing else.
//!
//! They show what a server behind this backend does: check the signature against the pool's keys, the
//! expiry, that it is an access token, and that it is for this app client.

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

/// Which server, and whose tokens it takes.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Which of the two.
    #[arg(long, value_enum)]
    pub server: Which,
    /// Where the user pool's signing keys are.
    #[arg(long)]
    pub jwks_url: String,
    /// The app client whose tokens are taken.
    #[arg(long)]
    pub client_id: String,
}

/// The two examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// Adds and multiplies.
    Calculator,
    /// Knows where customers live.
    Addresses,
}

/// The example server at `/mcp`.
pub fn router(options: Options) -> Router {
    let mut config = StreamableHttpServerConfig::default();
    config.legacy_session_mode = false;
    config.json_response = true;
    let sessions = Arc::new(NeverSessionManager::default());
    let router = match options.server {
        Which::Calculator => Router::new()
            .route_service("/mcp", StreamableHttpService::new(|| Ok(Calculator), sessions, config)),
        Which::Addresses => Router::new()
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
    match is_good(&options, token).await {
        Some(true) => Ok(next.run(request).await),
        _ => Err(StatusCode::UNAUTHORIZED),
    }
}

/// Whether a token is one of this app client's access tokens, now; `None` if it cannot be read at all.
async fn is_good(options: &Options, token: &str) -> Option<bool> {
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
