//! The flags of `mcp-agents add` for the fields of an entry, made from the table of fields.
//!
//! Credentials are read from files: every user of the machine can read a command line.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use secret::{ENTRY_FIELDS, EntryField, EntryFields, FieldKind};
use serde_json::{Value, json};

use crate::prompt;

/// The fields that the positional argument of `add` gives.
const POSITIONAL: [&str; 2] = ["mcp_url", "agent_runtime_arn"];
/// What `add` does without a flag, where that is not the entry's own default.
const WITHOUT_FLAG: [(&str, &str); 3] = [
    ("agent_name", " `add` asks for it, and otherwise takes the server's host name."),
    ("transport", " Without this flag `add` tries both."),
    ("auth_type", " Without this flag `add` asks the server."),
];
const ALLOW_TOOL: &str = "allow-tool";
const DENY_TOOL: &str = "deny-tool";

/// The fields that the flags give. The value of a credential is not read before [`Self::put_into`].
#[derive(Debug)]
pub(crate) struct FieldFlags {
    texts: Vec<(&'static EntryField, String)>,
    secret_files: Vec<(&'static EntryField, PathBuf)>,
    /// Each is `NAME=FILE`.
    extra_headers: Vec<String>,
    allowed_tools: Vec<String>,
    denied_tools: Vec<String>,
}

impl FieldFlags {
    /// Puts the fields into an entry, and reads the files of credentials.
    ///
    /// # Errors
    /// A file cannot be read or is empty; an extra header is not `NAME=FILE`.
    pub(crate) fn put_into(&self, entry: &mut EntryFields) -> anyhow::Result<()> {
        for (field, text) in &self.texts {
            entry.set(field.name, text);
        }
        for (field, file) in &self.secret_files {
            entry.set_secret(field.name, prompt::secret(Some(file), field.name, "")?);
        }
        for header in &self.extra_headers {
            let (name, file) = header.split_once('=').ok_or(anyhow!("--extra-header is NAME=FILE"))?;
            entry.add_extra_header(name, prompt::secret(Some(Path::new(file)), name, "")?);
        }
        if let Some(tools) = self.tools() {
            entry.set_json("tools", tools);
        }
        Ok(())
    }

    fn tools(&self) -> Option<Value> {
        match (self.allowed_tools.as_slice(), self.denied_tools.as_slice()) {
            ([], []) => None,
            (allow, []) => Some(json!(allow)),
            ([], deny) => Some(json!({"deny": deny})),
            (allow, deny) => Some(json!({"allow": allow, "deny": deny})),
        }
    }
}

impl Args for FieldFlags {
    fn augment_args(command: Command) -> Command {
        let command =
            command.next_help_heading("Fields of the entry (secrets come from files; - is standard input)");
        fields_with_flags().flat_map(flags).fold(command, Command::arg).next_help_heading(None::<&str>)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for FieldFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let all = |flag: &str| matches.get_many(flag).unwrap_or_default().cloned().collect();
        let of_kinds = |kinds: &'static [FieldKind]| {
            fields_with_flags().filter(move |field| kinds.contains(&field.kind))
        };
        let texts = of_kinds(&[FieldKind::Text, FieldKind::Words]);
        let secrets = of_kinds(&[FieldKind::Secret]);
        Ok(Self {
            texts: texts.filter_map(|f| Some((f, matches.get_one::<String>(f.name)?.clone()))).collect(),
            secret_files: secrets
                .filter_map(|f| Some((f, matches.get_one::<PathBuf>(f.name)?.clone())))
                .collect(),
            extra_headers: all("extra_headers"),
            allowed_tools: all(ALLOW_TOOL),
            denied_tools: all(DENY_TOOL),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Returns the fields that flags give.
fn fields_with_flags() -> impl Iterator<Item = &'static EntryField> {
    ENTRY_FIELDS.iter().filter(|field| !POSITIONAL.contains(&field.name))
}

/// Returns the flags of one field: two for a selection of tools, otherwise one.
fn flags(field: &'static EntryField) -> Vec<Arg> {
    let flag = |id: &'static str, long: String| Arg::new(id).long(long).value_name(field.placeholder);
    let without_flag = WITHOUT_FLAG.iter().find(|(name, _)| *name == field.name).map_or("", |(_, text)| text);
    let help = format!("{}{without_flag}", field.help).replace('`', "");
    match field.kind {
        FieldKind::Text | FieldKind::Words => vec![flag(field.name, long_name(field)).help(help)],
        FieldKind::Secret => {
            let long = format!("{}-file", long_name(field));
            vec![flag(field.name, long).value_parser(value_parser!(PathBuf)).help(help)]
        }
        FieldKind::Headers => {
            let help = "A header for every request to the server; FILE holds its value. May be given again";
            vec![flag(field.name, "extra-header".to_owned()).action(ArgAction::Append).help(help)]
        }
        FieldKind::Tools => {
            let tool = |id: &'static str, help: &'static str| {
                flag(id, id.to_owned()).action(ArgAction::Append).help(help)
            };
            vec![
                tool(ALLOW_TOOL, "Offer only the tools that match this glob. May be given again"),
                tool(DENY_TOOL, "Do not offer the tools that match this glob. May be given again"),
            ]
        }
    }
}

fn long_name(field: &EntryField) -> String {
    field.name.strip_prefix("agent_").unwrap_or(field.name).replace('_', "-")
}
