//! What people ask for: a scenario, `NAME` or `NAME@RATE`.

use std::str::FromStr;

use balefire_loadtest_core::plan::Scenario;
use balefire_loadtest_core::schedule::Arrival;
use serde::de::DeserializeOwned;

/// One run, or the search for the highest rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Day {
    /// A scenario.
    Of {
        /// Which.
        scenario: Scenario,
        /// Events a second; `None`: those of `--rate`.
        rate: Option<u32>,
    },
    /// The highest rate at which the targets hold.
    Max {
        /// Where the search begins, events a second; `None`: at `--rate`.
        from: Option<u32>,
    },
}

fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let value = serde_json::Value::String(text.to_owned());
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// Reads a scenario's name.
///
/// # Errors
/// There is none of that name; the text lists those there are.
pub fn scenario(text: &str) -> Result<Scenario, String> {
    word(text)
}

/// Reads an arrival's name.
///
/// # Errors
/// There is none of that name; the text lists those there are.
pub fn arrival(text: &str) -> Result<Arrival, String> {
    word(text)
}

impl FromStr for Day {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rate) = match text.split_once('@') {
            None => (text, None),
            Some((name, rate)) => {
                let read = rate.parse().ok().filter(|rate| *rate > 0);
                let rate: u32 =
                    read.ok_or_else(|| format!("{rate} is not a number of events a second"))?;
                (name, Some(rate))
            }
        };
        if name == "max" {
            return Ok(Self::Max { from: rate });
        }
        let scenario = scenario(name)?;
        Ok(Self::Of { scenario, rate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_may_say_its_rate() {
        let day = |text: &str| text.parse::<Day>();
        let steady = |rate| Day::Of {
            scenario: Scenario::Steady,
            rate,
        };
        assert_eq!(day("steady"), Ok(steady(None)));
        assert_eq!(day("steady@5000"), Ok(steady(Some(5_000))));
        assert_eq!(day("max@200"), Ok(Day::Max { from: Some(200) }));
        assert!(day("steady@0").is_err() && day("steady@fast").is_err());
        assert!(day("sunday").unwrap_err().contains("failover"));
    }
}
