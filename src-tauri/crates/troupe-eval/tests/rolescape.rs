//! The real data set, where the person running the tests has it: counts and answer keys as counted
//! from its raw files, without the importer.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::{collections::BTreeMap, path::Path, path::PathBuf};

use serde_json::Value;
use troupe_character::{Library, QuestionKind, rolescape};
use troupe_eval::choice::{Item, key_counts};

type Keys = BTreeMap<String, usize>;

fn raw(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn add(keys: &mut Keys, items: &Value) {
    for item in items.as_array().into_iter().flatten() {
        *keys.entry(item["answer_key"].as_str().unwrap().to_owned()).or_default() += 1;
    }
}

#[test]
fn answer_keys_are_those_of_the_raw_files() {
    let Some(data) = std::env::var_os("TROUPE_ROLESCAPE").map(PathBuf::from) else {
        eprintln!("skipped: set TROUPE_ROLESCAPE to a folder with RoleScape characters");
        return;
    };
    let train = data.join("data/personalized_data/train");
    let home = tempfile::tempdir().unwrap();
    let library = Library::open(home.path(), &[]).unwrap();
    let report = rolescape::import(&data, None, &library).unwrap();
    let (mut all_text, mut all_pictures) = (Keys::new(), Keys::new());
    for import in &report.characters {
        let character = library.load(&import.id).unwrap();
        let file = |ending: &str| train.join(&import.folder).join(import.prefix.clone() + ending);
        let (mut text, mut pictures) = (Keys::new(), Keys::new());
        add(&mut text, &raw(&file("_knowledge_qa_test.json"))["mcq_items"]);
        for scene in raw(&file("_with_image.json"))["scenes"].as_array().unwrap() {
            scene
                .as_array()
                .unwrap()
                .iter()
                .for_each(|turn| add(&mut pictures, &turn["mcq_items"]));
        }
        let of = |kind| character.questions.iter().filter(move |q| q.kind == kind);
        assert_eq!(key_counts(of(QuestionKind::KnowledgeChoice)), text, "{}", import.folder);
        assert_eq!(key_counts(of(QuestionKind::PictureChoice)), pictures, "{}", import.folder);
        let asked = of(QuestionKind::PictureChoice).filter_map(Item::of).count();
        assert_eq!(asked, pictures.values().sum::<usize>(), "every item can be asked");
        for (keys, all) in [(text, &mut all_text), (pictures, &mut all_pictures)] {
            keys.into_iter().for_each(|(key, n)| *all.entry(key).or_default() += n);
        }
    }
    eprintln!("knowledge {all_text:?}, pictures {all_pictures:?}");
    if report.characters.len() == 20 {
        let published = |counts: [usize; 4]| -> Keys {
            ["A", "B", "C", "D"].map(String::from).into_iter().zip(counts).collect()
        };
        assert_eq!(all_text, published([7, 83, 99, 11]));
        assert_eq!(all_pictures, published([122, 560, 287, 20]));
    }
}
