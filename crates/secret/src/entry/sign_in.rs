//! The fields that say how a server is signed in to.

use auth::{
    ApiKeyConfig, ApiKeyError, AuthConfig, ClientAuthentication, ClientRegistration, CognitoConfig,
    ExtraHeaders, GrantType, OAuthConfig, Owner, PrivateKey, ResourceIndicator, is_loopback,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::{
    Reader,
    fields::{AuthType, nearest, of_other_clients, owner},
};

/// What signing in with Cognito cannot do without.
const COGNITO_NEEDS: [&str; 4] =
    ["cognito_user_pool_id", "cognito_client_id", "cognito_username", "cognito_password"];

impl Reader<'_> {
    /// How the server is signed in to: as `auth_type` says, else as the fields that are there tell.
    pub(super) fn auth_type(&mut self) -> Option<AuthType> {
        let Some(given) = self.text("auth_type") else {
            let kinds = [AuthType::Cognito, AuthType::ApiKey, AuthType::OAuth2];
            let told = kinds.into_iter().find(|kind| kind.fields().iter().any(|field| self.is_given(field)));
            let kind = told.unwrap_or(AuthType::None);
            self.warn_of_fields_beside(kind);
            return Some(kind);
        };
        match AuthType::named(given.trim()) {
            Some(kind) => {
                self.refuse_fields_beside(kind);
                Some(kind)
            }
            None => {
                self.note("auth_type", "is unknown: use none, cognito, api_key or oauth2", true);
                None
            }
        }
    }

    /// Without `auth_type` a field that nothing is known of may be a note of somebody's.
    fn warn_of_fields_beside(&mut self, kind: AuthType) {
        for name in self.names_beside(kind) {
            let problem = match (owner(&name), suggestion(&name, None)) {
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

    /// Who says `auth_type` has said what the fields are.
    fn refuse_fields_beside(&mut self, kind: AuthType) {
        for name in self.names_beside(kind) {
            let remedy = suggestion(&name, Some(kind)).unwrap_or_else(|| "remove it".to_owned());
            let problem = match owner(&name) {
                Some(other) => {
                    format!("does not belong to auth_type {} but to {}: {remedy}", kind.name(), other.name())
                }
                None => format!("is not a field of auth_type {}: {remedy}", kind.name()),
            };
            self.note(&name, problem, true);
        }
    }

    fn names_beside(&self, kind: AuthType) -> Vec<String> {
        // A known field that is left empty says nothing.
        let says_something = |name: &&String| owner(name).is_none() || self.is_given(name);
        let beside = self.fields.keys().filter(|name| !kind.allows(name));
        beside.filter(says_something).cloned().collect()
    }

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
        self.need(&COGNITO_NEEDS, "signing in with Cognito");
        let pool = self.text("cognito_user_pool_id").and_then(|id| match id.trim().parse() {
            Ok(pool) => Some(pool),
            Err(error) => {
                self.note("cognito_user_pool_id", format!("{error}"), true);
                None
            }
        });
        let client_id = self.text("cognito_client_id");
        let client_secret = self.text("cognito_client_secret").map(SecretString::from);
        let username = self.text("cognito_username");
        let password = self.text("cognito_password").map(SecretString::from);
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
        let key = self.text("credentials").map(SecretString::from)?;
        let has_scheme = key.expose_secret().trim().contains(' ');
        let scheme = match scheme.as_deref() {
            _ if has_scheme => None,
            Some(none) if none.eq_ignore_ascii_case("none") => None,
            Some(scheme) if !is_token(scheme) => {
                self.note("authorization_scheme", "is not a scheme: use Bearer, Token or none", true);
                None
            }
            Some(scheme) => Some(scheme),
            // A header of its own holds the bare key unless a scheme is asked for.
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
        let secret = self.text("client_secret").map(SecretString::from);
        let pem = self.text("private_key").map(SecretString::from);
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

    /// A URL that a secret or a browser is sent to.
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

    /// Words: a text with spaces between them, or a list of texts.
    fn words(&mut self, field: &str) -> Vec<String> {
        let words: Option<Vec<String>> = match self.fields.get(field) {
            None | Some(Value::Null) => Some(Vec::new()),
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

/// What a field that does not belong there may have meant.
fn suggestion(name: &str, kind: Option<AuthType>) -> Option<String> {
    let known = || nearest(name, kind).filter(|known| *known != name);
    let others = of_other_clients(name).map(str::to_owned);
    others.or_else(|| known().map(|known| format!("did you mean {known}?")))
}
