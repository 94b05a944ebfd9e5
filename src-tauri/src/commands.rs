//! What the page may ask for: unpack, call the studio, hand over.

mod authoring;
mod evaluation;
mod gallery;
mod material;
mod refining;

use std::path::PathBuf;

use base64::Engine as _;
use serde::Deserialize;
use tauri::{AppHandle, State, WebviewWindow, Wry, ipc::Channel, ipc::Invoke};
use troupe_api::{
    ApiError, ApiResult, ChatSink, CompareSink, ErrorCode, Studio,
    wire::{
        AddedPictures, AppStatus, CharacterDetail, CharacterDraft, CharacterSummary, ChatDetail,
        ChatEvent, ChatSettings, ChatSummary, CompareEvent, CompareRequest, DeletedItems,
        DeletedRef, ExportFormat, ExportOutcome, ExportedCharacter, FindingItem, ImportOutcome,
        MessageItem, PictureItem, PromptReport, Regenerate, RunDeletion, RunDetail, RunSummary,
        SceneItem, SearchResult, SendMessage, SentPrompt, StartTraining, Started, TrainingPlan,
        TreePage,
    },
};

use crate::dialogs::{self, Picked};

type Shared<'a> = State<'a, Studio>;

/// Least and most zoom of the page.
const ZOOM: (f64, f64) = (0.5, 2.);

/// All commands.
pub(crate) fn handler() -> impl Fn(Invoke<Wry>) -> bool + Send + Sync + 'static {
    tauri::generate_handler![
        app_status,
        list_characters,
        get_character,
        create_character,
        update_character,
        delete_character,
        restore_character,
        pick_pictures,
        pick_cards,
        pick_folder,
        add_picture_paths,
        add_picture_bytes,
        update_picture,
        remove_picture,
        restore_picture,
        save_scenes,
        export_rolescape,
        import_rolescape,
        import_cards,
        check_character,
        list_chats,
        create_chat,
        get_chat,
        get_messages,
        pinned_messages,
        rename_chat,
        delete_chat,
        restore_chat,
        select_alternative,
        edit_message,
        branch_at,
        delete_message,
        restore_message,
        pin_message,
        pin_chat,
        set_chat_settings,
        chat_tree,
        preview_prompt,
        sent_prompts,
        attach_picture,
        attach_drawn,
        pick_and_attach,
        export_chat,
        compare,
        set_zoom,
        search_chats,
        send_message,
        regenerate,
        stop_generation,
        training_plan,
        start_training,
        pause_run,
        resume_run,
        stop_run,
        run_keeping,
        keep_run,
        run_deletion,
        delete_run,
        restore_run,
        deleted_items,
        discard_items,
        list_runs,
        get_run,
        save_run_csv,
        refining::refine_plan,
        refining::start_refining,
        refining::refine_prompts,
        refining::save_prompts,
        gallery::gallery_page,
        gallery::set_favourite,
        gallery::set_rating,
        gallery::delete_gallery_pictures,
        gallery::restore_gallery_pictures,
        gallery::open_picture_chat,
        gallery::save_pictures,
        gallery::show_picture,
        gallery::drag_picture,
        gallery::add_to_training,
        gallery::draw_picture,
        gallery::draw_again,
        gallery::draw_expressions,
        gallery::expression_sheet,
        gallery::approve_picture,
        gallery::export_sprites,
        authoring::base_facts,
        authoring::count_tokens,
        authoring::duplicate_character,
        authoring::export_character,
        authoring::update_pictures,
        authoring::crop_picture,
        authoring::border_colour,
        authoring::draft_caption,
        authoring::scene_from_chat,
        authoring::list_versions,
        authoring::keep_version,
        authoring::version_changes,
        authoring::restore_version,
        material::material_owners,
        material::material_page,
        material::material_item,
        material::try_material,
        evaluation::evaluation_plan,
        evaluation::start_evaluation,
        evaluation::stop_evaluation,
        evaluation::resume_evaluation,
        evaluation::evaluation_deletion,
        evaluation::delete_evaluation,
        evaluation::restore_evaluation,
        evaluation::list_evaluations,
        evaluation::get_evaluation,
        evaluation::save_evaluation,
        evaluation::open_evaluation_report,
    ]
}

