//! Owns what the modifiers behind a field name say together (`field|contains|all`).

use rsigma_parser::Modifier;

use crate::diagnostic::{Code, Finding};
use crate::pattern::Anchor;
use crate::test::Comparison;

/// What the modifiers of a line say together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) path: &'a str,
    pub(crate) operator: Operator,
    pub(crate) all: bool,
    pub(crate) cased: bool,
    pub(crate) ignore_case: bool,
    pub(crate) multiline: bool,
    pub(crate) dot_all: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Text(Anchor),
    Regex,
    Cidr,
    Compare(Comparison),
    Exists,
}

const fn operator(modifier: Modifier) -> Option<Operator> {
    Some(match modifier {
        Modifier::Contains => Operator::Text(Anchor::Contains),
        Modifier::StartsWith => Operator::Text(Anchor::Start),
        Modifier::EndsWith => Operator::Text(Anchor::End),
        Modifier::Re => Operator::Regex,
        Modifier::Cidr => Operator::Cidr,
        Modifier::Exists => Operator::Exists,
        Modifier::Gt => Operator::Compare(Comparison::Greater),
        Modifier::Gte => Operator::Compare(Comparison::GreaterOrEqual),
        Modifier::Lt => Operator::Compare(Comparison::Less),
        Modifier::Lte => Operator::Compare(Comparison::LessOrEqual),
        Modifier::All
        | Modifier::Cased
        | Modifier::IgnoreCase
        | Modifier::Multiline
        | Modifier::DotAll
        | Modifier::Base64
        | Modifier::Base64Offset
        | Modifier::Wide
        | Modifier::Utf16be
        | Modifier::Utf16
        | Modifier::WindAsh
        | Modifier::Expand
        | Modifier::FieldRef
        | Modifier::Neq
        | Modifier::Minute
        | Modifier::Hour
        | Modifier::Day
        | Modifier::Week
        | Modifier::Month
        | Modifier::Year => return None,
    })
}

impl<'a> Line<'a> {
    pub(crate) fn new(path: &'a str, modifiers: &[Modifier]) -> Result<Self, Finding> {
        let has = |modifier| modifiers.contains(&modifier);
        let mut line = Self {
            path,
            operator: Operator::Text(Anchor::Whole),
            all: has(Modifier::All),
            cased: has(Modifier::Cased),
            ignore_case: has(Modifier::IgnoreCase),
            multiline: has(Modifier::Multiline),
            dot_all: has(Modifier::DotAll),
        };
        let mut chosen = None;
        for modifier in modifiers {
            if let Some(operator) = operator(*modifier) {
                if chosen.replace(operator).is_some() {
                    return Err(line.finding(
                        Code::Modifier,
                        "two modifiers say how to compare",
                        "keep one of contains, startswith, endswith, re, cidr, exists, gt, gte, lt, lte",
                    ));
                }
            } else if !matches!(
                modifier,
                Modifier::All
                    | Modifier::Cased
                    | Modifier::IgnoreCase
                    | Modifier::Multiline
                    | Modifier::DotAll
            ) {
                return Err(line.unsupported(*modifier));
            }
        }
        line.operator = chosen.unwrap_or(line.operator);
        let flags = line.ignore_case || line.multiline || line.dot_all;
        if flags && line.operator != Operator::Regex {
            let message = "i, m and s are flags of a regular expression";
            return Err(line.finding(Code::Modifier, message, "put `re` before them"));
        }
        if line.cased && !matches!(line.operator, Operator::Text(_)) {
            let message = "`cased` belongs to text comparisons";
            return Err(line.finding(Code::Modifier, message, "leave it out"));
        }
        Ok(line)
    }

    pub(crate) fn finding(
        &self,
        code: Code,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Finding {
        Finding::new(code, self.path, message, help)
    }

    fn unsupported(&self, modifier: Modifier) -> Finding {
        let help = if modifier == Modifier::Neq {
            "put the value into a selection of its own and write `and not` in the condition"
        } else {
            "use contains, startswith, endswith, all, re (with i, m, s), cased, exists, cidr, gt, gte, lt, lte"
        };
        let name = format!("{modifier:?}").to_lowercase();
        self.finding(
            Code::Modifier,
            format!("modifier `{name}` is not carried out"),
            help,
        )
    }
}
