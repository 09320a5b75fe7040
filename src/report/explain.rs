//! Figures explained in plain words, with their values in a run.

use super::text::wrapped;

/// One figure that can be explained; `E` makes the example from a run.
#[derive(Clone, Copy, Debug)]
pub struct Topic<E> {
    /// Its name for the user.
    pub name: &'static str,
    /// Its meaning, observer and computation.
    pub words: &'static str,
    /// Its value in one part of a run.
    pub example: E,
}

impl<E> Topic<E> {
    /// The topic of this name.
    pub fn find<'a>(topics: &'a [Self], name: &str) -> Option<&'a Self> {
        topics.iter().find(|topic| topic.name == name)
    }

    /// The name and the words; the examples follow.
    #[must_use]
    pub fn opening(&self) -> String {
        format!("{}\n\n{}\n", self.name, wrapped(self.words))
    }
}
