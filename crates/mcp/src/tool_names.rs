//! The cached forms of a server's tool list: the names, for this process, and the packed tools, for the catalog table.
//!
//! A list of agents needs the names alone, and parsed tools use some twenty times the memory of their JSON. So a list
//! that is read for the cache is packed page by page, and its parsed tools are never all in memory at once. Called by
//! [`crate::ToolCache`] and [`crate::SnapshotStore`].

use std::{
    collections::HashSet,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use rmcp::model::Tool;
use serde::Deserialize;

use crate::tool_list::ListBuilder;

/// Maximum size of an unpacked list, in bytes: far beyond what one server may list.
const MAX_UNPACKED_BYTES: u64 = 64 * 1024 * 1024;
/// Memory of a `String` in addition to its text, in bytes; approximate.
const STRING_OVERHEAD: usize = 32;

/// The names of a server's tools.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ToolNames {
    /// The names, in the order of the server's list.
    pub names: Vec<String>,
    /// Notes on what was left out, as in [`crate::ToolList`].
    pub left_out: Vec<String>,
}

impl ToolNames {
    /// Returns the memory of the names and notes, in bytes; approximate.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.names.iter().chain(&self.left_out).map(|text| text.len() + STRING_OVERHEAD).sum()
    }

    /// Reads the names out of a packed list.
    ///
    /// # Errors
    /// `packed` is not a list that [`PackedToolList`] has packed.
    pub(crate) fn unpack(packed: &[u8]) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Named {
            name: String,
        }
        let (tools, left_out): (Vec<Named>, Vec<String>) =
            aws_kit::json_from_gzip(packed, MAX_UNPACKED_BYTES)?;
        Ok(Self { names: tools.into_iter().map(|tool| tool.name).collect(), left_out })
    }
}

/// A list in the form that the cache stores. Built page by page.
#[derive(Debug)]
pub(crate) struct PackedToolList {
    pub(crate) tools: ToolNames,
    /// Gzipped JSON: an array of two arrays, the tool objects and the notes on what was left out. Each page is a gzip
    /// member of its own.
    pub(crate) packed: io::Result<Vec<u8>>,
}

impl Default for PackedToolList {
    fn default() -> Self {
        Self { tools: ToolNames::default(), packed: Ok(Vec::new()) }
    }
}

impl PackedToolList {
    fn pack(&mut self, json: serde_json::Result<Vec<u8>>) {
        let packed = std::mem::replace(&mut self.packed, Ok(Vec::new()));
        self.packed = packed.and_then(|packed| aws_kit::gzip_onto(packed, &json?));
    }

    fn is_empty(&self) -> bool {
        self.tools.names.is_empty()
    }
}

impl ListBuilder for PackedToolList {
    type List = Self;

    fn add_page(&mut self, tools: Vec<Tool>) {
        let Some((first, rest)) = tools.split_first() else { return };
        let mut json = if self.is_empty() { b"[[".to_vec() } else { b",".to_vec() };
        let mut written = serde_json::to_writer(&mut json, first);
        for tool in rest {
            json.push(b',');
            written = written.and_then(|()| serde_json::to_writer(&mut json, tool));
        }
        self.pack(written.map(|()| json));
        self.tools.names.extend(tools.into_iter().map(|tool| tool.name.into_owned()));
    }

    fn finish(mut self, left_out: Vec<String>) -> Self {
        let opening = if self.is_empty() { "[[" } else { "" };
        self.pack(serde_json::to_string(&left_out).map(|notes| format!("{opening}],{notes}]").into_bytes()));
        self.tools.left_out = left_out;
        self
    }
}

/// Interned tool names: equal lists are in memory once, however many users see them. Cheap to clone; clones share
/// their state.
#[derive(Debug, Clone, Default)]
pub(crate) struct ToolNamesInterner(Arc<Mutex<HashSet<Arc<ToolNames>>>>);

impl ToolNamesInterner {
    /// Returns the shared list that equals `tools`. Drops the lists that only the interner holds.
    pub(crate) fn intern(&self, tools: ToolNames) -> Arc<ToolNames> {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lists.retain(|list| Arc::strong_count(list) > 1);
        if let Some(list) = lists.get(&tools) {
            return Arc::clone(list);
        }
        let list = Arc::new(tools);
        lists.insert(Arc::clone(&list));
        list
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn tools(names: &[&str]) -> Vec<Tool> {
        let tools =
            names.iter().map(|name| json!({"name": name, "inputSchema": {"type": "object"}})).collect();
        serde_json::from_value(tools).unwrap()
    }

    fn packed(pages: &[&[&str]], left_out: &[&str]) -> PackedToolList {
        let mut list = PackedToolList::default();
        pages.iter().for_each(|page| list.add_page(tools(page)));
        list.finish(left_out.iter().map(|&note| note.to_owned()).collect())
    }

    #[test]
    fn a_list_is_read_as_it_was_packed() {
        let lists: [&[&[&str]]; 4] = [&[], &[&[]], &[&["a", "b"]], &[&["a"], &[], &["b", "c"]]];
        for pages in lists {
            let list = packed(pages, &["one"]);
            let bytes = list.packed.unwrap();
            assert_eq!(ToolNames::unpack(&bytes).unwrap(), list.tools, "{pages:?}");
            let whole: Value = aws_kit::json_from_gzip(&bytes, MAX_UNPACKED_BYTES).unwrap();
            assert_eq!(whole[0], serde_json::to_value(tools(&pages.concat())).unwrap(), "{pages:?}");
        }
        assert!(ToolNames::unpack(b"garbled").is_err());
    }

    #[test]
    fn equal_lists_are_in_memory_once_and_are_dropped_with_their_last_user() {
        let interner = ToolNamesInterner::default();
        let alice = interner.intern(packed(&[&["a"]], &[]).tools);
        let bob = interner.intern(packed(&[&["a"]], &[]).tools);
        let carol = interner.intern(packed(&[&["a"]], &["note"]).tools);
        assert!(Arc::ptr_eq(&alice, &bob) && !Arc::ptr_eq(&alice, &carol));
        drop((alice, bob, carol));
        interner.intern(ToolNames::default());
        assert_eq!(interner.0.lock().unwrap().len(), 1);
    }
}
