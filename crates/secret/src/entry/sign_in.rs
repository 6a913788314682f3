//! Reads the fields of the sign-in: `auth_type`, and those that belong to one `auth_type`.

use auth::{
    ApiKeyConfig, ApiKeyError, AuthConfig, ClientAuthentication, ClientRegistration, CognitoConfig,
    ExtraHeaders, GrantType, OAuthConfig, Owner, PrivateKey, ResourceIndicator, is_loopback,
};
use secrecy::ExposeSecret;
use serde_json::Value;
use url::Url;

use super::{
    Reader,
    fields::AuthType,
    hints::suggestion,
    table::{entry_field, fields_of, is_allowed},
};

/// The fields that a sign-in with Cognito requires.
const COGNITO_REQUIRED: [&str; 4] =
    ["cognito_user_pool_id", "cognito_client_id", "cognito_username", "cognito_password"];

impl Reader<'_> {
    /// Returns the sign-in that `auth_type` names; without it, the one that a given field belongs to, else none.
    pub(super) fn auth_type(&mut self) -> Option<AuthType> {
        let Some(given) = self.text("auth_type") else {
            let kinds = [AuthType::Cognito, AuthType::ApiKey, AuthType::OAuth2];
            let found =
                kinds.into_iter().find(|kind| fields_of(*kind).any(|field| self.is_given(field.name)));
            let kind = found.unwrap_or(AuthType::None);
            self.warn_of_foreign_fields(kind);
            return Some(kind);
        };
        match AuthType::named(given.trim()) {
            Some(kind) => {
                self.refuse_foreign_fields(kind);
                Some(kind)
            }
            None => {
                self.note("auth_type", "is unknown: use none, cognito, api_key or oauth2", true);
                None
            }
        }
    }

    /// Warns of fields that do not belong to the sign-in. Without `auth_type` they are ignored: they may be the user's
    /// own notes.
    fn warn_of_foreign_fields(&mut self, kind: AuthType) {
        for name in self.foreign_fields(kind) {
            let problem = match (sign_in_of(&name), suggestion(&name, None)) {
                (Some(other), _) => {
                    format!(
                        "is ignored: it belongs to auth_type {}, and this is {}",
                        other.name(),
                        kind.name()
                    )
                }
                (None, Some(suggestion)) => format!("is unknown and ignored: {suggestion}"),
                (None, None) => "is unknown and ignored".to_owned(),
            };
            self.note(&name, problem, false);
        }
    }

    /// Refuses fields that do not belong to the sign-in that `auth_type` names.
    fn refuse_foreign_fields(&mut self, kind: AuthType) {
        for name in self.foreign_fields(kind) {
            let remedy = suggestion(&name, Some(kind)).unwrap_or_else(|| "remove it".to_owned());
            let problem = match sign_in_of(&name) {
                Some(other) => {
                    format!("does not belong to auth_type {} but to {}: {remedy}", kind.name(), other.name())
                }
                None => format!("is not a field of auth_type {}: {remedy}", kind.name()),
            };
            self.note(&name, problem, true);
        }
    }

    fn foreign_fields(&self, kind: AuthType) -> Vec<String> {
        let is_foreign = |name: &&String| !is_allowed(kind, name);
        // A known field that is empty counts as absent.
        let counts = |name: &&String| sign_in_of(name).is_none() || self.is_given(name);
        self.fields.names().filter(is_foreign).filter(counts).cloned().collect()
    }

    /// Returns the sign-in, unless one of its fields is missing or wrong.
    pub(super) fn sign_in(
        &mut self,
        kind: AuthType,
        url: Option<&Url>,
        extra: &ExtraHeaders,
    ) -> Option<AuthConfig> {
        match kind {
            AuthType::None => Some(AuthConfig::None),
            AuthType::Cognito => self.cognito().map(AuthConfig::Cognito),
            AuthType::ApiKey => self.api_key().map(AuthConfig::ApiKey),
            AuthType::OAuth2 => self.oauth(url, extra).map(|config| AuthConfig::OAuth(Box::new(config))),
        }
    }

    fn need(&mut self, fields: &[&str], what: &str) {
        let missing: Vec<&str> = fields.iter().copied().filter(|field| !self.is_given(field)).collect();
        for field in missing {
            self.note(field, format!("is missing: {what} needs it"), true);
        }
    }

    fn cognito(&mut self) -> Option<CognitoConfig> {
        self.need(&COGNITO_REQUIRED, "signing in with Cognito");
        let pool = self.text("cognito_user_pool_id").and_then(|id| match id.trim().parse() {
            Ok(pool) => Some(pool),
            Err(error) => {
                self.note("cognito_user_pool_id", format!("{error}"), true);
                None
            }
        });
        let client_id = self.text("cognito_client_id");
        let client_secret = self.secret("cognito_client_secret");
        let username = self.text("cognito_username");
        let password = self.secret("cognito_password");
        Some(CognitoConfig {
            user_pool_id: pool?,
            client_id: client_id?.trim().to_owned(),
            client_secret,
            username: username?,
            password: password?,
        })
    }

    fn api_key(&mut self) -> Option<ApiKeyConfig> {
        self.need(&["credentials"], "signing in with a key");
        let header = self.text("api_key_header").map(|name| name.trim().to_owned());
        let scheme = self.text("authorization_scheme").map(|scheme| scheme.trim().to_owned());
        let key = self.secret("credentials")?;
        let has_scheme = key.expose_secret().trim().contains(' ');
        let scheme = match scheme.as_deref() {
            _ if has_scheme => None,
            Some(none) if none.eq_ignore_ascii_case("none") => None,
            Some(scheme) if !is_token(scheme) => {
                self.note("authorization_scheme", "is not a scheme: use Bearer, Token or none", true);
                None
            }
            Some(scheme) => Some(scheme),
            // A header named by the entry carries the key without a scheme, unless the entry names one.
            None => header.is_none().then_some("Bearer"),
        };
        match ApiKeyConfig::new(header.as_deref(), scheme, &key) {
            Ok(config) => Some(config),
            Err(error) => {
                let field = match error {
                    ApiKeyError::Header => "api_key_header",
                    ApiKeyError::Value => "credentials",
                };
                self.note(field, error.to_string(), true);
                None
            }
        }
    }

    fn oauth(&mut self, url: Option<&Url>, extra: &ExtraHeaders) -> Option<OAuthConfig> {
        let grant = self.grant_type();
        let client = self.client();
        if grant == Some(GrantType::ClientCredentials) {
            self.need(&["client_id"], "grant_type client_credentials");
            if !self.is_given("client_secret") && !self.is_given("private_key") {
                self.note(
                    "client_secret",
                    "is missing: grant_type client_credentials needs it, or private_key",
                    true,
                );
            }
        }
        let resource = match self.text("resource") {
            None => ResourceIndicator::Discovered,
            Some(text) if text.trim() == "omit" => ResourceIndicator::Omitted,
            Some(text) => match Url::parse(text.trim()) {
                Ok(url) if url.fragment().is_none() => ResourceIndicator::Given(text.trim().to_owned()),
                _ => {
                    self.note("resource", "is neither a URL without a fragment nor \"omit\"", true);
                    ResourceIndicator::Discovered
                }
            },
        };
        Some(OAuthConfig {
            server_url: url?.clone(),
            grant,
            client,
            scopes: self.words("scopes"),
            audience: self.text("audience"),
            resource,
            issuer: self.endpoint("issuer").map(|(text, _)| text),
            authorization_url: self.endpoint("authorization_url").map(|(_, url)| url),
            token_url: self.endpoint("token_url").map(|(_, url)| url),
            extra_headers: extra.clone(),
            owners: vec![Owner::Everybody],
        })
    }

    fn grant_type(&mut self) -> Option<GrantType> {
        match self.text("grant_type")?.trim() {
            "client_credentials" => Some(GrantType::ClientCredentials),
            "authorization_code" => Some(GrantType::AuthorizationCode),
            _ => {
                self.note("grant_type", "is unknown: use authorization_code or client_credentials", true);
                None
            }
        }
    }

    fn client(&mut self) -> Option<ClientRegistration> {
        let client_id = self.text("client_id").map(|id| id.trim().to_owned());
        let secret = self.secret("client_secret");
        let pem = self.secret("private_key");
        if client_id.is_none() && (secret.is_some() || pem.is_some()) {
            self.note("client_id", "is missing: its secret or key is given", true);
        }
        if secret.is_some() && pem.is_some() {
            self.note("private_key", "is given beside client_secret: one of them is enough", true);
        }
        let (algorithm, key_id) = (self.text("signing_algorithm"), self.text("private_key_id"));
        let authentication = match (secret, pem) {
            (Some(secret), _) => ClientAuthentication::Secret(secret.expose_secret().trim().into()),
            (None, Some(pem)) => ClientAuthentication::PrivateKey(PrivateKey { pem, algorithm, key_id }),
            (None, None) => ClientAuthentication::Public,
        };
        Some(ClientRegistration { client_id: client_id?, authentication })
    }

    /// Returns the URL that a secret or the user's browser is sent to: `https`, or `http` on a loopback address.
    fn endpoint(&mut self, field: &str) -> Option<(String, Url)> {
        let text = self.text(field)?.trim().to_owned();
        match Url::parse(&text) {
            Ok(url) if url.scheme() == "https" && url.host().is_some() => Some((text, url)),
            Ok(url) if url.scheme() == "http" && is_loopback(&url) => Some((text, url)),
            _ => {
                self.note(field, "is not an https URL", true);
                None
            }
        }
    }

    /// Returns the words of a text with spaces between them, or of a list of texts.
    fn words(&mut self, field: &str) -> Vec<String> {
        let words: Option<Vec<String>> = match self.json(field) {
            None => Some(Vec::new()),
            Some(Value::String(text)) => Some(text.split_whitespace().map(str::to_owned).collect()),
            Some(Value::Array(values)) => values.iter().map(|v| v.as_str().map(str::to_owned)).collect(),
            Some(_) => None,
        };
        words.unwrap_or_else(|| {
            self.note(field, "is neither a text nor a list of texts", true);
            Vec::new()
        })
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
}

/// Returns the sign-in that a field belongs to, if it belongs to one alone.
fn sign_in_of(field: &str) -> Option<AuthType> {
    entry_field(field)?.auth_type
}
