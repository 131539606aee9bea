//! The log as the model sees it: what a disk holds, the rules, the scope of a run, and the state.

pub mod block;
pub mod rules;
pub mod scope;
pub mod state;

use rules::Rules;
use scope::Scope;

/// The subject of a run: the rules under test within a scope.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// The wording of every rule.
    pub rules: Rules,
    /// How large the log is and what happens to it.
    pub scope: Scope,
}