#[tauri::command(async)]
fn app_status(studio: Shared<'_>) -> AppStatus {
    studio.status()
}

#[tauri::command(async)]
fn list_characters(studio: Shared<'_>) -> ApiResult<Vec<CharacterSummary>> {
    studio.list_characters()
}

#[tauri::command(async)]
fn get_character(studio: Shared<'_>, id: &str) -> ApiResult<CharacterDetail> {
    studio.character(id)
}

#[tauri::command(async)]
fn create_character(studio: Shared<'_>, draft: CharacterDraft) -> ApiResult<CharacterDetail> {
    studio.create_character(draft)
}

#[tauri::command(async)]
fn update_character(
    studio: Shared<'_>,
    id: &str,
    draft: CharacterDraft,
) -> ApiResult<CharacterDetail> {
    studio.update_character(id, draft)
}

#[tauri::command(async)]
fn delete_character(studio: Shared<'_>, id: &str) -> ApiResult<String> {
    studio.delete_character(id)
}

#[tauri::command(async)]
fn restore_character(studio: Shared<'_>, trash_id: &str) -> ApiResult<CharacterDetail> {
    studio.restore_character(trash_id)
}

#[tauri::command(async)]
fn pick_pictures(app: AppHandle, picked: State<'_, Picked>) -> Vec<PathBuf> {
    let paths = dialogs::pick_pictures(&app);
    picked.add(&paths);
    paths
}

#[tauri::command(async)]
fn pick_cards(app: AppHandle, picked: State<'_, Picked>) -> Vec<PathBuf> {
    let paths = dialogs::pick_cards(&app);
    picked.add(&paths);
    paths
}

#[tauri::command(async)]
fn pick_folder(app: AppHandle, picked: State<'_, Picked>) -> Option<PathBuf> {
    let path = dialogs::pick_folder(&app);
    picked.add(&path);
    path
}

#[tauri::command(async)]
fn add_picture_paths(
    studio: Shared<'_>,
    picked: State<'_, Picked>,
    id: &str,
    paths: Vec<PathBuf>,
) -> ApiResult<AddedPictures> {
    picked.check(&paths)?;
    studio.add_picture_files(id, &paths)
}

/// A dropped or pasted picture.
#[derive(Debug, Deserialize)]
struct PictureBytes {
    name: String,
    base64: String,
}

#[tauri::command(async)]
fn add_picture_bytes(
    studio: Shared<'_>,
    id: &str,
    items: Vec<PictureBytes>,
) -> ApiResult<AddedPictures> {
    let decode = |item: PictureBytes| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(&item.base64);
        bytes.map(|bytes| (item.name, bytes)).map_err(|e| {
            let message = format!("a picture arrived damaged: {e}");
            ApiError::new(ErrorCode::BadRequest, message, "Add it as a file instead.")
        })
    };
    let items = items.into_iter().map(decode).collect::<ApiResult<Vec<_>>>()?;
    studio.add_picture_bytes(id, &items)
}

#[tauri::command(async)]
fn update_picture(
    studio: Shared<'_>,
    id: &str,
    picture: PictureItem,
) -> ApiResult<CharacterDetail> {
    studio.update_picture(id, &picture)
}

#[tauri::command(async)]
fn remove_picture(studio: Shared<'_>, id: &str, picture_id: &str) -> ApiResult<CharacterDetail> {
    studio.remove_picture(id, picture_id)
}

#[tauri::command(async)]
fn restore_picture(studio: Shared<'_>, id: &str, picture_id: &str) -> ApiResult<CharacterDetail> {
    studio.restore_picture(id, picture_id)
}

