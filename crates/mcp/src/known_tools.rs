//! What is kept of a server's list: the names in the process, the tools themselves packed for the table.
//!
//! A list of agents needs names alone, and parsed tools take some twenty times the memory of their JSON. So a list that
//! is read to be kept is packed page by page, and no list is ever held whole.

use std::{
    collections::HashSet,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use rmcp::model::Tool;
use serde::Deserialize;

use crate::tool_list::ListBuilder;

/// The most that a packed list unpacks to: far beyond what one server may list.
const MAX_UNPACKED_BYTES: u64 = 64 * 1024 * 1024;
/// What a text takes of memory beside its bytes.
const TEXT_BYTES: usize = 32;

/// What is known of a server's tools.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct KnownTools {
    /// The names of its tools.
    pub names: Vec<String>,
    /// What was left out, as in [`crate::ToolList`].
    pub left_out: Vec<String>,
}

impl KnownTools {
    /// How many bytes of memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.names.iter().chain(&self.left_out).map(|text| text.len() + TEXT_BYTES).sum()
    }

    /// What is known of the list in `packed`.
    ///
    /// # Errors
    /// `packed` is no list that [`PackedList`] made.
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

/// A list as it is read to be kept.
#[derive(Debug)]
pub(crate) struct PackedList {
    pub(crate) known: KnownTools,
    /// An array of two arrays, the tools and what was left out, as JSON in gzip: one member of it for each page.
    pub(crate) packed: io::Result<Vec<u8>>,
}

impl Default for PackedList {
    fn default() -> Self {
        Self { known: KnownTools::default(), packed: Ok(Vec::new()) }
    }
}

impl PackedList {
    fn pack(&mut self, json: serde_json::Result<Vec<u8>>) {
        let packed = std::mem::replace(&mut self.packed, Ok(Vec::new()));
        self.packed = packed.and_then(|packed| aws_kit::gzip_onto(packed, &json?));
    }

    fn is_empty(&self) -> bool {
        self.known.names.is_empty()
    }
}

impl ListBuilder for PackedList {
    type List = Self;

    fn add(&mut self, tools: Vec<Tool>) {
        let Some((first, rest)) = tools.split_first() else { return };
        let mut json = if self.is_empty() { b"[[".to_vec() } else { b",".to_vec() };
        let mut written = serde_json::to_writer(&mut json, first);
        for tool in rest {
            json.push(b',');
            written = written.and_then(|()| serde_json::to_writer(&mut json, tool));
        }
        self.pack(written.map(|()| json));
        self.known.names.extend(tools.into_iter().map(|tool| tool.name.into_owned()));
    }

    fn end(mut self, left_out: Vec<String>) -> Self {
        let opening = if self.is_empty() { "[[" } else { "" };
        self.pack(serde_json::to_string(&left_out).map(|notes| format!("{opening}],{notes}]").into_bytes()));
        self.known.left_out = left_out;
        self
    }
}

/// Lists of which each is in memory once, however many users see the same. Cheap to clone; clones share.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedLists(Arc<Mutex<HashSet<Arc<KnownTools>>>>);

impl SharedLists {
    /// The one that equals `known`. Those that nobody else holds any more are let go.
    pub(crate) fn share(&self, known: KnownTools) -> Arc<KnownTools> {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lists.retain(|list| Arc::strong_count(list) > 1);
        if let Some(list) = lists.get(&known) {
            return Arc::clone(list);
        }
        let list = Arc::new(known);
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

    fn packed(pages: &[&[&str]], left_out: &[&str]) -> PackedList {
        let mut list = PackedList::default();
        pages.iter().for_each(|page| list.add(tools(page)));
        list.end(left_out.iter().map(|&note| note.to_owned()).collect())
    }

    #[test]
    fn a_list_is_read_as_it_was_packed() {
        let lists: [&[&[&str]]; 4] = [&[], &[&[]], &[&["a", "b"]], &[&["a"], &[], &["b", "c"]]];
        for pages in lists {
            let list = packed(pages, &["one"]);
            let bytes = list.packed.unwrap();
            assert_eq!(KnownTools::unpack(&bytes).unwrap(), list.known, "{pages:?}");
            let whole: Value = aws_kit::json_from_gzip(&bytes, MAX_UNPACKED_BYTES).unwrap();
            assert_eq!(whole[0], serde_json::to_value(tools(&pages.concat())).unwrap(), "{pages:?}");
        }
        assert!(KnownTools::unpack(b"garbled").is_err());
    }

    #[test]
    fn equal_lists_are_in_memory_once_and_go_with_their_last_holder() {
        let shared = SharedLists::default();
        let alice = shared.share(packed(&[&["a"]], &[]).known);
        let bob = shared.share(packed(&[&["a"]], &[]).known);
        let carol = shared.share(packed(&[&["a"]], &["note"]).known);
        assert!(Arc::ptr_eq(&alice, &bob) && !Arc::ptr_eq(&alice, &carol));
        drop((alice, bob, carol));
        shared.share(KnownTools::default());
        assert_eq!(shared.0.lock().unwrap().len(), 1);
    }
}
