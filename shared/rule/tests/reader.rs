//! A set that is read with a reader that knows some of its files is the set that is read anew.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::sync::Arc;

use balefire_rule::{Reader, RuleSet};

fn file(number: u32, version: u32) -> (String, String) {
    let counted = format!(
        "title: One\nid: 00000000-0000-4000-8000-{number:012x}\nname: one_{number}\ndetection:\n  selection:\n    \
         category: judge_flag\n    endpoint: /v{version}\n  condition: selection\nlevel: low\n"
    );
    let burst = format!(
        "title: Many\nid: 00000000-0000-4000-9000-{number:012x}\nname: many_{number}\ncorrelation:\n  type: event_count\n  \
         rules:\n    - one_{}\n  group-by:\n    - user_id\n  timespan: 5m\n  condition:\n    gt: 3\nlevel: high\n",
        number / 2
    );
    (format!("{number}.yml"), format!("{counted}---\n{burst}"))
}

fn same(reader: &mut Reader, files: &[(String, String)]) {
    let again = RuleSet::parse_with(reader, files);
    match (RuleSet::parse(files), again) {
        (Ok(anew), Ok(again)) => {
            assert_eq!(
                format!("{:?}", anew.rules()),
                format!("{:?}", again.rules())
            );
            assert_eq!(anew.digest(), again.digest());
        }
        (anew, again) => assert_eq!(
            format!("{:?}", anew.unwrap_err()),
            format!("{:?}", again.unwrap_err())
        ),
    }
}

#[test]
fn what_the_reader_knows_has_no_influence() {
    let mut reader = Reader::default();
    let mut files: Vec<(String, String)> = (0..12).map(|number| file(number, 0)).collect();
    same(&mut reader, &files);
    same(&mut reader, &files);
    // Changed, taken out, put back, in another order.
    files[3] = file(3, 1);
    same(&mut reader, &files);
    let removed = files.remove(11);
    same(&mut reader, &files);
    files.insert(0, removed);
    same(&mut reader, &files);
    // A rule that another file counts is not there any more; then it is.
    let counted = files.iter().position(|(name, _)| name == "2.yml").unwrap();
    let gone = files.remove(counted);
    same(&mut reader, &files);
    files.push(gone);
    same(&mut reader, &files);
    // A fault in one file is told every time, at its line.
    let whole = std::mem::replace(&mut files[5].1, "title: [".to_owned());
    same(&mut reader, &files);
    same(&mut reader, &files);
    files[5].1 = whole;
    same(&mut reader, &files);
    // Two files with one rule.
    files.push(("twice.yml".to_owned(), files[5].1.clone()));
    same(&mut reader, &files);
}

#[test]
fn a_rule_that_is_as_it_was_is_not_kept_twice() {
    let mut reader = Reader::default();
    let mut files: Vec<(String, String)> = (0..4).map(|number| file(number, 0)).collect();
    let first = RuleSet::parse_with(&mut reader, &files).unwrap();
    files[1] = file(1, 1);
    let second = RuleSet::parse_with(&mut reader, &files).unwrap();
    let mut shared = Vec::new();
    for (one, other) in first.rules().iter().zip(second.rules()) {
        assert_eq!(one.id, other.id);
        shared.push(Arc::ptr_eq(one, other));
    }
    // Files 2 and 3 count the rule of file 1: what they look for is another thing now.
    let changed = shared.iter().filter(|shared| !**shared).count();
    assert!((1..shared.len()).contains(&changed), "{shared:?}");
    let anew = RuleSet::parse(&files).unwrap();
    assert_eq!(
        format!("{:?}", anew.rules()),
        format!("{:?}", second.rules())
    );
}
