//! [`Book`]: what is in force, and everything that ever was. A projection of the control log.

use std::collections::BTreeMap;

use balefire_event::Timestamp;
use balefire_event::time::HOUR;

use crate::{Change, Entry, Key, Kind, NAME_BYTES_MAX, Object, Value};

/// Owner of the rules that come from a folder of files.
pub const RULES_DIR: &str = "rules-dir";
/// Tenant of the rules, which are in force for all.
pub const RULES_TENANT: &str = "default";
/// A request id is known for this long.
const REQUESTS_KEPT: i64 = 48 * HOUR;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Of what was asked.
    pub digest: [u8; 32],
    /// When.
    pub at: Timestamp,
    /// The object after it; `None`: it was deleted.
    pub object: Option<Object>,
}

/// Which objects are listed.
#[derive(Debug, Clone, Copy)]
pub struct Listing<'a> {
    /// Whose.
    pub tenant: &'a str,
    /// What they are; `None`: every kind.
    pub kind: Option<Kind>,
    /// Only of this owner; empty: any.
    pub managed_by: &'a str,
    /// As of this control revision.
    pub at: u64,
}

/// Every object and its history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    revision: u64,
    history: BTreeMap<Key, Vec<Entry>>,
    requests: BTreeMap<(String, String), Done>,
    /// Request ids by time, so that old ones can go.
    ages: std::collections::BTreeSet<(Timestamp, String, String)>,
    rules_revision: u64,
}

impl Book {
    /// The newest control revision taken in.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// The newest control revision that changed a rule; 0: none did.
    #[must_use]
    pub const fn rules_revision(&self) -> u64 {
        self.rules_revision
    }

    /// Says that the log was read this far.
    pub fn read_to(&mut self, revision: u64) {
        self.revision = self.revision.max(revision);
    }

    /// Takes in a change.
    pub fn apply(&mut self, mut entry: Entry) {
        self.read_to(entry.control_revision);
        if entry.change.key.kind == Kind::Rule {
            self.rules_revision = entry.control_revision;
        }
        if let Some(object) = &mut entry.change.object {
            object.control_revision = entry.control_revision;
        }
        let change = &entry.change;
        if !change.request_id.is_empty() {
            let id = (change.key.tenant.clone(), change.request_id.clone());
            self.ages.insert((entry.at, id.0.clone(), id.1.clone()));
            let done = Done {
                digest: change.request_digest,
                at: entry.at,
                object: change.object.clone(),
            };
            self.requests.insert(id, done);
        }
        self.forget(entry.at);
        let history = self.history.entry(entry.change.key.clone()).or_default();
        history.push(entry);
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some((at, tenant, id)) = self.ages.first().cloned() {
            if now.since(at) <= REQUESTS_KEPT {
                return;
            }
            self.ages.pop_first();
            let id = (tenant, id);
            if self.requests.get(&id).is_some_and(|done| done.at == at) {
                self.requests.remove(&id);
            }
        }
    }

    /// Takes in a whole rule set, as `--rules DIR` puts it in force: each file is a rule object of
    /// the owner [`RULES_DIR`]; those that are no file any more are deleted. Rules of other owners
    /// stay as they are.
    pub fn apply_rule_set(
        &mut self,
        revision: u64,
        files: &[(String, String)],
        (actor, reason): (&str, &str),
        at: Timestamp,
    ) {
        self.read_to(revision);
        self.rules_revision = revision;
        for change in self.of_rule_set(files, actor, at) {
            self.apply(Entry {
                control_revision: revision,
                actor: actor.to_owned(),
                reason: reason.to_owned(),
                at,
                change,
            });
        }
    }

    fn of_rule_set(&self, files: &[(String, String)], actor: &str, at: Timestamp) -> Vec<Change> {
        let named = object_names(files);
        let mut changes = Vec::new();
        for key in self.keys_of(RULES_DIR) {
            if !named.contains_key(&key.name) {
                changes.push(self.next(&key, None));
            }
        }
        for (name, yaml) in named {
            let key = Key {
                tenant: RULES_TENANT.into(),
                kind: Kind::Rule,
                name,
            };
            let before = self.get(&key);
            if before.is_some_and(|o| o.managed_by != RULES_DIR || o.text("yaml") == yaml) {
                continue;
            }
            let mut spec = before.map(|object| object.spec.clone()).unwrap_or_default();
            spec.insert("yaml".into(), Value::Text(yaml.to_owned()));
            let now = (at, actor.to_owned());
            let object = Object {
                key: key.clone(),
                revision: 0,
                managed_by: RULES_DIR.into(),
                labels: BTreeMap::new(),
                created: before.map_or_else(|| now.clone(), |object| object.created.clone()),
                updated: now,
                spec,
                control_revision: 0,
            };
            changes.push(self.next(&key, Some(object)));
        }
        changes
    }

    fn keys_of(&self, managed_by: &str) -> Vec<Key> {
        self.rules()
            .filter(|object| object.managed_by == managed_by)
            .map(|object| object.key.clone())
            .collect()
    }

    /// The change that makes a key be `object` next.
    pub(crate) fn next(&self, key: &Key, object: Option<Object>) -> Change {
        let last = self.last_revision(key);
        let new_revision = last + 1;
        Change {
            key: key.clone(),
            old_revision: self.get(key).map_or(0, |object| object.revision),
            new_revision,
            object: object.map(|object| Object {
                revision: new_revision,
                ..object
            }),
            purpose: String::new(),
            overridden: false,
            request_id: String::new(),
            request_digest: [0; 32],
        }
    }

    fn last_revision(&self, key: &Key) -> u64 {
        let last = self.history.get(key).and_then(|entries| entries.last());
        last.map_or(0, |entry| entry.change.new_revision)
    }

