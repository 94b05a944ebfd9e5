/** What a run of refining (stage 2) says, and its numbers as the expert panel shows them. */
import type { GroupItem } from '../ipc/bindings/GroupItem';
import type { NamedValue } from '../ipc/bindings/NamedValue';
import type { RefineDetail } from '../ipc/bindings/RefineDetail';
import type { RefineNumbers } from '../ipc/bindings/RefineNumbers';
import type { TrialItem } from '../ipc/bindings/TrialItem';
import type { Key } from '../messages/en';
import { ids } from '../testids';
import type { Mean, Point } from './curve';
import { fieldsOf, type FieldGroup } from './settings';

const { whole, share, real, flag, choice } = fieldsOf<RefineNumbers>();

export const groups: FieldGroup[] = [
  {
    label: 'recipeLength',
    fields: [
      { ...whole('epochs', 'refineEpochs', 'none'), min: 1, testid: ids.refineEpochs },
      { ...whole('promptsPerEpoch', 'refineGroups', 'none'), min: 1 },
      { ...whole('imagesPerPrompt', 'refineGroupSize', 'none'), min: 2 },
      { ...whole('updatesPerEpoch', 'refineUpdates', 'none'), min: 1 },
      { ...whole('picturesPerPass', 'refinePerPass', 'none'), min: 1 },
    ],
  },
  {
    label: 'refineRewards',
    fields: [
      real('alignment', 'rewardAlignment', 0.05),
      real('vqa', 'rewardVqa', 0.05),
      real('diversity', 'rewardDiversity', 0.05),
      real('similarity', 'rewardSimilarity', 0.05),
      choice('alignmentBy', 'refineAlignmentBy', {
        auto: 'alignmentAuto',
        clip: 'alignmentClip',
        scorer: 'alignmentScorer',
        flow: 'alignmentFlow',
      }),
      choice('vqaBy', 'refineVqaBy', { auto: 'vqaByAuto', blip: 'vqaByBlip', stage1: 'vqaByStage1' }),
      choice('vqaForm', 'refineVqaForm', { soft: 'vqaSoft', exact: 'vqaExact' }),
      whole('maxQuestions', 'refineMaxQuestions', 'none'),
      choice('diversityForm', 'refineDiversityForm', {
        per_image: 'diversityPerImage',
        group: 'diversityGroup',
      }),
    ],
  },
  {
    label: 'refineBand',
    fields: [
      choice('band', 'refineBandPlace', { calibrated: 'bandCalibrated', fixed: 'bandFixed' }),
      { ...real('simLow', 'refineSimLow', 0.05), min: -1, max: 1 },
      { ...real('simHigh', 'refineSimHigh', 0.05), min: -1, max: 1 },
      real('simSlope', 'refineSimSlope', 0.5),
    ],
  },
  {
    label: 'refineLearning',
    fields: [
      real('learningRate', 'refineRate', 0.000001),
      whole('loraRank', 'refineRank', 'none'),
      real('loraAlpha', 'recipeAlpha', 1),
      real('maxGradNorm', 'refineGradNorm', 0.1),
      real('weightDecay', 'recipeDecay', 0.01),
      share('beta1', 'refineBeta1'),
      share('beta2', 'refineBeta2'),
      real('eps', 'recipeEps', 1e-8),
      share('ema', 'recipeAverage'),
      flag('recompute', 'refineRecompute'),
    ],
  },
  {
    label: 'refineObjective',
    fields: [
      real('clip', 'refineClip', 0.00001),
      real('advClamp', 'refineAdvClamp', 0.5),
      choice('stdMode', 'refineStdMode', { group: 'stdGroup', batch: 'stdBatch', component: 'stdComponent' }),
      real('beta', 'refineBeta', 0.01),
      choice('klForm', 'refineKlForm', { exact: 'klExact', reference: 'klReference' }),
      flag('guard', 'refineGuard'),
    ],
  },
  {
    label: 'refineDrawing',
    fields: [
      { ...whole('points', 'refinePoints', 'none'), min: 3 },
      real('shift', 'refineShift', 0.5),
      choice('rule', 'refineRule', { cps: 'ruleCps', sde: 'ruleSde' }),
      real('noise', 'refineNoise', 0.1),
      { ...whole('window', 'refineWindow', 'steps'), min: 1 },
      whole('windowLow', 'refineWindowLow', 'none'),
      whole('windowHigh', 'refineWindowHigh', 'none'),
      flag('shareInitialNoise', 'refineShare'),
    ],
  },
  {
    label: 'refineGuiding',
    fields: [
      real('guidance', 'refineGuidance', 0.5),
      share('cfgLow', 'refineCfgLow'),
      share('cfgHigh', 'refineCfgHigh'),
      share('cfgRenormMin', 'refineCfgRenorm'),
      flag('cfgDetach', 'refineCfgDetach'),
    ],
  },
  {
    label: 'refineWatching',
    fields: [
      whole('evalEvery', 'refineEvalEvery', 'epochs'),
      { ...whole('evalPrompts', 'refineEvalPrompts', 'none'), min: 1 },
      { ...whole('evalPictures', 'refineEvalPictures', 'none'), min: 2 },
      { ...whole('evalPoints', 'refineEvalPoints', 'none'), min: 2 },
      whole('saveEvery', 'recipeCheckpointEvery', 'epochs'),
      share('heldOutShare', 'refineHeldOut'),
      whole('patience', 'refinePatience', 'trials'),
      share('diversityLoss', 'refineDiversityLoss'),
    ],
  },
];

