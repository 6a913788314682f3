//! Reads the configuration of a binary, once, and reports all problems together.
//!
//! A binary's config type reads each variable from [`Vars`] and ends with [`Vars::finish`]. The lookup is the
//! environment in production and a map in tests, so tests do not change the environment of the process.

use std::{fmt::Display, str::FromStr, time::Duration};

/// All problems of a configuration, each with the name of its variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration is wrong: {}", problems.join("; "))]
pub struct ConfigError {
    problems: Vec<String>,
}

/// The variables of one configuration, and the problems found so far.
pub struct Vars<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<String>,
}

/// Returns a variable of the process's environment; `None` if it is not set. Serves as the lookup of [`Vars`].
#[expect(clippy::disallowed_methods, reason = "this is the one place where the environment is read")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl<'a> Vars<'a> {
    /// Creates a reader over `lookup`.
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup, problems: Vec::new() }
    }

    /// Returns the value of a variable, trimmed. A blank value counts as unset, because templates pass empty
    /// parameters.
    pub fn optional(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// Returns the value of a variable that must be set. `what` names the value in the problem, such as “the name of a
    /// table”.
    pub fn required(&mut self, name: &str, what: &str) -> String {
        self.optional(name).unwrap_or_else(|| {
            self.problems.push(format!("{name} is not set: set it to {what}"));
            String::new()
        })
    }

    /// Returns a variable parsed as `T`; `default` if it is not set.
    pub fn parsed<T: FromStr<Err: Display>>(&mut self, name: &str, default: T) -> T {
        match self.optional(name).map(|value| value.parse()) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(error)) => {
                self.problems.push(format!("{name}: {error}"));
                default
            }
        }
    }

    /// Returns a variable parsed as `T`; `None` if it is not set.
    pub fn parsed_optional<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let parsed = self.optional(name)?.parse();
        parsed.map_err(|error| self.problems.push(format!("{name}: {error}"))).ok()
    }

    /// Returns a duration in seconds, above 0 and at most 86,400, fractions allowed; `default` if it is not set.
    pub fn seconds(&mut self, name: &str, default: Duration) -> Duration {
        let Some(value) = self.optional(name) else { return default };
        // No variable needs more than a day, and larger values would overflow when deadlines are computed.
        let seconds = value.parse().ok().filter(|seconds: &f64| *seconds > 0.0 && *seconds <= 86_400.0);
        match seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
            Some(duration) => duration,
            None => {
                self.problems.push(format!("{name} is not a number of seconds above zero and at most 86400"));
                default
            }
        }
    }

    /// Returns `config` if no problem was found.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem found.
    pub fn finish<T>(self, config: T) -> Result<T, ConfigError> {
        if self.problems.is_empty() { Ok(config) } else { Err(ConfigError { problems: self.problems }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_names_its_variable() {
        let lookup = |name: &str| match name {
            "SECONDS" => Some("soon".to_owned()),
            "NUMBER" => Some("1x".to_owned()),
            "BLANK" => Some("  ".to_owned()),
            _ => None,
        };
        let mut vars = Vars::new(&lookup);
        vars.required("BLANK", "the name of a table");
        vars.seconds("SECONDS", Duration::ZERO);
        vars.parsed("NUMBER", 7_u32);
        assert_eq!(vars.parsed("UNSET", 7_u32), 7);
        let error = vars.finish(()).unwrap_err().to_string();
        for name in ["BLANK", "SECONDS", "NUMBER"] {
            assert!(error.contains(name), "{error}");
        }
    }
}
