//! The state of the stand-in: what it has issued, and the requests that arrived. Processes token requests.
//!
//! Called by [`super`] for every request.

use std::collections::{HashMap, VecDeque};

use axum::http::{HeaderMap, header};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::settings::{Fault, Settings};

/// The settings of the server, what it has issued, and the requests that arrived.
#[derive(Default)]
pub(super) struct ServerState {
    pub(super) settings: Settings,
    pub(super) faults: VecDeque<Fault>,
    /// Client ids, with the secret of those that have one.
    pub(super) clients: HashMap<String, Option<String>>,
    pub(super) codes: HashMap<String, Code>,
    /// Every refresh token that was issued, with the number of its grant.
    refresh_tokens: HashMap<String, usize>,
    /// The current refresh token of each grant; `None` if the grant is revoked.
    grants: Vec<Option<String>>,
    /// Number of codes and access tokens that were issued.
    pub(super) issued: usize,
    pub(super) token_requests: Vec<HashMap<String, String>>,
    pub(super) registrations: Vec<Value>,
    pub(super) paths: Vec<String>,
}

/// The authorization request that a code was issued for.
pub(super) struct Code {
    pub(super) client_id: String,
    pub(super) redirect_uri: String,
    pub(super) challenge: String,
}

/// An OAuth error response: its status and code.
pub(super) type Refusal = (u16, &'static str);

impl ServerState {
    pub(super) fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Processes a token request. Returns the token response, or the refusal.
    pub(super) fn issue(
        &mut self,
        settings: &Settings,
        headers: &HeaderMap,
        form: &HashMap<String, String>,
    ) -> Result<Value, Refusal> {
        let value = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        let client_id = self.client(settings, headers, form)?;
        let refresh = match value("grant_type") {
            "authorization_code" => {
                let code = self.codes.remove(value("code")).ok_or((400, "invalid_grant"))?;
                let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(value("code_verifier")));
                let is_valid = code.client_id == client_id
                    && code.redirect_uri == value("redirect_uri")
                    && code.challenge == challenge;
                if !is_valid {
                    return Err((400, "invalid_grant"));
                }
                self.grants.push(None);
                Some(self.new_refresh_token(self.grants.len() - 1))
            }
            "refresh_token" => {
                let token = value("refresh_token");
                let grant = *self.refresh_tokens.get(token).ok_or((400, "invalid_grant"))?;
                if self.grants[grant].as_deref() != Some(token) {
                    // A second use: the token was stolen, or sent again by mistake.
                    self.grants[grant] = None;
                    return Err((400, "invalid_grant"));
                }
                settings.rotates.then(|| self.new_refresh_token(grant))
            }
            "client_credentials" => None,
            _ => return Err((400, "unsupported_grant_type")),
        };
        self.issued += 1;
        let mut tokens = json!({
            "access_token": format!("access-{}", self.issued),
            "token_type": "Bearer",
            "expires_in": settings.expires_in,
        });
        if let Some(refresh) = refresh {
            tokens["refresh_token"] = refresh.into();
        }
        Ok(tokens)
    }

    fn new_refresh_token(&mut self, grant: usize) -> String {
        let token = format!("refresh-{}", self.refresh_tokens.len() + 1);
        self.refresh_tokens.insert(token.clone(), grant);
        self.grants[grant] = Some(token.clone());
        token
    }

    /// Authenticates the client of a token request, and returns its id.
    fn client(
        &self,
        settings: &Settings,
        headers: &HeaderMap,
        form: &HashMap<String, String>,
    ) -> Result<String, Refusal> {
        let basic = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| BASE64_STANDARD.decode(value.to_str().ok()?.strip_prefix("Basic ")?).ok())
            .and_then(|pair| String::from_utf8(pair).ok())
            .filter(|_| !settings.takes_secrets_in_form_alone);
        let (id, secret) = match basic.as_deref().and_then(|pair| pair.split_once(':')) {
            Some((id, secret)) => (id.to_owned(), Some(secret.to_owned())),
            None => {
                let id = form.get("client_id").cloned().unwrap_or_default();
                (id, form.get("client_secret").cloned())
            }
        };
        let is_document = id.starts_with("https://");
        match self.clients.get(&id) {
            Some(known) if *known == secret => Ok(id),
            None if is_document => Ok(id),
            _ => Err((401, "invalid_client")),
        }
    }
}
