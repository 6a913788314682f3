//! The policy: which addresses the client may connect to, over which scheme.
//!
//! A policy is about addresses and schemes, never about names. A name is checked by the address that it resolves to when
//! the client connects. Every policy refuses link-local and metadata addresses.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;

use crate::address::{AddressKind, destination};

/// The addresses that the client may connect to. `Default` is the strictest policy: public addresses over `https`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EgressPolicy {
    private: PrivateAddresses,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum PrivateAddresses {
    #[default]
    Refused,
    All,
    In(Vec<IpNet>),
}

/// The reason why the policy refuses an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The address is of a kind that the policy does not open.
    #[error("{address} is a {} address", kind.as_str())]
    Address {
        /// The refused address.
        address: IpAddr,
        /// The kind of the address.
        kind: AddressKind,
    },
    /// `http://` to an address that the policy does not open: credentials would be sent unencrypted.
    #[error("{address} would be reached over http without encryption")]
    NotEncrypted {
        /// The refused address.
        address: IpAddr,
    },
}

/// The value of `ALLOW_PRIVATE_MCP_SERVERS` is neither `true`, `false` nor a list of CIDRs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{part}` is neither `true`, `false` nor a CIDR such as `10.0.0.0/8`")]
pub struct PolicyError {
    part: String,
}

impl EgressPolicy {
    /// Creates the policy that permits private addresses, as `true` does. For addresses that an operator has configured.
    pub fn with_private_addresses() -> Self {
        Self { private: PrivateAddresses::All }
    }

    /// Checks that the policy permits `https` to an address.
    pub fn permits_https(&self, address: IpAddr) -> Result<(), Refusal> {
        let kind = AddressKind::of(address);
        match kind {
            AddressKind::Public => Ok(()),
            _ if self.opens(address) => Ok(()),
            _ => Err(Refusal::Address { address, kind }),
        }
    }

    /// Checks that the policy permits `http` to an address. It does so only for addresses that it opens, so that no
    /// credential crosses a public network unencrypted.
    pub fn permits_http(&self, address: IpAddr) -> Result<(), Refusal> {
        self.permits_https(address)?;
        if self.opens(address) { Ok(()) } else { Err(Refusal::NotEncrypted { address }) }
    }

    fn opens(&self, address: IpAddr) -> bool {
        let kind = AddressKind::of(address);
        match (&self.private, kind) {
            (_, AddressKind::LinkLocal | AddressKind::Metadata | AddressKind::NotAHost) => false,
            (PrivateAddresses::Refused, _) => false,
            (PrivateAddresses::All, kind) => kind != AddressKind::Public,
            (PrivateAddresses::In(networks), _) => {
                let address = destination(address);
                networks.iter().any(|network| network.contains(&address))
            }
        }
    }
}

/// Reads the value of `ALLOW_PRIVATE_MCP_SERVERS`: empty or `false`, `true`, or CIDRs separated by
/// commas or spaces.
impl FromStr for EgressPolicy {
    type Err = PolicyError;

    fn from_str(value: &str) -> Result<Self, PolicyError> {
        let private = match value.trim() {
            "" | "false" => PrivateAddresses::Refused,
            "true" => PrivateAddresses::All,
            list => list
                .split([',', ' '])
                .filter(|part| !part.is_empty())
                .map(|part| part.parse().map_err(|_| PolicyError { part: part.to_owned() }))
                .collect::<Result<_, _>>()
                .map(PrivateAddresses::In)?,
        };
        Ok(Self { private })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &str, address: &str, https: bool, http: bool) {
        let policy: EgressPolicy = policy.parse().unwrap();
        let ip = address.parse().unwrap();
        assert_eq!(policy.permits_https(ip).is_ok(), https, "https {address}");
        assert_eq!(policy.permits_http(ip).is_ok(), http, "http {address}");
    }

    #[test]
    fn strict_policy_takes_public_https_alone() {
        check("", "8.8.8.8", true, false);
        check("false", "10.0.0.1", false, false);
        check("", "127.0.0.1", false, false);
        check("", "::ffff:127.0.0.1", false, false);
    }

    #[test]
    fn development_policy_opens_private_but_never_metadata() {
        check("true", "127.0.0.1", true, true);
        check("true", "10.0.0.1", true, true);
        check("true", "8.8.8.8", true, false);
        check("true", "169.254.169.254", false, false);
        check("true", "::ffff:169.254.169.254", false, false);
        check("true", "fd00:ec2::254", false, false);
        check("true", "0.0.0.0", false, false);
    }

    #[test]
    fn a_list_opens_its_networks_alone() {
        check("10.0.0.0/16, fd12::/16", "10.0.3.4", true, true);
        check("10.0.0.0/16, fd12::/16", "fd12::1", true, true);
        check("10.0.0.0/16", "::ffff:10.0.3.4", true, true);
        check("10.0.0.0/16", "10.1.0.1", false, false);
        check("169.254.0.0/16", "169.254.169.254", false, false);
        check("0.0.0.0/0 ::/0", "169.254.169.254", false, false);
    }

    #[test]
    fn a_value_that_is_no_policy_is_named() {
        let error = "10.0.0.0/8,yes".parse::<EgressPolicy>().unwrap_err();
        assert!(error.to_string().contains("`yes`"), "{error}");
    }
}
