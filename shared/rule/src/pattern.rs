//! Owns one text pattern of a rule: a literal and where it stands, or wildcards.
//!
//! Case is folded character by character (each to its single lower-case character where it has
//! one), so `?` is one character and nothing is allocated while matching.

use rsigma_parser::{SigmaString, SpecialChar, StringPart};

/// Where a plain value must stand in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Whole,
    Contains,
    Start,
    End,
}

/// A compiled text pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    shape: Shape,
    cased: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    /// No wildcards left: a needle and where it stands. Folded unless cased.
    Needle {
        anchor: Anchor,
        needle: Box<str>,
        ascii: bool,
    },
    /// Wildcards inside.
    Glob(Box<[Glob]>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Glob {
    One(char),
    Any,
    Many,
}

impl Pattern {
    /// Compiles a Sigma string. `None` where it matches every text (`*` or nothing to look for).
    pub(crate) fn new(value: &SigmaString, anchor: Anchor, cased: bool) -> Option<Self> {
        let globs = normalise(value, anchor, cased);
        if globs.iter().all(|glob| *glob == Glob::Many) && !globs.is_empty() {
            return None;
        }
        let shape = needle(&globs).unwrap_or_else(|| Shape::Glob(globs.into()));
        Some(Self { shape, cased })
    }

    /// Whether the text matches.
    pub(crate) fn matches(&self, text: &str) -> bool {
        match &self.shape {
            Shape::Needle {
                anchor,
                needle,
                ascii: _,
            } if self.cased => match anchor {
                Anchor::Whole => text == &**needle,
                Anchor::Contains => text.contains(&**needle),
                Anchor::Start => text.starts_with(&**needle),
                Anchor::End => text.ends_with(&**needle),
            },
            Shape::Needle {
                anchor,
                needle,
                ascii: true,
            } if text.is_ascii() => ascii_matches(*anchor, needle.as_bytes(), text.as_bytes()),
            Shape::Needle {
                anchor,
                needle,
                ascii: _,
            } => folded_matches(*anchor, needle, text),
            Shape::Glob(globs) => glob_matches(globs, text, self.cased),
        }
    }

    /// The one text that matches, in lower case; `None` where others do, or where folding is more than
    /// that of ASCII.
    pub(crate) fn whole(&self) -> Option<String> {
        match &self.shape {
            Shape::Needle {
                anchor: Anchor::Whole,
                needle,
                ascii: true,
            } => Some(needle.to_ascii_lowercase()),
            Shape::Needle { .. } | Shape::Glob(_) => None,
        }
    }

    /// What a match costs, for ordering: literals before searches before wildcards.
    pub(crate) fn cost(&self) -> u32 {
        match &self.shape {
            Shape::Needle {
                anchor: Anchor::Whole | Anchor::Start | Anchor::End,
                ..
            } => 4,
            Shape::Needle {
                anchor: Anchor::Contains,
                ..
            } => 16,
            Shape::Glob(_) => 32,
        }
    }
}

/// Lower case where it is one character, else the character itself.
fn fold(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        (Some(_) | None, _) => c,
    }
}

/// The value as one glob over the whole text: the anchor becomes leading and trailing `*`.
fn normalise(value: &SigmaString, anchor: Anchor, cased: bool) -> Vec<Glob> {
    let mut globs = Vec::new();
    if matches!(anchor, Anchor::Contains | Anchor::End) {
        globs.push(Glob::Many);
    }
    for part in &value.parts {
        match part {
            StringPart::Plain(text) => {
                let chars = text.chars();
                globs.extend(chars.map(|c| Glob::One(if cased { c } else { fold(c) })));
            }
            StringPart::Special(SpecialChar::WildcardSingle) => globs.push(Glob::Any),
            StringPart::Special(SpecialChar::WildcardMulti) => globs.push(Glob::Many),
        }
    }
    if matches!(anchor, Anchor::Contains | Anchor::Start) {
        globs.push(Glob::Many);
    }
    globs.dedup_by(|a, b| *a == Glob::Many && *b == Glob::Many);
    globs
}

