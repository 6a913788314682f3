//! The configuration of who may call over HTTP.

use std::time::Duration;

use auth::UserPoolId;
use egress::{Deadlines, EgressPolicy, HttpClient};
use identity::{Authenticator, Tenant, UserPool};
use runtime::Vars;
use url::Url;

/// Time limits for reading a user pool's signing keys, in seconds.
const KEY_DEADLINES: Deadlines = Deadlines { connect: Duration::from_secs(3), read: Duration::from_secs(3) };

/// Whose tokens an HTTP function accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityConfig {
    /// `USER_POOL_ID` and `USER_POOL_CLIENT_IDS` (separated by commas): a Cognito user pool and its app clients. Without
    /// them no token is accepted.
    pub pool: Option<(UserPoolId, Vec<String>)>,
    /// `AWS_ENDPOINT_URL`: another host for the pool's signing keys than AWS's own, as of a local AWS.
    pub endpoint: Option<Url>,
    /// `DEFAULT_ORG`: the tenant of users in no tenant's group. Default: `main`.
    pub default_tenant: Tenant,
}

impl IdentityConfig {
    /// Reads the variables that its fields name.
    pub fn from_vars(vars: &mut Vars<'_>) -> Self {
        let id = vars.parsed_optional::<UserPoolId>("USER_POOL_ID");
        let pool = id.map(|id| {
            let clients = vars.required("USER_POOL_CLIENT_IDS", "the app clients whose tokens are accepted");
            let clients = clients.split(',').map(str::trim).filter(|client| !client.is_empty());
            (id, clients.map(str::to_owned).collect())
        });
        Self {
            pool,
            endpoint: vars.parsed_optional("AWS_ENDPOINT_URL"),
            default_tenant: vars.parsed("DEFAULT_ORG", Tenant::default()),
        }
    }

    /// Makes the authenticator.
    pub fn authenticator(&self) -> Authenticator {
        // The address is AWS's or the operator's, not one that others choose: it may be private, as of a VPC endpoint.
        let http = || HttpClient::new(EgressPolicy::with_private_addresses(), KEY_DEADLINES);
        let pool = self.pool.as_ref();
        let pool =
            pool.map(|(id, clients)| UserPool::new(http(), id, clients.clone(), self.endpoint.as_ref()));
        Authenticator::new(pool, self.default_tenant.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_needs_its_app_clients() {
        let read = |vars: &[(&str, &str)]| {
            let lookup = |name: &str| {
                vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            let mut vars = Vars::new(&lookup);
            let config = IdentityConfig::from_vars(&mut vars);
            vars.finish(config)
        };
        let pool = ("USER_POOL_ID", "us-east-1_AbCdEf123");
        let config = read(&[pool, ("USER_POOL_CLIENT_IDS", "one, two,")]).unwrap();
        assert_eq!(config.pool.unwrap().1, ["one", "two"]);
        assert!(read(&[]).unwrap().pool.is_none());
        for (vars, part) in [
            (vec![pool], "USER_POOL_CLIENT_IDS is not set"),
            (vec![("USER_POOL_ID", "pool")], "USER_POOL_ID: is not a user pool id"),
        ] {
            let error = read(&vars).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
