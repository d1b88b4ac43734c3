//! What targets lack of a step, by what is in it.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::log::{Batch, Rec};
use crate::stage::Output;

/// What an output says, whatever its target.
pub(crate) fn content(output: &Output) -> String {
    of_record(output.tenant, &output.record)
}

fn of_record(tenant: &str, record: &Rec) -> String {
    format!("{tenant} {record:?}")
}

/// The outputs that are not in the parts.
pub(crate) fn left_out<'o>(outputs: Vec<&'o Output>, parts: &[Rc<Batch>]) -> Vec<&'o Output> {
    let mut there: BTreeMap<String, u32> = BTreeMap::new();
    for batch in parts {
        for record in &batch.records {
            *there.entry(of_record(batch.tenant, record)).or_default() += 1;
        }
    }
    let lacks = |output: &&Output| match there.get_mut(&content(output)) {
        Some(left) if *left > 0 => {
            *left -= 1;
            false
        }
        Some(_) | None => true,
    };
    outputs.into_iter().filter(lacks).collect()
}
