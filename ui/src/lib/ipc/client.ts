/** The only door to the Rust side. Everything else receives a `Client`. */
import { Channel, convertFileSrc, invoke } from '@tauri-apps/api/core';
import type { AddedPictures } from './bindings/AddedPictures';
import type { AddedToTraining } from './bindings/AddedToTraining';
import type { ApiError } from './bindings/ApiError';
import type { AppStatus } from './bindings/AppStatus';
import type { BaseFacts } from './bindings/BaseFacts';
import type { ChangeItem } from './bindings/ChangeItem';
import type { CharacterDetail } from './bindings/CharacterDetail';
import type { CharacterDraft } from './bindings/CharacterDraft';
import type { CharacterSummary } from './bindings/CharacterSummary';
import type { ChatSettings } from './bindings/ChatSettings';
import type { CompareEvent } from './bindings/CompareEvent';
import type { CompareRequest } from './bindings/CompareRequest';
import type { EvaluationDetail } from './bindings/EvaluationDetail';
import type { EvaluationPlan } from './bindings/EvaluationPlan';
import type { EvaluationSummary } from './bindings/EvaluationSummary';
import type { ExportFormat } from './bindings/ExportFormat';
import type { ExportedCharacter } from './bindings/ExportedCharacter';
import type { ExportOutcome } from './bindings/ExportOutcome';
import type { PromptItem } from './bindings/PromptItem';
import type { PromptReport } from './bindings/PromptReport';
import type { SentPrompt } from './bindings/SentPrompt';
import type { TreePage } from './bindings/TreePage';
import type { ChatDetail } from './bindings/ChatDetail';
import type { ChatEvent } from './bindings/ChatEvent';
import type { ChatSummary } from './bindings/ChatSummary';
import type { CropItem } from './bindings/CropItem';
import type { DeletedItems } from './bindings/DeletedItems';
import type { DeletedRef } from './bindings/DeletedRef';
import type { DrawingEvent } from './bindings/DrawingEvent';
import type { DrawPicture } from './bindings/DrawPicture';
import type { ExpressionSheetItem } from './bindings/ExpressionSheetItem';
import type { FindingItem } from './bindings/FindingItem';
import type { GalleryFilter } from './bindings/GalleryFilter';
import type { GalleryPage } from './bindings/GalleryPage';
import type { ImportOutcome } from './bindings/ImportOutcome';
import type { MaterialFilter } from './bindings/MaterialFilter';
import type { MaterialItem } from './bindings/MaterialItem';
import type { MaterialKind } from './bindings/MaterialKind';
import type { MaterialOwner } from './bindings/MaterialOwner';
import type { MaterialPage } from './bindings/MaterialPage';
import type { MessageItem } from './bindings/MessageItem';
import type { PictureItem } from './bindings/PictureItem';
import type { RefinePlan } from './bindings/RefinePlan';
import type { Regenerate } from './bindings/Regenerate';
import type { RunDeletion } from './bindings/RunDeletion';
import type { RunDetail } from './bindings/RunDetail';
import type { RunSummary } from './bindings/RunSummary';
import type { SceneItem } from './bindings/SceneItem';
import type { SearchResult } from './bindings/SearchResult';
import type { SendMessage } from './bindings/SendMessage';
import type { Started } from './bindings/Started';
import type { StartEvaluation } from './bindings/StartEvaluation';
import type { StartRefining } from './bindings/StartRefining';
import type { StartTraining } from './bindings/StartTraining';
import type { TrainingPlan } from './bindings/TrainingPlan';
import type { TryMaterial } from './bindings/TryMaterial';
import type { Trying } from './bindings/Trying';
import type { VersionItem } from './bindings/VersionItem';

export type OnChatEvent = (event: ChatEvent) => void;
export type OnDrawingEvent = (event: DrawingEvent) => void;
export type PictureBytes = { name: string; base64: string };

function call<T>(command: string, args: Record<string, unknown> = {}): Promise<T> {
  return invoke<T>(command, args);
}

function channel<E>(on: (event: E) => void): Channel<E> {
  const events = new Channel<E>();
  events.onmessage = on;
  return events;
}

