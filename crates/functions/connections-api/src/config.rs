//! The function's configuration, read from the environment once, at cold start.

use auth::ClientIdentity;
use backend::{BackendConfig, IdentityConfig};
use runtime::{ConfigError, Vars};

use crate::origins::AllowedOrigins;

/// The function's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    pub(crate) backend: BackendConfig,
    /// `USER_POOL_ID`, `USER_POOL_CLIENT_IDS`: whose tokens are accepted.
    pub(crate) callers: IdentityConfig,
    /// `OAUTH_CALLBACK_URL`: the redirect URI. `OAUTH_CLIENT_METADATA_URL`: the URL of this client's metadata document;
    /// ignored unless it is `https`, because authorization servers accept no other.
    pub(crate) identity: ClientIdentity,
    /// `OAUTH_ALLOWED_ORIGINS`: the origins of pages that the callback page may notify, separated by commas. Default:
    /// none.
    pub(crate) allowed_origins: AllowedOrigins,
}

impl Config {
    /// Reads the variables that the fields name.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem found.
    pub fn from_vars(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut vars = Vars::new(lookup);
        // Without a table, a sign-in would be lost before its user comes back.
        vars.required("CONNECTIONS_TABLE", "the name of the table of connections");
        let config = Self {
            backend: BackendConfig::from_vars(&mut vars),
            callers: IdentityConfig::from_vars(&mut vars),
            identity: ClientIdentity {
                redirect_uri: vars.required("OAUTH_CALLBACK_URL", "the public URL of GET /oauth/callback"),
                metadata_url: vars
                    .optional("OAUTH_CLIENT_METADATA_URL")
                    .filter(|url| url.starts_with("https://")),
                redirect_uri_per_issuer: true,
            },
            allowed_origins: vars.parsed("OAUTH_ALLOWED_ORIGINS", AllowedOrigins::default()),
        };
        vars.finish(config)
    }
}