/// The cheap shape, where wildcards stand at the ends only.
fn needle(globs: &[Glob]) -> Option<Shape> {
    let (open_start, rest) = match globs {
        [Glob::Many, rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (open_end, rest) = match rest {
        [rest @ .., Glob::Many] => (true, rest),
        rest => (false, rest),
    };
    let needle = rest
        .iter()
        .map(|glob| match glob {
            Glob::One(c) => Some(*c),
            Glob::Any | Glob::Many => None,
        })
        .collect::<Option<String>>()?;
    let anchor = match (open_start, open_end) {
        (false, false) => Anchor::Whole,
        (false, true) => Anchor::Start,
        (true, false) => Anchor::End,
        (true, true) => Anchor::Contains,
    };
    Some(Shape::Needle {
        anchor,
        ascii: needle.is_ascii(),
        needle: needle.into(),
    })
}

fn ascii_matches(anchor: Anchor, needle: &[u8], text: &[u8]) -> bool {
    match anchor {
        Anchor::Whole => text.eq_ignore_ascii_case(needle),
        Anchor::Start => text
            .get(..needle.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(needle)),
        Anchor::End => text
            .len()
            .checked_sub(needle.len())
            .and_then(|at| text.get(at..))
            .is_some_and(|tail| tail.eq_ignore_ascii_case(needle)),
        Anchor::Contains => ascii_contains(needle, text),
    }
}

/// Looks for the first byte in either case, then compares: no allocation, no quadratic first byte.
fn ascii_contains(needle: &[u8], text: &[u8]) -> bool {
    let Some(&first) = needle.first() else {
        return true;
    };
    memchr::memchr2_iter(first, first.to_ascii_uppercase(), text).any(|at| {
        text.get(at..at + needle.len())
            .is_some_and(|found| found.eq_ignore_ascii_case(needle))
    })
}

fn folded_matches(anchor: Anchor, needle: &str, text: &str) -> bool {
    match anchor {
        Anchor::Whole => text.chars().map(fold).eq(needle.chars()),
        Anchor::Start => folded_prefix(needle, text),
        Anchor::End => {
            let mut tail = text.chars().rev().map(fold);
            needle.chars().rev().all(|c| tail.next() == Some(c))
        }
        Anchor::Contains => {
            needle.is_empty()
                || text.char_indices().any(|(at, _)| {
                    text.get(at..)
                        .is_some_and(|rest| folded_prefix(needle, rest))
                })
        }
    }
}

fn folded_prefix(needle: &str, text: &str) -> bool {
    let mut head = text.chars().map(fold);
    needle.chars().all(|c| head.next() == Some(c))
}

/// Two-pointer matching: on a mismatch the last `*` takes one character more. Linear in practice,
/// at worst text × pattern, never exponential.
fn glob_matches(globs: &[Glob], text: &str, cased: bool) -> bool {
    let mut rest = text.chars();
    let mut at = 0;
    let mut resume: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        let mut ahead = rest.clone();
        let next = ahead.next().map(|c| if cased { c } else { fold(c) });
        let advanced = match (globs.get(at), next) {
            (Some(Glob::Many), _) => {
                resume = Some((at, rest.clone()));
                at += 1;
                continue;
            }
            (Some(Glob::One(want)), Some(c)) => *want == c,
            (Some(Glob::Any), Some(_)) => true,
            (None, None) => return true,
            (Some(Glob::One(_) | Glob::Any), None) => return false,
            (None, Some(_)) => false,
        };
        if advanced {
            rest = ahead;
            at += 1;
            continue;
        }
        let Some((star, from)) = resume.as_mut() else {
            return false;
        };
        if from.next().is_none() {
            return false;
        }
        rest = from.clone();
        at = *star + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(value: &str, anchor: Anchor, cased: bool) -> Pattern {
        Pattern::new(&SigmaString::new(value), anchor, cased).expect("it restricts something")
    }

    #[test]
    fn plain_values_match_whole_texts_in_any_case() {
        let plain = pattern("Block", Anchor::Whole, false);
        assert!(plain.matches("block") && plain.matches("BLOCK"));
        assert!(!plain.matches("blocked") && !plain.matches(""));
        assert!(!pattern("Block", Anchor::Whole, true).matches("block"));
    }

    #[test]
    fn letters_outside_ascii_fold_too() {
        assert!(pattern("größe", Anchor::Whole, false).matches("GRÖßE"));
        assert!(pattern("kelvin", Anchor::Contains, false).matches("zero \u{212A}elvin"));
        assert!(pattern("é*", Anchor::End, false).matches("caf\u{c9} noir"));
    }

    #[test]
    fn wildcards_can_be_escaped() {
        assert!(pattern(r"a\*b", Anchor::Whole, false).matches("a*b"));
        assert!(!pattern(r"a\*b", Anchor::Whole, false).matches("axb"));
        assert!(pattern("a?b", Anchor::Whole, false).matches("aöb"));
        assert!(!pattern("a?b", Anchor::Whole, false).matches("ab"));
    }

    #[test]
    fn a_lone_star_restricts_nothing() {
        assert_eq!(
            Pattern::new(&SigmaString::new("*"), Anchor::Whole, false),
            None
        );
        assert_eq!(
            Pattern::new(&SigmaString::new(""), Anchor::Contains, false),
            None
        );
        assert!(Pattern::new(&SigmaString::new(""), Anchor::Whole, false).is_some());
    }

    #[test]
    fn many_stars_stay_fast() {
        let value = "a*".repeat(40) + "b";
        assert!(!pattern(&value, Anchor::Whole, false).matches(&"a".repeat(5_000)));
    }

    fn regex_of(value: &str, anchor: Anchor) -> regex::Regex {
        let mut body = String::new();
        for c in value.chars() {
            match c {
                '*' => body.push_str(".*"),
                '?' => body.push('.'),
                other => body.push_str(&regex::escape(&other.to_string())),
            }
        }
        let (start, end) = match anchor {
            Anchor::Whole => ("^", "$"),
            Anchor::Contains => ("", ""),
            Anchor::Start => ("^", ""),
            Anchor::End => ("", "$"),
        };
        regex::Regex::new(&format!("(?is){start}(?:{body}){end}")).expect("built from escapes")
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_the_same_regex_matches(
            value in "[abAB*?]{1,8}", text in "[abAB]{0,12}",
            which in 0_usize..4,
        ) {
            let anchor = [Anchor::Whole, Anchor::Contains, Anchor::Start, Anchor::End][which];
            let ours = Pattern::new(&SigmaString::new(&value), anchor, false)
                .is_none_or(|pattern| pattern.matches(&text));
            prop_assert_eq!(ours, regex_of(&value, anchor).is_match(&text));
        }
    }
}
