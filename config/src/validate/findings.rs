//! Collects findings under the path of the field that is being checked.

use std::fmt::Write;

use crate::problem::{Finding, Severity};

/// The findings of one resource and the path of the field at hand.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    path: String,
    found: Vec<Finding>,
}

impl Findings {
    /// Runs `check` with `name` added to the path.
    pub(crate) fn field<T>(&mut self, name: &str, check: impl FnOnce(&mut Self) -> T) -> T {
        let parent = self.push(name);
        let result = check(self);
        self.path.truncate(parent);
        result
    }

    /// Runs `check` with the key `key` of a map added to the path, in brackets unless it is a word.
    pub(crate) fn key<T>(&mut self, key: &str, check: impl FnOnce(&mut Self) -> T) -> T {
        let is_word_character = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !key.is_empty() && key.chars().all(is_word_character) {
            return self.field(key, check);
        }
        let parent = self.path.len();
        write!(self.path, "[{key:?}]").expect("writing to a string cannot fail");
        let result = check(self);
        self.path.truncate(parent);
        result
    }

    /// Runs `check` for every item with `name[index]` added to the path.
    pub(crate) fn each<'a, T>(
        &mut self,
        name: &str,
        items: &'a [T],
        mut check: impl FnMut(&mut Self, &'a T),
    ) {
        for (index, item) in items.iter().enumerate() {
            self.item(name, index, |findings| check(findings, item));
        }
    }

    /// Runs `check` with `name[index]` added to the path.
    pub(crate) fn item(&mut self, name: &str, index: usize, check: impl FnOnce(&mut Self)) {
        let parent = self.push(name);
        write!(self.path, "[{index}]").expect("writing to a string cannot fail");
        check(self);
        self.path.truncate(parent);
    }

    /// Reports that the field at hand cannot be used.
    pub(crate) fn error(&mut self, message: impl Into<String>) {
        self.report(Severity::Error, message.into());
    }

    /// Reports that the field `name` below the one at hand cannot be used.
    pub(crate) fn error_in(&mut self, name: &str, message: impl Into<String>) {
        self.field(name, |findings| findings.error(message));
    }

    /// Reports that the field at hand is deprecated or has no effect.
    pub(crate) fn warn(&mut self, message: impl Into<String>) {
        self.report(Severity::Warning, message.into());
    }

    /// Reports that the field `name` below the one at hand is deprecated or has no effect.
    pub(crate) fn warn_in(&mut self, name: &str, message: impl Into<String>) {
        self.field(name, |findings| findings.warn(message));
    }

    /// Reports the message of a failed check of the field at hand; tells whether it passed.
    pub(crate) fn require(&mut self, result: Result<(), String>) -> bool {
        result.map_err(|message| self.error(message)).is_ok()
    }

    /// As `require`, for the field `name` below the one at hand.
    pub(crate) fn require_in(&mut self, name: &str, result: Result<(), String>) -> bool {
        result
            .map_err(|message| self.error_in(name, message))
            .is_ok()
    }

    /// All findings, in the order in which they were made.
    pub(crate) fn into_vec(self) -> Vec<Finding> {
        self.found
    }

    fn push(&mut self, name: &str) -> usize {
        let parent = self.path.len();
        if parent > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        parent
    }

    fn report(&mut self, severity: Severity, message: String) {
        self.found.push(Finding {
            severity,
            path: self.path.clone(),
            message,
        });
    }
}