const names: Record<string, Key> = {
  reward: 'measureReward',
  'trial diversity': 'measureDiversity',
  alignment: 'rewardAlignment',
  vqa: 'rewardVqa',
  diversity: 'rewardDiversity',
  similarity: 'rewardSimilarity',
  'likeness by shapes': 'measureShapes',
  'fit to real pictures': 'measureFit',
};

/** The message that names a measure, if there is one. */
export function measureKey(name: string): Key | null {
  return names[name] ?? null;
}

/** Rewards with a weight, the weightiest first. */
export function rewardsInUse(numbers: RefineNumbers): { name: string; weight: number }[] {
  const { alignment, vqa, diversity, similarity } = numbers;
  return Object.entries({ alignment, vqa, diversity, similarity })
    .map(([name, weight]) => ({ name, weight }))
    .filter(({ weight }) => weight > 0)
    .sort((a, b) => b.weight - a.weight);
}

/** A measure over a run: what was learned from, and what was tried on kept-back prompts. */
export type Series = { name: string; train: Mean[]; held: Point[] };

const at = (x: number, list: NamedValue[], name: string): Mean[] =>
  list
    .filter((v) => v.name === name)
    .map(({ value, spread }) => (spread === null ? { x, y: value } : { x, y: value, spread }));

const namesIn = (lists: NamedValue[][]) => [...new Set(lists.flat().map((v) => v.name))];

/** The reward and every component of it. */
export function rewardSeries({ epochs, trials }: RefineDetail): Series[] {
  const total = {
    name: 'reward',
    train: epochs.map((e) => ({ x: e.epoch, y: e.reward, spread: e.spread })),
    held: trials.map((t) => ({ x: t.epoch, y: t.reward })),
  };
  const parts = namesIn([...epochs, ...trials].map((e) => e.components)).map((name) => ({
    name,
    train: epochs.flatMap((e) => at(e.epoch, e.components, name)),
    held: trials.flatMap((t) => at(t.epoch, t.components, name)),
  }));
  return [total, ...parts];
}

/** Measures of trials that nothing is trained against. */
export function independentSeries(trials: TrialItem[]): Series[] {
  const measured = namesIn(trials.map((t) => t.independent)).map((name) => ({
    name,
    train: trials.flatMap((t) => at(t.epoch, t.independent, name)),
    held: [],
  }));
  const diversity = trials.map((t) => ({ x: t.epoch, y: t.diversity }));
  return [...measured, { name: 'trial diversity', train: diversity, held: [] }];
}

export type RefineVerdict =
  /** Fewer than two trials. */
  | { kind: 'early' }
  /** No trial beat stage 1 with every other measure held: stage 1 is kept. */
  | { kind: 'unchanged' }
  /** The trial at `epoch` is kept; its reward is `difference` ± `error` above stage 1. */
  | { kind: 'better'; epoch: number; difference: number; error: number; isSure: boolean };

/** What became of the kept trial against stage 1. */
export function refineVerdict(trials: TrialItem[], kept: number | null): RefineVerdict {
  const [base, best] = [trials[0], trials.find((t) => t.epoch === kept)];
  if (trials.length < 2 || !base) return { kind: 'early' };
  if (!best || best === base) return { kind: 'unchanged' };
  const [difference, error] = [best.reward - base.reward, Math.hypot(base.error, best.error)];
  return { kind: 'better', epoch: best.epoch, difference, error, isSure: difference > 2 * error };
}

/** How far a picture with `count` equal parts side by side is moved to show one, in parts. */
export function partOf(group: GroupItem, index: number): { width: string; left: string } {
  return { width: `${group.pictures.length * 100}%`, left: `${-index * 100}%` };
}
