//! Paths with a name: what a textbook or a measurement says of them, and what is our choice.
//!
//! It must never give a number without its source.

use super::LinkPlan;

/// A path with a name.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// What one types.
    pub name: &'static str,
    /// What it stands for.
    pub description: &'static str,
    /// Where its numbers come from, and which are our choice.
    pub source: &'static str,
    plans: fn() -> [LinkPlan; 2],
}

impl Preset {
    /// From host A to host B, and back.
    #[must_use]
    pub fn plans(&self) -> [LinkPlan; 2] {
        (self.plans)()
    }

    /// The preset of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        ALL.iter().find(|preset| preset.name == name)
    }
}

/// Every preset, from near to far.
pub const ALL: &[Preset] = &[];
