//! [`Shelves`]: which rules an event may concern, so that many rules for one application each cost the
//! events of the others nothing.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use balefire_event::{Category, Event, Field, Value};

use crate::generation::Generation;

/// Fewest rules of a category that ask for a field, so that its text is looked up: fewer are asked one by
/// one in less time.
const ASKING_MIN: usize = 4;

/// Places of the generations, with the texts that each of their rules asks for.
type Asking = Vec<(usize, Vec<String>)>;

/// Places of the generations, by what their rules ask for.
#[derive(Debug, Default)]
pub(crate) struct Shelves(BTreeMap<Category, Shelf>);

/// Those of one category.
#[derive(Debug, Default)]
struct Shelf {
    /// All of them.
    all: Vec<usize>,
    /// Those that any event may concern.
    any: Vec<usize>,
    /// The others by field and text, in lower case.
    asking: Vec<(Field, HashMap<String, Vec<usize>>)>,
}

impl Shelves {
    pub(crate) fn of(generations: &[Generation]) -> Self {
        let mut shelves = Self::default();
        for (place, generation) in generations.iter().enumerate() {
            for category in &generation.spec().categories {
                shelves.0.entry(*category).or_default().all.push(place);
            }
        }
        for shelf in shelves.0.values_mut() {
            shelf.sort_in(generations);
        }
        shelves
    }

    /// Of each rule that an event of the category may concern.
    pub(crate) fn all(&self, category: Category) -> &[usize] {
        self.0.get(&category).map_or(&[], |shelf| &shelf.all)
    }

    /// Those whose rules may match the event, each once, in lists that are in order.
    pub(crate) fn asked(&self, event: &Event<'_>, take: &mut dyn FnMut(&[usize])) {
        let Some(shelf) = self.0.get(&event.category) else {
            return;
        };
        let said = |field: &Field| match event.get(field) {
            Some(Value::Text(said)) => said,
            Some(Value::Whole(_) | Value::Number(_) | Value::Flag(_) | Value::Json(_)) | None => "",
        };
        // Letters of other alphabets may be one with an ASCII letter.
        if shelf
            .asking
            .iter()
            .any(|(field, _)| !said(field).is_ascii())
        {
            return take(&shelf.all);
        }
        take(&shelf.any);
        for (field, texts) in &shelf.asking {
            let said = said(field);
            let key = if said.bytes().any(|byte| byte.is_ascii_uppercase()) {
                Cow::Owned(said.to_ascii_lowercase())
            } else {
                Cow::Borrowed(said)
            };
            if let Some(places) = texts.get(key.as_ref()) {
                take(places);
            }
        }
    }
}

impl Shelf {
    fn sort_in(&mut self, generations: &[Generation]) {
        let asks = |place: usize| generations.get(place)?.spec().matcher.asks();
        let mut asking: Vec<(Field, Asking)> = Vec::new();
        for &place in &self.all {
            let Some((field, texts)) = asks(place) else {
                self.any.push(place);
                continue;
            };
            match asking.iter_mut().find(|(known, _)| *known == field) {
                Some((_, places)) => places.push((place, texts)),
                None => asking.push((field, vec![(place, texts)])),
            }
        }
        for (field, places) in asking {
            if places.len() < ASKING_MIN {
                self.any.extend(places.into_iter().map(|(place, _)| place));
                continue;
            }
            let mut texts: HashMap<String, Vec<usize>> = HashMap::new();
            for (place, mut own) in places {
                own.sort_unstable();
                own.dedup();
                for text in own {
                    texts.entry(text).or_default().push(place);
                }
            }
            self.asking.push((field, texts));
        }
        self.any.sort_unstable();
    }
}