#[tauri::command(async)]
fn save_scenes(studio: Shared<'_>, id: &str, scenes: Vec<SceneItem>) -> ApiResult<CharacterDetail> {
    studio.save_scenes(id, scenes)
}

#[tauri::command(async)]
fn import_rolescape(
    studio: Shared<'_>,
    picked: State<'_, Picked>,
    folder: PathBuf,
) -> ApiResult<ImportOutcome> {
    picked.check(std::slice::from_ref(&folder))?;
    studio.import_rolescape(&folder, None)
}

/// Writes a character in the layout of RoleScape-20 where the person chooses; none when they chose
/// nothing.
#[tauri::command(async)]
fn export_rolescape(
    app: AppHandle,
    studio: Shared<'_>,
    id: &str,
) -> ApiResult<Option<ExportedCharacter>> {
    match dialogs::pick_folder(&app) {
        Some(folder) => studio.export_rolescape(id, &folder).map(Some),
        None => Ok(None),
    }
}

#[tauri::command(async)]
fn import_cards(
    studio: Shared<'_>,
    picked: State<'_, Picked>,
    paths: Vec<PathBuf>,
) -> ApiResult<ImportOutcome> {
    picked.check(&paths)?;
    studio.import_character_files(&paths)
}

#[tauri::command(async)]
fn check_character(studio: Shared<'_>, id: &str) -> ApiResult<Vec<FindingItem>> {
    studio.check_character(id)
}

#[tauri::command(async)]
fn list_chats(studio: Shared<'_>, character_id: Option<&str>) -> ApiResult<Vec<ChatSummary>> {
    studio.list_chats(character_id)
}

#[tauri::command(async)]
fn create_chat(studio: Shared<'_>, character_id: &str) -> ApiResult<ChatDetail> {
    studio.create_chat(character_id)
}

#[tauri::command(async)]
fn get_chat(studio: Shared<'_>, chat_id: &str) -> ApiResult<ChatDetail> {
    studio.chat(chat_id)
}

#[tauri::command(async)]
fn get_messages(studio: Shared<'_>, ids: Vec<String>) -> ApiResult<Vec<MessageItem>> {
    studio.messages(&ids)
}

#[tauri::command(async)]
fn pinned_messages(studio: Shared<'_>, chat_id: &str) -> ApiResult<Vec<MessageItem>> {
    studio.pinned_messages(chat_id)
}

#[tauri::command(async)]
fn rename_chat(studio: Shared<'_>, chat_id: &str, title: &str) -> ApiResult<()> {
    studio.rename_chat(chat_id, title)
}

#[tauri::command(async)]
fn delete_chat(studio: Shared<'_>, chat_id: &str) -> ApiResult<()> {
    studio.delete_chat(chat_id)
}

#[tauri::command(async)]
fn restore_chat(studio: Shared<'_>, chat_id: &str) -> ApiResult<()> {
    studio.restore_chat(chat_id)
}

#[tauri::command(async)]
fn select_alternative(studio: Shared<'_>, message_id: &str) -> ApiResult<ChatDetail> {
    studio.select_alternative(message_id)
}

#[tauri::command(async)]
fn edit_message(studio: Shared<'_>, message_id: &str, text: &str) -> ApiResult<MessageItem> {
    studio.edit_message(message_id, text)
}

#[tauri::command(async)]
fn branch_at(studio: Shared<'_>, message_id: &str) -> ApiResult<ChatDetail> {
    studio.branch_at(message_id)
}

#[tauri::command(async)]
fn delete_message(studio: Shared<'_>, message_id: &str) -> ApiResult<ChatDetail> {
    studio.delete_message(message_id)
}

#[tauri::command(async)]
fn restore_message(studio: Shared<'_>, message_id: &str) -> ApiResult<ChatDetail> {
    studio.restore_message(message_id)
}

