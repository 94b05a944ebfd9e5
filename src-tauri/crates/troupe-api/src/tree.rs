//! The tree of a chat as rows to be listed: one row a message, branches to the side.

use std::collections::{HashMap, HashSet};

/// A message's row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row<'a> {
    pub(crate) id: &'a str,
    pub(crate) lane: u32,
    pub(crate) num_branches: u32,
    pub(crate) is_shown: bool,
}

/// Rows in reading order, from messages with their parents, oldest first; `leaf` ends the thread on
/// the screen. The oldest continuation stays in the lane of its message; each further one starts a
/// lane of its own and comes first, so that it stands right under the message that it leaves.
pub(crate) fn outline<'a>(
    messages: &'a [(String, Option<String>)],
    leaf: Option<&str>,
) -> Vec<Row<'a>> {
    let mut children: HashMap<Option<&str>, Vec<&str>> = HashMap::new();
    let mut parents: HashMap<&str, &str> = HashMap::new();
    for (id, parent) in messages {
        children.entry(parent.as_deref()).or_default().push(id);
        parents.extend(parent.as_deref().map(|parent| (id.as_str(), parent)));
    }
    let shown: HashSet<&str> = std::iter::successors(leaf, |id| parents.get(id).copied()).collect();
    let roots = children.get(&None).map_or(&[][..], Vec::as_slice);
    // A stack instead of recursion: threads are thousands of messages deep.
    let mut open: Vec<(&str, u32)> =
        roots.iter().copied().zip(0..roots.len() as u32).rev().collect();
    let mut rows = Vec::with_capacity(messages.len());
    while let Some((id, lane)) = open.pop() {
        let below = children.get(&Some(id)).map_or(&[][..], Vec::as_slice);
        let num_branches = below.len() as u32;
        rows.push(Row { id, lane, num_branches, is_shown: shown.contains(id) });
        open.extend(below.first().map(|main| (*main, lane)));
        open.extend(below.iter().skip(1).rev().map(|side| (*side, lane + 1)));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, parent: Option<&str>) -> (String, Option<String>) {
        (id.into(), parent.map(Into::into))
    }

    #[test]
    fn branches_stand_beside_the_line_that_they_leave() {
        let messages = [
            node("a", None),
            node("b", Some("a")),
            node("c", Some("b")),
            node("b2", Some("a")),
            node("d", Some("b2")),
        ];
        let rows = outline(&messages, Some("d"));
        let told: Vec<String> = rows
            .iter()
            .map(|row| format!("{}{}{}", row.id, row.lane, if row.is_shown { "!" } else { "" }))
            .collect();
        assert_eq!(told, ["a0!", "b21!", "d1!", "b0", "c0"]);
        assert_eq!(rows[0].num_branches, 2);
        assert_eq!(outline(&[], None), []);
    }

    #[test]
    fn it_goes_as_deep_as_a_chat_does() {
        let id = |number: usize| format!("{number}");
        let messages: Vec<_> = (0..10_000).map(|n| (id(n), (n > 0).then(|| id(n - 1)))).collect();
        let rows = outline(&messages, Some("9999"));
        assert!(rows.len() == 10_000 && rows.iter().all(|row| row.is_shown && row.lane == 0));
    }
}
