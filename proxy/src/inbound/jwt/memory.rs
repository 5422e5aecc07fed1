//! Tokens that were found valid, so that the next request with one of them need not be checked again.
//!
//! One for each worker. A token is known by the hash of its bytes, and what is remembered is that its
//! signature is right by keys with a certain fingerprint: with other keys it is checked anew, and its
//! time is looked at every time. Tokens that are not valid are not remembered, so that nobody can
//! push out those that are.

use std::cell::RefCell;

use rustc_hash::FxHashMap;

use super::compact::Statement;
use super::keys::Fingerprint;

/// Tokens that are remembered since the last change of generations, by their length in bytes. What is
/// read from one takes a few times that.
const GENERATION_BYTES_MAX: usize = 512 * 1024;
/// Key sets for which a token is remembered.
const KEYS_MAX: usize = 4;

/// The tokens that a worker remembers.
///
/// In two generations: when the younger is full it becomes the elder, and the elder is forgotten. What
/// is used meanwhile moves to the younger.
#[derive(Debug, Default)]
pub(crate) struct Memory(RefCell<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: FxHashMap<Fingerprint, Remembered>,
    young_bytes: usize,
    old: FxHashMap<Fingerprint, Remembered>,
}

/// A token whose signature is right.
#[derive(Debug, Clone)]
pub(super) struct Remembered {
    pub(super) statement: Statement,
    /// By which keys.
    by: Vec<Fingerprint>,
    /// Length of the token.
    bytes: usize,
}

// === impl Memory ===

impl Memory {
    /// Forgets all.
    pub(crate) fn forget_all(&self) {
        self.0.take();
    }

    /// What is known of a token.
    pub(super) fn find(&self, token: &Fingerprint) -> Option<Remembered> {
        let generations = &mut *self.0.borrow_mut();
        if let Some(known) = generations.young.get(token) {
            return Some(known.clone());
        }
        let known = generations.old.remove(token)?;
        generations.add(*token, known.clone());
        Some(known)
    }

    /// Notes that the signature of a token of `bytes` bytes is right by these keys.
    pub(super) fn note(
        &self,
        token: Fingerprint,
        bytes: usize,
        statement: &Statement,
        keys: Fingerprint,
    ) {
        let generations = &mut *self.0.borrow_mut();
        if let Some(known) = generations.young.get_mut(&token) {
            if known.by.len() == KEYS_MAX {
                known.by.remove(0);
            }
            known.by.push(keys);
            return;
        }
        let fresh = Remembered {
            statement: statement.clone(),
            by: vec![keys],
            bytes,
        };
        generations.add(token, fresh);
    }

    /// Forgets a token, whose time is over.
    pub(super) fn forget(&self, token: &Fingerprint) {
        let generations = &mut *self.0.borrow_mut();
        if let Some(gone) = generations.young.remove(token) {
            generations.young_bytes -= gone.bytes;
        }
        generations.old.remove(token);
    }
}

// === impl Generations ===

impl Generations {
    fn add(&mut self, token: Fingerprint, known: Remembered) {
        if self.young_bytes + known.bytes > GENERATION_BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += known.bytes;
        if let Some(before) = self.young.insert(token, known) {
            self.young_bytes -= before.bytes;
        }
    }
}

// === impl Remembered ===

impl Remembered {
    /// Whether the signature is right by these keys.
    pub(super) fn holds_by(&self, keys: &Fingerprint) -> bool {
        self.by.contains(keys)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::inbound::jwt::compact;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    const KEYS: Fingerprint = [7; 32];

    fn statement() -> Statement {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let token = format!("{}.{}.AAAA", part(r#"{"alg":"ES256"}"#), part("{}"));
        compact::read(token.as_bytes()).expect("a token").statement
    }

    fn token(number: usize) -> Fingerprint {
        let mut token = Fingerprint::default();
        token[..8].copy_from_slice(&number.to_be_bytes());
        token
    }

    #[test]
    fn a_token_is_known_by_the_keys_that_it_was_checked_with_and_no_others() {
        let memory = Memory::default();
        memory.note(token(1), 100, &statement(), KEYS);

        let known = memory.find(&token(1)).expect("known");

        assert!(known.holds_by(&KEYS) && !known.holds_by(&[8; 32]));
        assert!(memory.find(&token(2)).is_none());
        memory.forget(&token(1));
        assert!(memory.find(&token(1)).is_none());
    }

    #[test]
    fn as_many_tokens_are_known_as_there_is_room_for_and_those_in_use_stay() {
        let memory = Memory::default();
        let statement = statement();
        let bytes = 1_000;
        let shared = Rc::clone(&statement.payload);

        for number in 0..10_000 {
            memory.note(token(number), bytes, &statement, KEYS);
            assert!(memory.find(&token(0)).is_some(), "used all the time");
        }

        let known = Rc::strong_count(&shared) - 2;
        assert!(known <= 2 * GENERATION_BYTES_MAX / bytes, "{known}");
        assert!(memory.find(&token(5)).is_none());
    }

    #[test]
    fn a_token_under_many_key_sets_takes_no_more_room() {
        let memory = Memory::default();

        for number in 0..100 {
            memory.note(token(1), 100, &statement(), [number; 32]);
        }

        let known = memory.find(&token(1)).expect("known");
        assert_eq!(known.by.len(), KEYS_MAX);
        assert!(known.holds_by(&[99; 32]));
    }
}