#[tauri::command(async)]
fn pin_message(studio: Shared<'_>, message_id: &str, is_pinned: bool) -> ApiResult<MessageItem> {
    studio.pin_message(message_id, is_pinned)
}

#[tauri::command(async)]
fn pin_chat(studio: Shared<'_>, chat_id: &str, is_pinned: bool) -> ApiResult<()> {
    studio.pin_chat(chat_id, is_pinned)
}

#[tauri::command(async)]
fn set_chat_settings(studio: Shared<'_>, chat_id: &str, settings: ChatSettings) -> ApiResult<()> {
    studio.set_chat_settings(chat_id, &settings)
}

#[tauri::command(async)]
fn chat_tree(studio: Shared<'_>, chat_id: &str, offset: u32, limit: u32) -> ApiResult<TreePage> {
    studio.chat_tree(chat_id, offset, limit)
}

#[tauri::command(async)]
fn preview_prompt(studio: Shared<'_>, chat_id: &str, draft: &str) -> ApiResult<PromptReport> {
    studio.preview_prompt(chat_id, draft)
}

#[tauri::command(async)]
fn sent_prompts(studio: Shared<'_>, message_id: &str) -> ApiResult<Vec<SentPrompt>> {
    studio.sent_prompts(message_id)
}

#[tauri::command(async)]
fn attach_picture(studio: Shared<'_>, base64: &str) -> ApiResult<String> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(base64).map_err(|e| {
        let message = format!("a picture arrived damaged: {e}");
        ApiError::new(ErrorCode::BadRequest, message, "Attach it as a file instead.")
    })?;
    studio.attach_picture(&bytes)
}

#[tauri::command(async)]
fn attach_drawn(studio: Shared<'_>, picture_id: &str) -> ApiResult<String> {
    studio.attach_drawn(picture_id)
}

#[tauri::command(async)]
fn pick_and_attach(app: AppHandle, studio: Shared<'_>) -> ApiResult<Option<String>> {
    let Some(path) = dialogs::pick_pictures(&app).into_iter().next() else { return Ok(None) };
    let bytes = std::fs::read(&path).map_err(|e| {
        let message = format!("the picture cannot be read: {e} ({})", path.display());
        ApiError::new(ErrorCode::Storage, message, "Choose another one.")
    })?;
    studio.attach_picture(&bytes).map(Some)
}

#[tauri::command(async)]
fn export_chat(
    app: AppHandle,
    studio: Shared<'_>,
    chat_id: &str,
    format: ExportFormat,
) -> ApiResult<Option<ExportOutcome>> {
    let extension = match format {
        ExportFormat::Markdown => "md",
        ExportFormat::Html => "html",
        ExportFormat::SillyTavern => "jsonl",
    };
    let title = studio.chat(chat_id)?.chat.title;
    match dialogs::pick_save(&app, &title, extension) {
        Some(path) => studio.export_chat(chat_id, format, &path).map(Some),
        None => Ok(None),
    }
}

#[tauri::command(async)]
fn compare(
    studio: Shared<'_>,
    request: CompareRequest,
    events: Channel<CompareEvent>,
) -> ApiResult<String> {
    studio.compare(request, compare_sink(events))
}

/// Hands the events of a comparison to the page. A page that is gone misses them.
fn compare_sink(events: Channel<CompareEvent>) -> CompareSink {
    Box::new(move |event| {
        if let Err(error) = events.send(event) {
            tracing::debug!("the page did not take an event: {error}");
        }
    })
}

#[tauri::command(async)]
fn set_zoom(window: WebviewWindow, factor: f64) -> ApiResult<()> {
    let (least, most) = ZOOM;
    window.set_zoom(factor.clamp(least, most)).map_err(|e| {
        ApiError::new(ErrorCode::Internal, format!("the page cannot be zoomed: {e}"), "")
    })
}

