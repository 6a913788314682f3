//! Sends token requests: for an authorization code, a refresh token, or the client's own credentials.
//!
//! Adds the client's authentication through [`super::client_authentication`]; [`super::token_response`] reads the answer.
//! Stores nothing. Called by [`super::consent`] and [`super::lease_holder`].
//!
//! Source: RFC 6749 §§4.1.3, 4.4, 5 and 6; RFC 8707 for `resource`.

use egress::HttpClient;
use jiff::Timestamp;
use secrecy::SecretString;

use super::{
    authorization_server::AuthorizationServer,
    client_authentication::{Client, ClientRequest},
    error::OAuthError,
    request_context::{Endpoint, RequestContext, TokenRequestKind},
    token_response::read,
    wire::Answer,
};
use super::{error_response::page_as_status, token_set::TokenSet};

/// A token request, by what it exchanges for tokens.
pub(crate) enum TokenRequest<'a> {
    /// An authorization code, with its PKCE verifier (RFC 6749 §4.1.3).
    AuthorizationCode { code: &'a SecretString, verifier: &'a SecretString, redirect_uri: &'a str },
    /// A refresh token (RFC 6749 §6).
    RefreshToken(&'a SecretString),
    /// The client's own credentials (RFC 6749 §4.4).
    ClientCredentials { scopes: &'a [String], audience: Option<&'a str> },
}

/// A token response, with the method of client authentication that succeeded.
pub(crate) struct TokenResponse {
    pub(crate) tokens: TokenSet,
    /// The method that succeeded; `None` if there was no choice.
    pub(crate) auth_method: Option<&'static str>,
}

/// Sends a token request. Repeats it only if the server says that it did not process it.
///
/// # Errors
/// [`OAuthError`], without the secrets that the server repeats.
pub(crate) async fn request_tokens(
    http: &HttpClient,
    server: &AuthorizationServer,
    client: Client<'_>,
    request: TokenRequest<'_>,
    now: Timestamp,
) -> Result<TokenResponse, OAuthError> {
    let mut form = request.form();
    if let Some(resource) = &server.resource {
        form.push(("resource", resource.clone().into()));
    }
    let context = RequestContext {
        token_request: Some(request.kind()),
        client: Some(client.kind),
        ..RequestContext::default()
    };
    let may_repeat = |answer: &Answer| request.may_be_repeated(answer);
    let (to, endpoint) = (&server.token_endpoint, Endpoint::Token);
    let sent = ClientRequest { http, server, client, to, endpoint, form, may_repeat: &may_repeat, now };
    let response = sent.send().await?;
    let judged = |error| page_as_status(error, &response.answer).in_context(context);
    let tokens = read(&response.answer, &response.secrets, now).map_err(judged)?;
    Ok(TokenResponse { tokens, auth_method: response.method.name() })
}

impl TokenRequest<'_> {
    fn kind(&self) -> TokenRequestKind {
        match self {
            Self::AuthorizationCode { .. } => TokenRequestKind::AuthorizationCode,
            Self::RefreshToken(_) => TokenRequestKind::RefreshToken,
            Self::ClientCredentials { .. } => TokenRequestKind::ClientCredentials,
        }
    }

    /// Returns true if the same request may be sent again after this answer. 429 and 503 say that it was not processed.
    /// After another 5xx a code or refresh token may be used up; the client's own credentials cannot be.
    fn may_be_repeated(&self, answer: &Answer) -> bool {
        let is_unprocessed = matches!(answer.status.as_u16(), 429 | 503);
        is_unprocessed || answer.is_busy() && matches!(self, Self::ClientCredentials { .. })
    }

    fn form(&self) -> Vec<(&'static str, SecretString)> {
        let plain = |text: &str| SecretString::from(text);
        match self {
            Self::AuthorizationCode { code, verifier, redirect_uri } => vec![
                ("grant_type", plain("authorization_code")),
                ("code", (*code).clone()),
                ("code_verifier", (*verifier).clone()),
                ("redirect_uri", plain(redirect_uri)),
            ],
            Self::RefreshToken(token) => {
                vec![("grant_type", plain("refresh_token")), ("refresh_token", (*token).clone())]
            }
            Self::ClientCredentials { scopes, audience } => {
                let mut form = vec![("grant_type", plain("client_credentials"))];
                form.extend((!scopes.is_empty()).then(|| ("scope", plain(&scopes.join(" ")))));
                form.extend(audience.map(|audience| ("audience", plain(audience))));
                form
            }
        }
    }
}