export const client = {
  appStatus: () => call<AppStatus>('app_status'),

  listCharacters: () => call<CharacterSummary[]>('list_characters'),
  getCharacter: (id: string) => call<CharacterDetail>('get_character', { id }),
  createCharacter: (draft: CharacterDraft) => call<CharacterDetail>('create_character', { draft }),
  updateCharacter: (id: string, draft: CharacterDraft) =>
    call<CharacterDetail>('update_character', { id, draft }),
  deleteCharacter: (id: string) => call<string>('delete_character', { id }),
  restoreCharacter: (trashId: string) => call<CharacterDetail>('restore_character', { trashId }),
  pickPictures: () => call<string[]>('pick_pictures'),
  pickCards: () => call<string[]>('pick_cards'),
  pickFolder: () => call<string | null>('pick_folder'),
  addPicturePaths: (id: string, paths: string[]) => call<AddedPictures>('add_picture_paths', { id, paths }),
  addPictureBytes: (id: string, items: PictureBytes[]) =>
    call<AddedPictures>('add_picture_bytes', { id, items }),
  updatePicture: (id: string, picture: PictureItem) =>
    call<CharacterDetail>('update_picture', { id, picture }),
  removePicture: (id: string, pictureId: string) =>
    call<CharacterDetail>('remove_picture', { id, pictureId }),
  restorePicture: (id: string, pictureId: string) =>
    call<CharacterDetail>('restore_picture', { id, pictureId }),
  saveScenes: (id: string, scenes: SceneItem[]) => call<CharacterDetail>('save_scenes', { id, scenes }),
  importRolescape: (folder: string) => call<ImportOutcome>('import_rolescape', { folder }),
  /** Where it was written; null when no folder was chosen. */
  exportRolescape: (id: string) => call<ExportedCharacter | null>('export_rolescape', { id }),
  importCards: (paths: string[]) => call<ImportOutcome>('import_cards', { paths }),
  checkCharacter: (id: string) => call<FindingItem[]>('check_character', { id }),

  listChats: (characterId: string | null) => call<ChatSummary[]>('list_chats', { characterId }),
  createChat: (characterId: string) => call<ChatDetail>('create_chat', { characterId }),
  getChat: (chatId: string) => call<ChatDetail>('get_chat', { chatId }),
  getMessages: (ids: string[]) => call<MessageItem[]>('get_messages', { ids }),
  pinnedMessages: (chatId: string) => call<MessageItem[]>('pinned_messages', { chatId }),
  renameChat: (chatId: string, title: string) => call<null>('rename_chat', { chatId, title }),
  deleteChat: (chatId: string) => call<null>('delete_chat', { chatId }),
  restoreChat: (chatId: string) => call<null>('restore_chat', { chatId }),
  selectAlternative: (messageId: string) => call<ChatDetail>('select_alternative', { messageId }),
  editMessage: (messageId: string, text: string) => call<MessageItem>('edit_message', { messageId, text }),
  searchChats: (words: string, chatId: string | null) =>
    call<SearchResult[]>('search_chats', { words, chatId }),
  sendMessage: (request: SendMessage, on: OnChatEvent) =>
    call<Started>('send_message', { request, events: channel(on) }),
  regenerate: (messageId: string, what: Regenerate, seed: number | null, on: OnChatEvent) =>
    call<Started>('regenerate', { messageId, what, seed, events: channel(on) }),
  branchAt: (messageId: string) => call<ChatDetail>('branch_at', { messageId }),
  deleteMessage: (messageId: string) => call<ChatDetail>('delete_message', { messageId }),
  restoreMessage: (messageId: string) => call<ChatDetail>('restore_message', { messageId }),
  pinMessage: (messageId: string, isPinned: boolean) =>
    call<MessageItem>('pin_message', { messageId, isPinned }),
  pinChat: (chatId: string, isPinned: boolean) => call<null>('pin_chat', { chatId, isPinned }),
  setChatSettings: (chatId: string, settings: ChatSettings) =>
    call<null>('set_chat_settings', { chatId, settings }),
  chatTree: (chatId: string, offset: number, limit: number) =>
    call<TreePage>('chat_tree', { chatId, offset, limit }),
  previewPrompt: (chatId: string, draft: string) => call<PromptReport>('preview_prompt', { chatId, draft }),
  sentPrompts: (messageId: string) => call<SentPrompt[]>('sent_prompts', { messageId }),
  attachPicture: (base64: string) => call<string>('attach_picture', { base64 }),
  attachDrawn: (pictureId: string) => call<string>('attach_drawn', { pictureId }),
  pickAndAttach: () => call<string | null>('pick_and_attach'),
  exportChat: (chatId: string, format: ExportFormat) =>
    call<ExportOutcome | null>('export_chat', { chatId, format }),
  compare: (request: CompareRequest, on: (event: CompareEvent) => void) =>
    call<string>('compare', { request, events: channel(on) }),
  setZoom: (factor: number) => call<null>('set_zoom', { factor }),
  stopGeneration: (generationId: string) => call<null>('stop_generation', { generationId }),

  trainingPlan: (request: StartTraining) => call<TrainingPlan>('training_plan', { request }),
  saveRunCsv: (id: string) => call<string | null>('save_run_csv', { id }),
  startTraining: (request: StartTraining) => call<RunSummary>('start_training', { request }),
  refinePlan: (request: StartRefining) => call<RefinePlan>('refine_plan', { request }),
  startRefining: (request: StartRefining) => call<RunSummary>('start_refining', { request }),
  refinePrompts: (characterId: string) => call<PromptItem[]>('refine_prompts', { characterId }),
  savePrompts: (characterId: string, prompts: PromptItem[]) =>
    call<string>('save_prompts', { characterId, prompts }),
  pauseRun: (id: string) => call<null>('pause_run', { id }),
  resumeRun: (id: string) => call<RunSummary>('resume_run', { id }),
  /** The step whose weights `keepRun` keeps. */
  runKeeping: (id: string) => call<number>('run_keeping', { id }),
  keepRun: (id: string) => call<RunSummary>('keep_run', { id }),
  stopRun: (id: string) => call<null>('stop_run', { id }),
  runDeletion: (id: string) => call<RunDeletion>('run_deletion', { id }),
  deleteRun: (id: string) => call<null>('delete_run', { id }),
  restoreRun: (id: string) => call<RunSummary>('restore_run', { id }),
  listRuns: (characterId: string | null) => call<RunSummary[]>('list_runs', { characterId }),
  getRun: (id: string) => call<RunDetail>('get_run', { id }),

  deletedItems: () => call<DeletedItems>('deleted_items'),
  /** For good. */
  discardItems: (items: DeletedRef[]) => call<null>('discard_items', { items }),

  galleryPage: (filter: GalleryFilter, offset: number, limit: number) =>
    call<GalleryPage>('gallery_page', { filter, offset, limit }),
  setFavourite: (id: string, isFavourite: boolean) => call<null>('set_favourite', { id, isFavourite }),
  setRating: (id: string, rating: number | null) => call<null>('set_rating', { id, rating }),
  deleteGalleryPictures: (ids: string[]) => call<null>('delete_gallery_pictures', { ids }),
  restoreGalleryPictures: (ids: string[]) => call<null>('restore_gallery_pictures', { ids }),
  openPictureChat: (id: string) => call<ChatDetail>('open_picture_chat', { id }),
  savePictures: (ids: string[], withOrigin: boolean) =>
    call<number | null>('save_pictures', { ids, withOrigin }),
  showPicture: (id: string, withOrigin: boolean) => call<null>('show_picture', { id, withOrigin }),
  dragPicture: (id: string, withOrigin: boolean) => call<null>('drag_picture', { id, withOrigin }),
  addToTraining: (id: string) => call<AddedToTraining>('add_to_training', { id }),
  drawPicture: (request: DrawPicture, on: OnDrawingEvent) =>
    call<string>('draw_picture', { request, events: channel(on) }),
  drawAgain: (id: string, seed: number | null, on: OnDrawingEvent) =>
    call<string>('draw_again', { id, seed, events: channel(on) }),
  drawExpressions: (characterId: string, names: string[], seed: number | null, on: OnDrawingEvent) =>
    call<string>('draw_expressions', { characterId, names, seed, events: channel(on) }),
  expressionSheet: (characterId: string) => call<ExpressionSheetItem[]>('expression_sheet', { characterId }),
  approvePicture: (id: string, isApproved: boolean) => call<null>('approve_picture', { id, isApproved }),
  exportSprites: (characterId: string, asZip: boolean, withOrigin: boolean) =>
    call<string | null>('export_sprites', { characterId, asZip, withOrigin }),

  baseFacts: () => call<BaseFacts>('base_facts'),
  countTokens: (texts: string[]) => call<number[]>('count_tokens', { texts }),
  duplicateCharacter: (id: string, name: string) =>
    call<CharacterDetail>('duplicate_character', { id, name }),
  /** Where it was written; null when no place was chosen. */
  exportCharacter: (id: string, name: string) => call<string | null>('export_character', { id, name }),
  updatePictures: (id: string, pictures: PictureItem[]) =>
    call<CharacterDetail>('update_pictures', { id, pictures }),
  cropPicture: (id: string, pictureId: string, crop: CropItem | null) =>
    call<CharacterDetail>('crop_picture', { id, pictureId, crop }),
  borderColour: (id: string, pictureId: string) =>
    call<[number, number, number]>('border_colour', { id, pictureId }),
  draftCaption: (id: string, pictureId: string) => call<string>('draft_caption', { id, pictureId }),
  sceneFromChat: (chatId: string, withPictures: boolean) =>
    call<CharacterDetail>('scene_from_chat', { chatId, withPictures }),
  listVersions: (id: string) => call<VersionItem[]>('list_versions', { id }),
  keepVersion: (id: string, name: string) => call<VersionItem[]>('keep_version', { id, name }),
  versionChanges: (id: string, versionId: string) => call<ChangeItem[]>('version_changes', { id, versionId }),
  restoreVersion: (id: string, versionId: string) =>
    call<CharacterDetail>('restore_version', { id, versionId }),

  materialOwners: () => call<MaterialOwner[]>('material_owners'),
  materialPage: (filter: MaterialFilter, offset: number, limit: number) =>
    call<MaterialPage>('material_page', { filter, offset, limit }),
  materialItem: (characterId: string, kind: MaterialKind, id: string) =>
    call<MaterialItem>('material_item', { characterId, kind, id }),
  tryMaterial: (request: TryMaterial, on: (event: CompareEvent) => void) =>
    call<Trying>('try_material', { request, events: channel(on) }),

  evaluationPlan: (request: StartEvaluation) => call<EvaluationPlan>('evaluation_plan', { request }),
  startEvaluation: (request: StartEvaluation) => call<EvaluationSummary>('start_evaluation', { request }),
  stopEvaluation: (id: string) => call<null>('stop_evaluation', { id }),
  resumeEvaluation: (id: string) => call<EvaluationSummary>('resume_evaluation', { id }),
  /** Bytes that deleting it frees. */
  evaluationDeletion: (id: string) => call<number>('evaluation_deletion', { id }),
  deleteEvaluation: (id: string) => call<null>('delete_evaluation', { id }),
  restoreEvaluation: (id: string) => call<null>('restore_evaluation', { id }),
  listEvaluations: () => call<EvaluationSummary[]>('list_evaluations'),
  getEvaluation: (id: string) => call<EvaluationDetail>('get_evaluation', { id }),
  saveEvaluation: (id: string, name: string) => call<string | null>('save_evaluation', { id, name }),
  openEvaluationReport: (id: string) => call<null>('open_evaluation_report', { id }),

  characterPicture: (id: string, pictureId: string) =>
    convertFileSrc(`character/${id}/${pictureId}`, 'troupe-picture'),
  wholePicture: (id: string, pictureId: string) =>
    convertFileSrc(`character/${id}/${pictureId}/whole`, 'troupe-picture'),
  chatPicture: (pictureId: string) => convertFileSrc(`chat/${pictureId}`, 'troupe-picture'),
  attachedPicture: (name: string) => convertFileSrc(`attached/${name}`, 'troupe-picture'),
  runPicture: (runId: string, file: string) => convertFileSrc(`run/${runId}/${file}`, 'troupe-picture'),
};

/** What the Rust side offers; tests hand in their own. */
export type Client = typeof client;

/** Any thrown value as an error with message and hint. */
export function asApiError(error: unknown): ApiError {
  if (typeof error === 'object' && error !== null && 'message' in error) {
    const { code, cause, values, message, hint } = error as Partial<ApiError>;
    return {
      code: code ?? 'internal',
      cause: cause ?? null,
      values: values ?? {},
      message: String(message),
      hint: hint ?? '',
    };
  }
  return { code: 'internal', cause: null, values: {}, message: String(error), hint: '' };
}