#[tauri::command(async)]
fn search_chats(
    studio: Shared<'_>,
    words: &str,
    chat_id: Option<&str>,
) -> ApiResult<Vec<SearchResult>> {
    studio.search_chats(words, chat_id)
}

/// Hands events to the page. A page that is gone misses them; the store holds the truth.
fn sink(events: Channel<ChatEvent>) -> ChatSink {
    Box::new(move |event| {
        if let Err(error) = events.send(event) {
            tracing::debug!("the page did not take an event: {error}");
        }
    })
}

#[tauri::command(async)]
fn send_message(
    studio: Shared<'_>,
    request: SendMessage,
    events: Channel<ChatEvent>,
) -> ApiResult<Started> {
    studio.send_message(request, sink(events))
}

#[tauri::command(async)]
fn regenerate(
    studio: Shared<'_>,
    message_id: &str,
    what: Regenerate,
    seed: Option<u32>,
    events: Channel<ChatEvent>,
) -> ApiResult<Started> {
    studio.regenerate(message_id, what, seed, sink(events))
}

#[tauri::command(async)]
fn stop_generation(studio: Shared<'_>, generation_id: &str) {
    studio.stop(generation_id);
}

#[tauri::command(async)]
fn training_plan(studio: Shared<'_>, request: StartTraining) -> ApiResult<TrainingPlan> {
    studio.training_plan(&request)
}

/// Saves a run's curves where the person chooses and tells where that is; none when they chose nothing.
#[tauri::command(async)]
fn save_run_csv(app: AppHandle, studio: Shared<'_>, id: &str) -> ApiResult<Option<String>> {
    let Some(file) = dialogs::save_file(&app, "losses.csv") else { return Ok(None) };
    studio.save_run_csv(id, &file)?;
    Ok(Some(file.display().to_string()))
}

#[tauri::command(async)]
fn start_training(studio: Shared<'_>, request: StartTraining) -> ApiResult<RunSummary> {
    studio.start_training(&request)
}

#[tauri::command(async)]
fn pause_run(studio: Shared<'_>, id: &str) -> ApiResult<()> {
    studio.pause_run(id)
}

#[tauri::command(async)]
fn resume_run(studio: Shared<'_>, id: &str) -> ApiResult<RunSummary> {
    studio.resume_run(id)
}

#[tauri::command(async)]
fn stop_run(studio: Shared<'_>, id: &str) -> ApiResult<()> {
    studio.stop_run(id)
}

#[tauri::command(async)]
fn run_keeping(studio: Shared<'_>, id: &str) -> ApiResult<u32> {
    studio.run_keeping(id)
}

#[tauri::command(async)]
fn keep_run(studio: Shared<'_>, id: &str) -> ApiResult<RunSummary> {
    studio.keep_run(id)
}

#[tauri::command(async)]
fn run_deletion(studio: Shared<'_>, id: &str) -> ApiResult<RunDeletion> {
    studio.run_deletion(id)
}

#[tauri::command(async)]
fn delete_run(studio: Shared<'_>, id: &str) -> ApiResult<()> {
    studio.delete_run(id)
}

#[tauri::command(async)]
fn restore_run(studio: Shared<'_>, id: &str) -> ApiResult<RunSummary> {
    studio.restore_run(id)
}

#[tauri::command(async)]
fn deleted_items(studio: Shared<'_>) -> ApiResult<DeletedItems> {
    studio.deleted()
}

#[tauri::command(async)]
fn discard_items(studio: Shared<'_>, items: Vec<DeletedRef>) -> ApiResult<()> {
    studio.discard(&items).map(drop) // the space is freed in a while
}

#[tauri::command(async)]
fn list_runs(studio: Shared<'_>, character_id: Option<&str>) -> ApiResult<Vec<RunSummary>> {
    studio.list_runs(character_id)
}

#[tauri::command(async)]
fn get_run(studio: Shared<'_>, id: &str) -> ApiResult<RunDetail> {
    studio.run(id)
}
