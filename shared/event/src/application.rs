//! [`Applications`]: which application a service principal is, as records say that name both.
//!
//! For people alone: no event gets a label by it, no rule sees it. A union, so that it is the same
//! in whatever order records come.

use std::collections::BTreeMap;

/// Most principals that are remembered; of later ones nothing is known.
pub const PRINCIPALS_MAX: usize = 4096;

/// The applications of principals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applications<P>(BTreeMap<P, Known>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    One(Box<str>),
    /// Several share the principal: it is none of them.
    Several,
}

impl<P> Default for Applications<P> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<P: Ord> Applications<P> {
    /// A record names both. One that names no application says nothing.
    pub fn learn(&mut self, principal: P, application: &str) {
        if application.is_empty() {
            return;
        }
        if let Some(known) = self.0.get_mut(&principal) {
            if !matches!(known, Known::One(one) if **one == *application) {
                *known = Known::Several;
            }
        } else if self.0.len() < PRINCIPALS_MAX {
            self.0.insert(principal, Known::One(application.into()));
        }
    }

    /// The one application that all records agree on.
    #[must_use]
    pub fn of(&self, principal: &P) -> Option<&str> {
        match self.0.get(principal)? {
            Known::One(application) => Some(application),
            Known::Several => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_is_known_several_are_none() {
        let mut applications = Applications::default();
        assert_eq!(applications.of(&"role"), None);
        applications.learn("role", "");
        assert_eq!(applications.of(&"role"), None);
        applications.learn("role", "chat");
        applications.learn("role", "chat");
        applications.learn("other", "search");
        assert_eq!(applications.of(&"role"), Some("chat"));
        applications.learn("role", "search");
        applications.learn("role", "search");
        assert_eq!(applications.of(&"role"), None);
        assert_eq!(applications.of(&"other"), Some("search"));
    }

    #[test]
    fn so_many_are_remembered() {
        let mut applications = Applications::default();
        for principal in 0..=PRINCIPALS_MAX {
            applications.learn(principal, "chat");
        }
        assert_eq!(applications.of(&(PRINCIPALS_MAX - 1)), Some("chat"));
        assert_eq!(applications.of(&PRINCIPALS_MAX), None);
        applications.learn(0, "search");
        assert_eq!(applications.of(&0), None);
    }

    proptest! {
        #[test]
        fn it_is_the_same_in_any_order(
            said in prop::collection::vec((0..4_u8, "[ab]?"), 0..12)
                .prop_flat_map(|said| (Just(said.clone()), Just(said).prop_shuffle())),
        ) {
            let learnt = |said: Vec<(u8, String)>| {
                let mut applications = Applications::default();
                for (principal, application) in said {
                    applications.learn(principal, &application);
                }
                applications
            };
            let (one, other) = said;
            prop_assert_eq!(learnt(one), learnt(other));
        }
    }
}
