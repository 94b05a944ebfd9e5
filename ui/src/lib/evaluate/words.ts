/** Words of the browser: kinds of material, groups, and what a search found. */
import type { AdapterItem } from '../ipc/bindings/AdapterItem';
import type { MaterialKind } from '../ipc/bindings/MaterialKind';
import type { MaterialOwner } from '../ipc/bindings/MaterialOwner';
import type { Key } from '../messages/en';
import { keyOf, t } from '../messages/index.svelte';

const kinds: Record<MaterialKind, Key> = {
  pictureScene: 'kindPictureScene',
  dialogue: 'kindDialogue',
  knowledge: 'kindKnowledge',
  pictureQuestion: 'kindPictureQuestion',
  knowledgeChoice: 'kindKnowledgeChoice',
  pictureChoice: 'kindPictureChoice',
  memorization: 'kindMemorization',
  personality: 'kindPersonality',
  picturePrompt: 'kindPicturePrompt',
};

export const kindWords = (kind: MaterialKind): string => t(kinds[kind]);

const groups: Record<string, Key> = { human: 'groupHuman', animal: 'groupAnimal', drawn: 'groupDrawn' };

/** What a character belongs with, in words; empty when nobody said. */
export function groupWords(owner: Pick<MaterialOwner, 'group' | 'isRolescape'>): string {
  const key = groups[owner.group];
  return key ? t(key) : owner.group || (owner.isRolescape ? 'RoleScape-20' : '');
}

/** Why a line of a data set is not used as a question; a code that nobody translated stays as it is. */
export function droppedWords(code: string): string {
  const key = keyOf(`dropped.${code}`);
  return key ? t(key) : code;
}

export type Piece = { text: string; isHit: boolean };

/** A text cut at the words that were looked for, so that they can be marked. */
export function pieces(text: string, words: string): Piece[] {
  const wanted = words
    .split('"')
    .flatMap((part, at) => (at % 2 === 1 ? [part.trim()] : part.split(/\s+/)))
    .filter((word) => word !== '')
    .map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  if (wanted.length === 0) return text === '' ? [] : [{ text, isHit: false }];
  return text
    .split(new RegExp(`(${wanted.join('|')})`, 'giu'))
    .map((part, at) => ({ text: part, isHit: at % 2 === 1 }))
    .filter((piece) => piece.text !== '');
}

const stages: Record<string, Key> = {
  base: 'stageBase',
  sft: 'evaluateSft',
  grpo: 'evaluateGrpo',
  real: 'evaluateReal',
  copy: 'evaluateCopy',
  other: 'evaluateOther',
  constant: 'evaluateConstant',
};

/** A stage or baseline in words. */
export function stageWords(stage: string): string {
  const key = stages[stage];
  return key ? t(key) : stage;
}

/** What was learned, by stage and how far; adapters without a stage are of the first. */
export function adapterWords({ stage, step }: Pick<AdapterItem, 'stage' | 'step'>): string {
  const far = stage === 'grpo' ? t('atEpoch', { epoch: step }) : t('atStep', { step });
  return `${stageWords(stage || 'sft')} · ${far}`;
}

const tasks: Record<string, Key> = {
  'knowledge questions': 'taskKnowledge',
  'picture questions': 'taskPicture',
  'test replies': 'taskReplies',
  'whose reply': 'taskWhose',
  'sampled replies': 'taskSampled',
  pictures: 'taskPictures',
  'reply pictures': 'taskReplyPictures',
  'questions about pictures': 'taskAsked',
};

/** A task of an evaluation in words. */
export function taskWords(task: string): string {
  const key = tasks[task];
  return key ? t(key) : task;
}

/** A metric in words; one that the catalogue does not know is called as the studio calls it. */
export function metricWords({ metric, label }: { metric: string; label: string }): string {
  const key = keyOf(`metric.${metric}`);
  return key ? t(key) : label;
}

const statuses: Record<string, Key> = {
  waiting: 'waiting',
  running: 'evaluateRunning',
  paused: 'evaluateStopped',
  interrupted: 'interrupted',
  finished: 'evaluateFinished',
  failed: 'failedRun',
};

/** An evaluation's status in words. */
export function evaluationStatus(status: string): string {
  const key = statuses[status];
  return key ? t(key) : status;
}