    /// The object of a key, as it is now.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Object> {
        let last = self.history.get(key).and_then(|entries| entries.last());
        last.and_then(|entry| entry.change.object.as_ref())
    }

    /// The object of a key, as it was at a control revision.
    #[must_use]
    pub fn get_at(&self, key: &Key, at: u64) -> Option<&Object> {
        of_entries(self.history.get(key)?, at)
    }

    /// Objects by kind and name, as they were at a control revision, after a kind and name.
    pub fn list<'b>(
        &'b self,
        listing: Listing<'b>,
        after: Option<&'b (Kind, String)>,
    ) -> impl Iterator<Item = &'b Object> {
        self.history
            .iter()
            .filter(move |(key, _)| {
                key.tenant == listing.tenant
                    && listing.kind.is_none_or(|kind| kind == key.kind)
                    && after.is_none_or(|(kind, name)| (key.kind, &key.name) > (*kind, name))
            })
            .filter_map(move |(_, entries)| of_entries(entries, listing.at))
            .filter(move |object| {
                listing.managed_by.is_empty() || object.managed_by == listing.managed_by
            })
    }

    /// Changes of a tenant after a place (control revision, key), oldest first, with their places.
    #[must_use]
    pub fn changes(&self, tenant: &str, kind: Option<Kind>, name: &str) -> Vec<&Entry> {
        let mut found: Vec<&Entry> = self
            .history
            .iter()
            .filter(|(key, _)| {
                key.tenant == tenant
                    && kind.is_none_or(|kind| kind == key.kind)
                    && (name.is_empty() || key.name == name)
            })
            .flat_map(|(_, entries)| entries)
            .collect();
        // Stable: changes of one control revision stay in order of their keys.
        found.sort_by_key(|entry| entry.control_revision);
        found
    }

    /// What became of a request id.
    #[must_use]
    pub fn done(&self, tenant: &str, request_id: &str) -> Option<&Done> {
        let id = (tenant.to_owned(), request_id.to_owned());
        self.requests.get(&id)
    }

    /// Every object there is, of whatever tenant, by tenant, kind and name.
    pub fn objects(&self) -> impl Iterator<Item = &Object> + Clone {
        let histories = self.history.values();
        histories.filter_map(|entries| entries.last()?.change.object.as_ref())
    }

    /// Every rule there is, disabled ones too.
    pub fn rules(&self) -> impl Iterator<Item = &Object> {
        self.history
            .iter()
            .filter(|(key, _)| key.kind == Kind::Rule)
            .filter_map(|(_, entries)| entries.last()?.change.object.as_ref())
    }

    /// The rule files in force: name and YAML.
    #[must_use]
    pub fn files(&self) -> Vec<(String, String)> {
        files(self.rules())
    }

    /// The rule files that would be in force after a change.
    #[must_use]
    pub fn files_after(&self, change: &Change) -> Vec<(String, String)> {
        let others = self.rules().filter(|object| object.key != change.key);
        files(others.chain(change.object.as_ref()))
    }

    /// Whether the rules of [`RULES_DIR`] are these files.
    #[must_use]
    pub fn holds_rule_set(&self, own: &[(String, String)]) -> bool {
        let named = object_names(own);
        let others: Vec<&Object> = self.rules().collect();
        let mut missing = named.len();
        for object in others {
            let wanted = named.get(&object.key.name);
            if object.managed_by != RULES_DIR {
                missing -= usize::from(wanted.is_some());
                continue;
            }
            if wanted.is_none_or(|yaml| *yaml != object.text("yaml")) {
                return false;
            }
            missing -= 1;
        }
        missing == 0
    }

    /// How many objects of a tenant and kind there are.
    #[must_use]
    pub fn count(&self, tenant: &str, kind: Kind) -> usize {
        let listing = Listing {
            tenant,
            kind: Some(kind),
            managed_by: "",
            at: self.revision,
        };
        self.list(listing, None).count()
    }
}

fn of_entries(entries: &[Entry], at: u64) -> Option<&Object> {
    let upto = entries.partition_point(|entry| entry.control_revision <= at);
    let entry = entries.get(..upto)?.last()?;
    entry.change.object.as_ref()
}

fn files<'o>(rules: impl Iterator<Item = &'o Object>) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = rules
        .filter(|object| object.text("disabled_until").is_empty())
        .map(|object| {
            (
                format!("{}.yml", object.key.name),
                object.text("yaml").to_owned(),
            )
        })
        .collect();
    files.sort();
    files
}

/// Rule files by the name that each has as an object: the file's, without its ending, in the
/// letters of a name. Two files that would have one name are told apart by a number.
#[must_use]
pub fn object_names(files: &[(String, String)]) -> BTreeMap<String, &str> {
    let mut sorted: Vec<&(String, String)> = files.iter().collect();
    sorted.sort();
    let mut named = BTreeMap::new();
    for (file, yaml) in sorted {
        let stem = file
            .strip_suffix(".yml")
            .or_else(|| file.strip_suffix(".yaml"))
            .unwrap_or(file);
        let letters = stem.chars().map(|c| match c {
            'a'..='z' | '0'..='9' | '_' | '-' => c,
            'A'..='Z' => c.to_ascii_lowercase(),
            _ => '_',
        });
        let stem: String = letters.take(NAME_BYTES_MAX - 6).collect();
        let mut name = if stem.is_empty() {
            "rule".to_owned()
        } else {
            stem.clone()
        };
        let mut number = 2;
        while named.contains_key(&name) {
            name = format!("{stem}-{number}");
            number += 1;
        }
        named.insert(name, yaml.as_str());
    }
    named
}
