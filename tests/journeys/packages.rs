//! A character leaves as one file and comes in elsewhere, with all it learned.

use troupe_api::{ErrorCause, wire::StartTraining, work};
use troupe_tests::Scratch;
use troupe_train::events::Control;

#[test]
fn a_character_is_exported_and_imported_elsewhere_with_what_it_learned() {
    let here = Scratch::new();
    let id = here.import("Dot");
    let studio = here.studio();
    let request =
        StartTraining { character_id: id.clone(), num_steps: Some(2), ..StartTraining::default() };
    work(&studio.create_run(&request).unwrap(), &mut |_| Control::Continue).unwrap();
    studio.keep_version(&id, "mine alone").unwrap();
    let original = studio.character(&id).unwrap();
    let file = here.path("dot.troupe");
    studio.export_character(&id, &file).unwrap();
    assert!(!here.path("dot.part").exists(), "nothing half-written stays");

    let there = Scratch::new();
    let elsewhere = there.studio();
    let outcome = elsewhere.import_character_files(std::slice::from_ref(&file)).unwrap();
    let copy = elsewhere.character(&outcome.character_ids[0]).unwrap();
    assert_eq!(copy.draft, original.draft);
    assert_eq!((&copy.pictures, &copy.scenes), (&original.pictures, &original.scenes));
    assert_eq!(copy.adapters, original.adapters);
    assert_eq!(copy.adapters.len(), 1);
    assert!(elsewhere.list_versions(&copy.id).unwrap().is_empty(), "versions stay with the owner");
    let picture = |studio: &troupe_api::Studio, id: &str| {
        std::fs::read(studio.character_picture_file(id, &original.pictures[0].id).unwrap()).unwrap()
    };
    assert_eq!(picture(&elsewhere, &copy.id), picture(&studio, &id));

    // Twice is two characters, also where the original is; nothing is left in between.
    elsewhere.import_character_files(std::slice::from_ref(&file)).unwrap();
    studio.import_character_files(std::slice::from_ref(&file)).unwrap();
    for (studio, home) in [(&elsewhere, there.home()), (&studio, here.home())] {
        let all = studio.list_characters().unwrap();
        assert_eq!(all.iter().filter(|character| character.name == "Dot").count(), 2);
        let hidden = std::fs::read_dir(home).unwrap().filter_map(Result::ok);
        let hidden = hidden.filter(|e| e.file_name().to_string_lossy().starts_with('.'));
        assert_eq!(hidden.count(), 0);
    }
    assert_eq!(studio.character(&id).unwrap(), original);
}

#[test]
fn what_is_no_character_file_is_refused_and_leaves_nothing() {
    let scratch = Scratch::new();
    let studio = scratch.studio();
    let file = scratch.path("x.troupe");
    let refused = || {
        let error = studio.import_character_files(std::slice::from_ref(&file)).unwrap_err();
        error.cause.unwrap_or_else(|| panic!("no cause: {}", error.message))
    };
    std::fs::write(&file, "no archive").unwrap();
    assert_eq!(refused(), ErrorCause::NotACard);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(refused(), ErrorCause::FileFailed);
    let left = std::fs::read_dir(scratch.home()).unwrap().filter_map(Result::ok);
    assert!(left.into_iter().all(|e| !e.file_name().to_string_lossy().starts_with('.')));
    assert!(studio.list_characters().unwrap().iter().all(|character| character.is_bundled));
}
