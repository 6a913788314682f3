//! Reading configuration: once, from a lookup, every problem told at once.
//!
//! A binary's config asks [`Vars`] for each variable and ends with [`Vars::finish`]. The lookup is the
//! environment in production and a map in tests, which so never touch the process's own.

use std::{fmt::Display, str::FromStr, time::Duration};

/// What is wrong with the configuration: every problem, by variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the configuration is wrong: {}", problems.join("; "))]
pub struct ConfigError {
    problems: Vec<String>,
}

/// Variables of one configuration, and what was found wrong with them so far.
pub struct Vars<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<String>,
}

/// The process's environment as a lookup.
#[expect(clippy::disallowed_methods, reason = "this is the one place where the environment is read")]
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl<'a> Vars<'a> {
    /// Reads from `lookup`.
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup, problems: Vec::new() }
    }

    /// A variable's value; blank counts as unset, as it is for templates that pass empty parameters.
    pub fn optional(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// A variable that must be set; `what` says what to set it to.
    pub fn required(&mut self, name: &str, what: &str) -> String {
        self.optional(name).unwrap_or_else(|| {
            self.problems.push(format!("{name} is not set: set it to {what}"));
            String::new()
        })
    }

    /// A variable of a type of its own.
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

    /// A variable of a type of its own that need not be set.
    pub fn parsed_optional<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let parsed = self.optional(name)?.parse();
        parsed.map_err(|error| self.problems.push(format!("{name}: {error}"))).ok()
    }

    /// A number of seconds, fractions allowed, above zero.
    pub fn seconds(&mut self, name: &str, default: Duration) -> Duration {
        let Some(value) = self.optional(name) else { return default };
        // A day is more than any of them can mean; more would overflow deadlines further on.
        let seconds = value.parse().ok().filter(|seconds: &f64| *seconds > 0.0 && *seconds <= 86_400.0);
        match seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
            Some(duration) => duration,
            None => {
                self.problems.push(format!("{name} is not a number of seconds above zero and at most 86400"));
                default
            }
        }
    }

    /// The configuration, if nothing was wrong with it.
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
    fn every_problem_is_told_by_its_variable() {
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
