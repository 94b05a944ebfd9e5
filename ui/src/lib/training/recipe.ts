/** The numbers of a recipe as the expert panel shows them. */
import type { RecipeItem } from '../ipc/bindings/RecipeItem';
import type { Key } from '../messages/en';

export type Unit = 'steps' | 'tokens' | 'samples' | 'share' | 'none';
export type RecipeField = { key: keyof RecipeItem; label: Key; unit: Unit; step: number; max?: number };

const whole = (key: keyof RecipeItem, label: Key, unit: Unit): RecipeField => ({ key, label, unit, step: 1 });
const share = (key: keyof RecipeItem, label: Key): RecipeField => ({
  key,
  label,
  unit: 'share',
  step: 0.01,
  max: 1,
});
const real = (key: keyof RecipeItem, label: Key, step: number): RecipeField => ({
  key,
  label,
  unit: 'none',
  step,
});

export const groups: { label: Key; fields: RecipeField[] }[] = [
  {
    label: 'recipeLength',
    fields: [
      whole('numSteps', 'steps', 'steps'),
      whole('warmupSteps', 'recipeWarmup', 'steps'),
      share('finalLrShare', 'recipeFinalRate'),
      whole('sampleEvery', 'recipeSampleEvery', 'steps'),
      whole('checkpointEvery', 'recipeCheckpointEvery', 'steps'),
    ],
  },
  {
    label: 'recipeText',
    fields: [
      whole('textTokens', 'recipeTextTokens', 'tokens'),
      whole('textEvery', 'recipeTextEvery', 'steps'),
      whole('loraRank', 'recipeRank', 'none'),
      real('loraAlpha', 'recipeAlpha', 1),
      real('loraLearningRate', 'recipeTextRate', 0.0001),
      real('ceWeight', 'recipeTextWeight', 0.05),
    ],
  },
  {
    label: 'recipePictures',
    fields: [
      whole('pictures', 'recipePerStep', 'samples'),
      real('genLearningRate', 'recipePictureRate', 0.0001),
      real('mseWeight', 'recipePictureWeight', 0.05),
      whole('conditionRefresh', 'recipeRefresh', 'steps'),
      share('conditionDropout', 'recipeDropout'),
      real('timeMean', 'recipeTimeMean', 0.1),
      real('timeStd', 'recipeTimeStd', 0.1),
    ],
  },
  {
    label: 'recipeCare',
    fields: [
      real('maxGradNorm', 'recipeGradNorm', 0.1),
      real('weightDecay', 'recipeDecay', 0.01),
      share('heldOutShare', 'recipeHeldOut'),
    ],
  },
];

/** Fields that differ from the defaults. */
export function changedFields(recipe: RecipeItem, defaults: RecipeItem): (keyof RecipeItem)[] {
  return groups.flatMap((g) => g.fields.map((f) => f.key)).filter((key) => recipe[key] !== defaults[key]);
}

/** `recipe` with one number changed; a cleared field goes back to its default. */
export function withNumber(
  recipe: RecipeItem,
  defaults: RecipeItem,
  key: keyof RecipeItem,
  value: number,
): RecipeItem {
  return { ...recipe, [key]: Number.isFinite(value) ? value : defaults[key] };
}
